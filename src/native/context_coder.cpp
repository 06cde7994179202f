#include "context_coder.hpp"

#include <stdexcept>
#include <utility>

#include "context_arrays.hpp"
#include "context_model.hpp"
#include "context_range.hpp"

namespace reticule {

using namespace context;

namespace {

using Job = ArrayJob;

void check(size_t count, std::span<const uint8_t> mask, Layout layout, unsigned states) {
    uint64_t product = 1;
    for (uint64_t axis : {layout.rows, layout.channels, layout.height, layout.width}) {
        if (axis != 0 && product > (uint64_t{1} << 40) / axis)
            throw std::invalid_argument("the layout is too large");
        product *= axis;
    }
    if (product != count) throw std::invalid_argument("the layout does not fit the array");
    if (!mask.empty() && mask.size() != count)
        throw std::invalid_argument("the mask does not fit the array");
    if (states != 0 && states != 8 && states != 32 && states != 64)
        throw std::invalid_argument("a trellis has 0, 8, 32 or 64 states");
}

void check_labels(size_t count, std::span<const uint16_t> labels) {
    if (labels.empty()) return;
    if (labels.size() != count) throw std::invalid_argument("the labels do not fit the array");
    for (uint16_t label : labels)
        if (label >= kLabels) throw std::invalid_argument("a label is too large");
}

void check_values(std::span<const int32_t> values, std::span<const uint8_t> mask, bool is_signed) {
    for (size_t i = 0; i < values.size(); ++i) {
        const int32_t k = values[i];
        if (k > kLargestValue || k < -kLargestValue)
            throw std::invalid_argument("a value is too large");
        if (k < 0 && !is_signed) throw std::invalid_argument("a value is negative");
        if (k != 0 && !mask.empty() && !mask[i])
            throw std::invalid_argument("a masked value is not zero");
    }
}

}  // namespace

struct ContextEncoder::State {
    explicit State(Preset p) : preset(p) {}
    Preset preset;
    RangeEncoder coder;
    Models models;
};

ContextEncoder::ContextEncoder(Preset preset) : state_(std::make_unique<State>(preset)) {}
ContextEncoder::~ContextEncoder() = default;
ContextEncoder::ContextEncoder(ContextEncoder &&) noexcept = default;

void ContextEncoder::integers(std::span<const int32_t> values, std::span<const uint8_t> mask,
                              Layout layout, unsigned states, bool is_signed,
                              std::span<const uint16_t> labels) {
    check(values.size(), mask, layout, states);
    check_values(values, mask, is_signed);
    check_labels(values.size(), labels);
    Job job{mask, layout, states, is_signed, labels, {}};
    encode_integers(state_->coder, state_->models, state_->preset, values, job);
}

void ContextEncoder::rates(std::span<const int32_t> values, std::span<const uint8_t> mask,
                           Layout layout, unsigned states, bool is_signed,
                           std::span<uint16_t> out) {
    check(values.size(), mask, layout, states);
    check_values(values, mask, is_signed);
    if (!out.empty() && out.size() != values.size() * 2 * kRatedValues)
        throw std::invalid_argument("26 rates for each value");
    Job job{mask, layout, states, is_signed, {}, out};
    encode_integers(state_->coder, state_->models, state_->preset, values, job);
}

void ContextEncoder::floats(std::span<const uint32_t> patterns, unsigned width, Layout layout,
                            std::span<const uint16_t> labels) {
    check(patterns.size(), {}, layout, 0);
    check_labels(patterns.size(), labels);
    if (width != 16 && width != 32) throw std::invalid_argument("a float has 16 or 32 bits");
    if (width == 16)
        for (uint32_t pattern : patterns)
            if (pattern >> 16) throw std::invalid_argument("a pattern has more than 16 bits");
    encode_floats(state_->coder, state_->models, state_->preset, patterns, width, layout, labels);
}

size_t ContextEncoder::size() const { return state_->coder.size(); }

std::vector<uint8_t> ContextEncoder::finish() {
    std::vector<uint8_t> payload = state_->coder.finish();
    *state_ = State(state_->preset);
    return payload;
}

struct ContextDecoder::State {
    State(Preset p, std::span<const uint8_t> payload) : preset(p), coder(payload) {}
    Preset preset;
    RangeDecoder coder;
    Models models;
};

ContextDecoder::ContextDecoder(Preset preset, std::span<const uint8_t> payload)
    : state_(std::make_unique<State>(preset, payload)) {}
ContextDecoder::~ContextDecoder() = default;
ContextDecoder::ContextDecoder(ContextDecoder &&) noexcept = default;

void ContextDecoder::integers(std::span<int32_t> out, std::span<const uint8_t> mask, Layout layout,
                              unsigned states, bool is_signed,
                              std::span<const uint16_t> labels) {
    check(out.size(), mask, layout, states);
    check_labels(out.size(), labels);
    Job job{mask, layout, states, is_signed, labels, {}};
    decode_integers(state_->coder, state_->models, state_->preset, out, job);
}

void ContextDecoder::floats(std::span<uint32_t> out, unsigned width, Layout layout,
                            std::span<const uint16_t> labels) {
    check(out.size(), {}, layout, 0);
    check_labels(out.size(), labels);
    if (width != 16 && width != 32) throw std::invalid_argument("a float has 16 or 32 bits");
    decode_floats(state_->coder, state_->models, state_->preset, out, width, layout, labels);
}

size_t ContextDecoder::position() const { return state_->coder.size(); }

void ContextDecoder::finish() { state_->coder.finish(); }

}  // namespace reticule
