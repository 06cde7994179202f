#include "decoders.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <stdexcept>
#include <vector>

#include "../src/native/coders.hpp"
#include "../src/native/context_coder.hpp"
#include "../src/native/trellis.hpp"

namespace {

using namespace reticule;

constexpr uint32_t kMostValues = 1 << 11;  // in an array: enough to learn from, quick to run
constexpr unsigned kStates[] = {0, 8, 32, 64};

class Digest {
public:
    template <typename T>
    void add(std::span<const T> values) {
        for (const T value : values) add(static_cast<uint64_t>(value));
    }
    void add(uint64_t value) { sum_ = (sum_ ^ value) * 0x100000001b3; }
    uint64_t value() const { return sum_; }

private:
    uint64_t sum_ = 0xcbf29ce484222325;
};

// Arguments from the front of the input; zeros where it has ended.
class Arguments {
public:
    Arguments(const uint8_t *data, size_t size) : data_(data, size) {}
    unsigned byte() {
        if (data_.empty()) return 0;
        const unsigned value = data_[0];
        data_ = data_.subspan(1);
        return value;
    }
    unsigned pair() {
        const unsigned low = byte();
        return low | byte() << 8;
    }
    std::span<const uint8_t> rest() const { return data_; }

private:
    std::span<const uint8_t> data_;
};

struct Described {
    Layout layout;
    unsigned kind;  // 0 integers, 1 unsigned integers, 2 float16, 3 float32
    unsigned states;
    std::vector<uint8_t> mask;
    std::vector<uint16_t> labels;
    size_t size;
};

Described describe(Arguments &arguments) {
    Described array{};
    const unsigned head = arguments.byte();
    array.kind = head & 3;
    array.states = array.kind == 0 ? kStates[head >> 2 & 3] : 0;
    array.layout = {arguments.byte(), arguments.byte(), arguments.byte() & 7,
                    arguments.byte() & 7};
    const unsigned pattern = arguments.byte();
    auto &[rows, channels, height, width] = array.layout;
    const uint32_t columns = channels * height * width;
    if (columns > kMostValues) channels = kMostValues / std::max(1u, height * width);
    rows = std::min(rows, kMostValues / std::max(1u, channels * height * width));
    array.size = size_t{rows} * channels * height * width;
    if (head & 16 && array.kind < 2 && array.states == 0) {
        array.mask.resize(array.size);
        for (size_t i = 0; i < array.size; ++i) array.mask[i] = pattern >> (i & 7) & 1;
    }
    if (head & 32) {
        array.labels.resize(array.size);
        for (size_t i = 0; i < array.size; ++i)
            array.labels[i] = static_cast<uint16_t>((i ^ i >> 3) * pattern % kLabels);
    }
    return array;
}

void decode_context(Preset preset, Arguments arguments, Digest &digest) {
    std::vector<Described> arrays(1 + (arguments.byte() & 3));
    for (Described &array : arrays) array = describe(arguments);
    ContextDecoder decoder(preset, arguments.rest());
    for (const Described &array : arrays) {
        if (array.kind >= 2) {
            std::vector<uint32_t> patterns(array.size);
            decoder.floats(patterns, array.kind == 2 ? 16 : 32, array.layout, array.labels);
            digest.add(std::span<const uint32_t>(patterns));
        } else {
            std::vector<int32_t> values(array.size);
            decoder.integers(values, array.mask, array.layout, array.states, array.kind == 0,
                             array.labels);
            digest.add(std::span<const int32_t>(values));
        }
        digest.add(decoder.position());
    }
    decoder.finish();
}

template <typename Symbol>
void decode_rans(Arguments arguments, size_t alphabet, Digest &digest) {
    const unsigned lanes = arguments.byte() & 1 ? 4 : 1;
    std::vector<Symbol> out(arguments.pair() % kMostValues);
    std::vector<uint32_t> frequencies(alphabet);
    const TableRead table = read_frequencies(arguments.rest(), frequencies);
    digest.add(std::span<const uint32_t>(frequencies));
    const auto payload = arguments.rest().subspan(table.bytes);
    rans_decode<Symbol>(payload, frequencies, table.scale_bits, lanes, out);
    digest.add(std::span<const Symbol>(out));
}

void decode_bits(Arguments arguments, Digest &digest) {
    const unsigned width = arguments.byte() & 31;
    std::vector<uint16_t> out(arguments.pair() % kMostValues);
    unpack_bits<uint16_t>(arguments.rest(), width, out);
    digest.add(std::span<const uint16_t>(out));
}

void decode_positions(Arguments arguments, Digest &digest) {
    Scan scan{1u << (arguments.byte() % 12), arguments.byte(), arguments.pair(), false};
    scan.by_columns = arguments.byte() & 1;
    std::vector<uint32_t> indptr(scan.rows + 1);
    std::vector<uint16_t> columns(arguments.pair() % kMostValues);
    std::vector<uint16_t> symbols(arguments.rest().size() / 2);
    if (!symbols.empty())
        std::memcpy(symbols.data(), arguments.rest().data(), 2 * symbols.size());
    gaps_to_rows<uint16_t, uint16_t>(symbols, scan, indptr, columns);
    digest.add(std::span<const uint32_t>(indptr));
    digest.add(std::span<const uint16_t>(columns));
}

std::vector<int32_t> numbers(std::span<const uint8_t> bytes, int32_t largest) {
    std::vector<int32_t> values(std::min<size_t>(bytes.size(), kMostValues));
    for (size_t i = 0; i < values.size(); ++i) {
        const int32_t b = static_cast<int8_t>(bytes[i]);
        // Small numbers mostly, and some as large as they may be.
        values[i] = b > -100 && b < 100 ? b / 16 : (b / 2) * (largest / 64);
        values[i] = std::clamp(values[i], -largest, largest);
    }
    return values;
}

void decode_trellis(Arguments arguments, Digest &digest) {
    const unsigned states = kStates[arguments.byte() & 3];
    const unsigned columns = arguments.pair();
    const std::vector<int32_t> levels = numbers(arguments.rest(), kLargestLevel);
    std::vector<int32_t> out(levels.size());
    try {
        trellis_levels(levels, columns, states, out);
        digest.add(std::span<const int32_t>(out));
    } catch (const std::invalid_argument &) {
        digest.add(1);
    }
    trellis_indices(levels, columns, states, out);
    digest.add(std::span<const int32_t>(out));
}

void require(bool holds, const char *what) {
    if (holds) return;
    std::fprintf(stderr, "%s\n", what);
    std::abort();
}

template <typename Symbol>
void round_trip_rans(std::span<const uint8_t> bytes) {
    std::vector<Symbol> symbols(bytes.begin(), bytes.end());
    std::vector<uint64_t> weights(kByteAlphabet);
    for (const Symbol symbol : symbols) ++weights[symbol];
    std::vector<uint64_t> used;
    for (const uint64_t weight : weights)
        if (weight) used.push_back(weight);
    if (used.size() < 2) return;
    constexpr unsigned scale = 10;
    std::vector<uint32_t> shares(used.size()), frequencies(kByteAlphabet);
    share_slots(used, scale, shares);
    for (size_t i = 0, j = 0; i < frequencies.size(); ++i)
        if (weights[i]) frequencies[i] = shares[j++];
    for (const unsigned lanes : {1u, 4u}) {
        std::vector<uint8_t> out(2 * symbols.size() + 64);
        const size_t size = rans_encode<Symbol>(symbols, frequencies, scale, lanes, out);
        std::vector<Symbol> again(symbols.size());
        rans_decode<Symbol>(std::span(out).last(size), frequencies, scale, lanes, again);
        require(again == symbols, "rANS does not decode to what was encoded");
    }
}

void round_trip_context(Preset preset, Arguments arguments) {
    std::vector<Described> arrays(1 + (arguments.byte() & 3));
    for (Described &array : arrays) array = describe(arguments);
    const auto source = arguments.rest();
    const std::vector<int32_t> all = numbers(source, kLargestValue);
    ContextEncoder encoder(preset), rated(preset);
    std::vector<std::vector<int32_t>> integers(arrays.size());
    std::vector<std::vector<uint32_t>> patterns(arrays.size());
    size_t at = 0;
    const auto next = [&] { return all.empty() ? 0 : all[at++ % all.size()]; };
    for (size_t i = 0; i < arrays.size(); ++i) {
        const Described &array = arrays[i];
        if (array.kind >= 2) {
            const uint32_t spread = array.kind == 2 ? 0x1357u : 0x01234567u;
            for (size_t j = 0; j < array.size; ++j)
                patterns[i].push_back((static_cast<uint32_t>(next()) * spread) &
                                      (array.kind == 2 ? 0xffffu : 0xffffffffu));
            encoder.floats(patterns[i], array.kind == 2 ? 16 : 32, array.layout, array.labels);
            rated.floats(patterns[i], array.kind == 2 ? 16 : 32, array.layout, array.labels);
            continue;
        }
        for (size_t j = 0; j < array.size; ++j) {
            const bool known = !array.mask.empty() && !array.mask[j];
            const int32_t value = known ? 0 : next();
            integers[i].push_back(array.kind == 1 ? std::abs(value) : value);
        }
        std::vector<uint16_t> rates(array.size * 2 * kRatedValues);
        encoder.integers(integers[i], array.mask, array.layout, array.states, array.kind == 0,
                         array.labels);
        if (array.labels.empty())
            rated.rates(integers[i], array.mask, array.layout, array.states, array.kind == 0,
                        rates);
        else  // which rates() does not know
            rated.integers(integers[i], array.mask, array.layout, array.states, array.kind == 0,
                           array.labels);
    }
    const std::vector<uint8_t> payload = encoder.finish();
    require(payload == rated.finish(), "rates() and integers() differ");
    ContextDecoder decoder(preset, payload);
    for (size_t i = 0; i < arrays.size(); ++i) {
        const Described &array = arrays[i];
        if (array.kind >= 2) {
            std::vector<uint32_t> found(array.size);
            decoder.floats(found, array.kind == 2 ? 16 : 32, array.layout, array.labels);
            require(found == patterns[i], "floats do not decode to what was encoded");
        } else {
            std::vector<int32_t> found(array.size);
            decoder.integers(found, array.mask, array.layout, array.states, array.kind == 0,
                             array.labels);
            require(found == integers[i], "integers do not decode to what was encoded");
        }
    }
    decoder.finish();
}

}  // namespace

uint64_t decode_anything(const uint8_t *data, size_t size) {
    Digest digest;
    Arguments arguments(data, size);
    try {
        switch (arguments.byte() & 7) {
            case 0: decode_context(Preset::Fast, arguments, digest); break;
            case 1: decode_context(Preset::Small, arguments, digest); break;
            case 2: decode_rans<uint8_t>(arguments, 256, digest); break;
            case 3: decode_rans<uint16_t>(arguments, 4096, digest); break;
            case 4: decode_bits(arguments, digest); break;
            case 5: decode_positions(arguments, digest); break;
            case 6: decode_trellis(arguments, digest); break;
            default: break;
        }
        digest.add(2);
    } catch (const std::invalid_argument &) {
        digest.add(3);
    }
    return digest.value();
}

void round_trip(const uint8_t *data, size_t size) {
    Arguments arguments(data, size);
    switch (arguments.byte() & 3) {
        case 0: round_trip_context(Preset::Fast, arguments); break;
        case 1: round_trip_context(Preset::Small, arguments); break;
        case 2: round_trip_rans<uint8_t>(arguments.rest()); break;
        default: round_trip_rans<uint16_t>(arguments.rest()); break;
    }
}
