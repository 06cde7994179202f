// Arrays of integers and floats on top of the models: headers, raw fallback, float fields.

#pragma once

#include <memory>
#include <span>

#include "context_coder.hpp"
#include "context_model.hpp"
#include "context_range.hpp"

namespace reticule::context {

struct ArrayJob {
    std::span<const uint8_t> mask;
    Layout layout;
    unsigned states;
    bool is_signed;
    std::span<const uint16_t> labels;  // empty, or the block of each value
    std::span<uint16_t> rates;         // empty unless wanted
};

/// The model of the preset in use, made when first needed.
struct Models {
    std::unique_ptr<Model<Preset::Small>> small;
    std::unique_ptr<Model<Preset::Fast>> fast;
};

void encode_integers(RangeEncoder &coder, Models &models, Preset preset,
                     std::span<const int32_t> values, const ArrayJob &job);
void decode_integers(RangeDecoder &coder, Models &models, Preset preset, std::span<int32_t> out,
                     const ArrayJob &job);
void encode_floats(RangeEncoder &coder, Models &models, Preset preset,
                   std::span<const uint32_t> patterns, unsigned width, Layout layout,
                   std::span<const uint16_t> labels);
void decode_floats(RangeDecoder &coder, Models &models, Preset preset, std::span<uint32_t> out,
                   unsigned width, Layout layout,
                   std::span<const uint16_t> labels);

}  // namespace reticule::context
