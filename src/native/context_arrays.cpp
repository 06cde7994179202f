#include "context_arrays.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <vector>

namespace reticule::context {

namespace {

constexpr uint32_t kRare = 64;       // probability of the raw mode, of 65536
constexpr uint32_t kSeldom = 4096;   // of a table of the values of a float array
constexpr size_t kLargestTable = 1 << 16;

/// A new model; making the first takes longer than copying it.
template <Preset preset>
std::unique_ptr<Model<preset>> new_model() {
    static const Model<preset> first;
    return std::make_unique<Model<preset>>(first);
}

/// Calls `job` with the model of the preset.
template <typename Job>
void with_model(Models &models, Preset preset, Job job) {
    if (preset == Preset::Small) {
        if (!models.small) models.small = new_model<Preset::Small>();
        job(*models.small);
    } else {
        if (!models.fast) models.fast = new_model<Preset::Fast>();
        job(*models.fast);
    }
}

uint32_t zigzag(int32_t k) {
    return k < 0 ? (static_cast<uint32_t>(-k) << 1) - 1 : static_cast<uint32_t>(k) << 1;
}

int32_t unzigzag(uint32_t u) {
    const int32_t half = static_cast<int32_t>(u >> 1);
    return u & 1 ? -half - 1 : half;
}

template <typename Coder>
uint32_t wide_bits(Coder &coder, uint32_t value, unsigned width) {
    uint32_t result = 0;
    while (width > 0) {
        const unsigned n = std::min(width, 16u);
        width -= n;
        result = result << n | coder.bits(value >> width & ((1u << n) - 1), n);
    }
    return result;
}

bool coded(const ArrayJob &job, size_t i) { return job.mask.empty() || job.mask[i]; }

uint32_t raw_symbol(const ArrayJob &job, int32_t k) {
    return job.is_signed ? zigzag(k) : static_cast<uint32_t>(k);
}

template <typename M>
void encode_with(M &model, RangeEncoder &coder, std::span<const int32_t> values,
                 const ArrayJob &job) {
    uint32_t biggest = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < values.size(); ++i) {
        if (!coded(job, i)) continue;
        ++count;
        biggest = std::max(biggest, raw_symbol(job, values[i]));
    }
    const unsigned width = static_cast<unsigned>(std::bit_width(biggest));
    const RangeEncoder coder_before = coder;
    const M model_before = model;
    std::vector<int32_t> copy(values.begin(), values.end());
    coder.code(false, kRare);
    model.integers(coder, copy, job.mask, job.layout, job.states, job.is_signed,
                   job.labels, job.rates);
    if (coder.bit_count() <= coder_before.bit_count() + width * count + 16) return;

    coder = coder_before;
    model = model_before;
    coder.code(true, kRare);
    coder.bits(width, 5);
    for (size_t i = 0; i < values.size(); ++i)
        if (coded(job, i)) wide_bits(coder, raw_symbol(job, values[i]), width);
}

}  // namespace

void encode_integers(RangeEncoder &coder, Models &models, Preset preset,
                     std::span<const int32_t> values, const ArrayJob &job) {
    if (values.empty()) return;
    with_model(models, preset, [&](auto &model) { encode_with(model, coder, values, job); });
}

void decode_integers(RangeDecoder &coder, Models &models, Preset preset, std::span<int32_t> out,
                     const ArrayJob &job) {
    if (out.empty()) return;
    if (!coder.code(false, kRare)) {
        with_model(models, preset, [&](auto &model) {
            model.integers(coder, out, job.mask, job.layout, job.states, job.is_signed, job.labels,
                           {});
        });
        return;
    }
    const unsigned width = coder.bits(0, 5);
    if (width > 26) throw std::invalid_argument("a width is too large");
    for (size_t i = 0; i < out.size(); ++i) {
        out[i] = 0;
        if (!coded(job, i)) continue;
        const uint32_t u = wide_bits(coder, 0, width);
        out[i] = job.is_signed ? unzigzag(u) : static_cast<int32_t>(u);
        if (out[i] > kLargestValue || out[i] < -kLargestValue)
            throw std::invalid_argument("a value is too large");
    }
}

namespace {

/// Fields of a float: the leading bits of the significand become an integer that the model
/// of integers codes, the rest is stored as it is.
struct FloatPlan {
    unsigned width, mantissa;  // bits of a pattern and of its mantissa
    uint32_t unit;             // biased exponent of the integer 1
    unsigned zeros;            // bits at the end that are zero in all patterns

    uint32_t exponent(uint32_t pattern) const {
        return pattern >> mantissa & ((1u << (width - 1 - mantissa)) - 1);
    }
    uint32_t significand(uint32_t pattern) const {
        return (1u << mantissa) | (pattern & ((1u << mantissa) - 1));
    }
    uint32_t largest_exponent() const { return (1u << (width - 1 - mantissa)) - 1; }
};

unsigned mantissa_bits(unsigned width) { return width == 32 ? 23 : 10; }

FloatPlan plan_of(std::span<const uint32_t> patterns, unsigned width) {
    FloatPlan plan{width, mantissa_bits(width), 0, 0};
    std::vector<size_t> histogram(plan.largest_exponent() + 1, 0);
    uint32_t all = 0, top = 1;
    size_t normal = 0;
    for (uint32_t pattern : patterns) {
        const uint32_t e = plan.exponent(pattern);
        all |= pattern;
        top = std::max(top, e);
        histogram[e] += 1;
        normal += e > 0;
    }
    const auto zeros = static_cast<unsigned>(std::countr_zero(all | 1u << 31));
    plan.zeros = std::min(zeros, plan.mantissa);
    uint32_t median = 1;
    for (size_t seen = 0; median < top; ++median)
        if ((seen += histogram[median]) * 2 >= normal) break;
    const uint32_t span = std::min(plan.mantissa, 22u);
    plan.unit = std::max({median > 5 ? median - 5 : 1, top > span ? top - span : 1, 1u});
    return plan;
}

/// Codes what the integer k does not say about a pattern, and gives the pattern.
template <typename Coder>
uint32_t rest(Coder &coder, Counter *counters, const FloatPlan &plan, int32_t k, uint32_t pattern) {
    const uint32_t m = static_cast<uint32_t>(k < 0 ? -k : k);
    const uint32_t sign_bit = 1u << (plan.width - 1);
    auto tail = [&](unsigned bits, uint32_t value) {
        if (bits <= plan.zeros) return 0u;
        return wide_bits(coder, value >> plan.zeros, bits - plan.zeros) << plan.zeros;
    };
    if (m > 0) {
        const unsigned extra = static_cast<unsigned>(std::bit_width(m)) - 1;
        const unsigned bits = plan.mantissa - extra;
        const uint32_t low = tail(bits, pattern & ((1u << bits) - 1));
        const uint32_t mantissa = (m << bits | low) & ((1u << plan.mantissa) - 1);
        return (k < 0 ? sign_bit : 0) | (plan.unit + extra) << plan.mantissa | mantissa;
    }
    // Below the unit: the exponent by a ladder downwards, then sign and mantissa.
    const uint32_t exponent = plan.exponent(pattern);
    uint32_t e = plan.unit - 1;
    auto flag = [&](unsigned index, bool bit) {
        const uint32_t p = std::clamp<uint32_t>(counters[index].p16(), 32, 65504);
        bit = coder.code(bit, p);
        counters[index].learn(bit, 250);
        return bit;
    };
    if (e > 0 && flag(0, exponent == 0)) e = 0;
    for (unsigned step = 1; e > 1 && flag(std::min(step, 30u), exponent < e); ++step) --e;
    bool nothing = false;
    if (e == 0) nothing = flag(31, (pattern & (sign_bit - 1)) == 0);
    const bool minus = (pattern & sign_bit) != 0;
    const uint32_t sign = nothing ? flag(32, minus) : coder.bits(minus, 1);
    const uint32_t field = pattern & ((1u << plan.mantissa) - 1);
    const uint32_t mantissa = nothing ? 0 : tail(plan.mantissa, field);
    return (sign ? sign_bit : 0) | e << plan.mantissa | mantissa;
}

int32_t leading(const FloatPlan &plan, uint32_t pattern) {
    const uint32_t e = plan.exponent(pattern);
    if (e < plan.unit) return 0;
    const unsigned rest_bits = plan.mantissa - (e - plan.unit);
    const auto m = static_cast<int32_t>(plan.significand(pattern) >> rest_bits);
    return pattern >> (plan.width - 1) ? -m : m;
}

template <typename M>
void code_fields(RangeEncoder &coder, Models &models, Preset preset, M &model,
                 std::span<const uint32_t> patterns, unsigned width, const Layout &layout,
                 std::span<const uint16_t> labels) {
    const FloatPlan plan = plan_of(patterns, width);
    coder.bits(plan.unit, width - 1 - plan.mantissa);
    coder.bits(plan.zeros, 5);
    std::vector<int32_t> leads(patterns.size());
    for (size_t i = 0; i < leads.size(); ++i) leads[i] = leading(plan, patterns[i]);
    encode_integers(coder, models, preset, leads, {{}, layout, 0, true, labels, {}});
    for (size_t i = 0; i < leads.size(); ++i)
        rest(coder, model.float_counters.data(), plan, leads[i], patterns[i]);
}

template <typename M>
void code_fields(RangeDecoder &coder, Models &models, Preset preset, M &model,
                 std::span<uint32_t> out, unsigned width, const Layout &layout,
                 std::span<const uint16_t> labels) {
    FloatPlan plan{width, mantissa_bits(width), 0, 0};
    plan.unit = coder.bits(0, width - 1 - plan.mantissa);
    plan.zeros = coder.bits(0, 5);
    if (plan.unit == 0 || plan.zeros > plan.mantissa)
        throw std::invalid_argument("float fields out of range");
    std::vector<int32_t> leads(out.size());
    decode_integers(coder, models, preset, leads, {{}, layout, 0, true, labels, {}});
    for (size_t i = 0; i < out.size(); ++i) {
        const uint32_t m = static_cast<uint32_t>(leads[i] < 0 ? -leads[i] : leads[i]);
        const unsigned extra = m > 0 ? static_cast<unsigned>(std::bit_width(m)) - 1 : 0;
        if (extra > plan.mantissa || plan.unit + extra >= plan.largest_exponent())
            throw std::invalid_argument("float fields out of range");
        out[i] = rest(coder, model.float_counters.data(), plan, leads[i], 0);
    }
}

/// A key that sorts patterns by value, -0.0 below 0.0; its own inverse up to the width.
uint32_t sort_key(uint32_t pattern, unsigned width) {
    const uint32_t sign = 1u << (width - 1);
    return pattern & sign ? (sign - 1) - (pattern & (sign - 1)) : pattern | sign;
}

/// The different patterns in the order of their values; empty if they are not few.
std::vector<uint32_t> table_of(std::span<const uint32_t> patterns, unsigned width) {
    std::vector<uint32_t> table(patterns.begin(), patterns.end());
    auto before = [&](uint32_t a, uint32_t b) { return sort_key(a, width) < sort_key(b, width); };
    std::sort(table.begin(), table.end(), before);
    table.erase(std::unique(table.begin(), table.end()), table.end());
    if (table.size() > kLargestTable || table.size() * 8 > patterns.size()) table.clear();
    return table;
}

/// Index of the first pattern of the table that is 0.0 or more.
int32_t origin_of(std::span<const uint32_t> table, unsigned width) {
    int32_t origin = 0;
    for (uint32_t pattern : table) origin += pattern >> (width - 1) & 1;
    return origin;
}

template <typename M>
void code_table(RangeEncoder &coder, Models &models, Preset preset, M &model,
                std::span<const uint32_t> patterns, std::span<const uint32_t> table,
                unsigned width, const Layout &layout, std::span<const uint16_t> labels) {
    const auto size = static_cast<uint32_t>(table.size());
    wide_bits(coder, size, 17);
    code_fields(coder, models, preset, model, table, width, {1, size, 1, 1}, {});
    const int32_t origin = origin_of(table, width);
    auto before = [&](uint32_t a, uint32_t b) { return sort_key(a, width) < sort_key(b, width); };
    std::vector<int32_t> indices(patterns.size());
    for (size_t i = 0; i < indices.size(); ++i)
        indices[i] = static_cast<int32_t>(
            std::lower_bound(table.begin(), table.end(), patterns[i], before) - table.begin() -
            origin);
    encode_integers(coder, models, preset, indices, {{}, layout, 0, true, labels, {}});
}

}  // namespace

void encode_floats(RangeEncoder &coder, Models &models, Preset preset,
                   std::span<const uint32_t> patterns, unsigned width, Layout layout,
                   std::span<const uint16_t> labels) {
    if (patterns.empty()) return;
    const uint32_t infinite = (1u << (width - 1 - mantissa_bits(width))) - 1;
    bool finite = true;
    for (uint32_t pattern : patterns)
        finite &= (pattern >> mantissa_bits(width) & infinite) != infinite;
    bool done = false;
    if (finite) {
        with_model(models, preset, [&](auto &model) {
            const RangeEncoder coder_before = coder;
            const auto model_before = model;
            const std::vector<uint32_t> table = table_of(patterns, width);
            auto attempt = [&](bool tabled) {
                coder = coder_before;
                model = model_before;
                coder.code(false, kRare);
                coder.code(tabled, kSeldom);
                if (tabled)
                    code_table(coder, models, preset, model, patterns, table, width, layout,
                               labels);
                else
                    code_fields(coder, models, preset, model, patterns, width, layout, labels);
                return coder.bit_count();
            };
            uint64_t bits = attempt(false);
            if (!table.empty()) {
                const uint64_t plain = bits;
                bits = attempt(true);
                if (plain < bits) bits = attempt(false);
            }
            const uint64_t raw = uint64_t{width} * patterns.size();
            done = bits <= coder_before.bit_count() + raw + 1;
            if (!done) {
                coder = coder_before;
                model = model_before;
            }
        });
    }
    if (done) return;
    coder.code(true, kRare);
    for (uint32_t pattern : patterns) wide_bits(coder, pattern, width);
}

void decode_floats(RangeDecoder &coder, Models &models, Preset preset, std::span<uint32_t> out,
                   unsigned width, Layout layout,
                   std::span<const uint16_t> labels) {
    if (out.empty()) return;
    if (coder.code(false, kRare)) {
        for (uint32_t &pattern : out) pattern = wide_bits(coder, 0, width);
        return;
    }
    with_model(models, preset, [&](auto &model) {
        if (!coder.code(false, kSeldom)) {
            code_fields(coder, models, preset, model, out, width, layout, labels);
            return;
        }
        const uint32_t size = wide_bits(coder, 0, 17);
        if (size == 0 || size > kLargestTable || size > out.size())
            throw std::invalid_argument("the table of floats has a wrong size");
        std::vector<uint32_t> table(size);
        code_fields(coder, models, preset, model, table, width, {1, size, 1, 1}, {});
        const int32_t origin = origin_of(table, width);
        std::vector<int32_t> indices(out.size());
        decode_integers(coder, models, preset, indices, {{}, layout, 0, true, labels, {}});
        for (size_t i = 0; i < out.size(); ++i) {
            const int64_t index = int64_t{indices[i]} + origin;
            if (index < 0 || index >= static_cast<int64_t>(size))
                throw std::invalid_argument("an index is outside of the table of floats");
            out[i] = table[static_cast<size_t>(index)];
        }
    });
}

}  // namespace reticule::context
