// The adaptive model of the context coder: one template that encoder, decoder and the
// estimation of rates share, so they cannot diverge.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "context_coder.hpp"
#include "context_front.hpp"
#include "context_math.hpp"
#include "trellis.hpp"

namespace reticule::context {

// Nodes: the questions that are asked about a value.
inline constexpr int kZero = 0, kSign = 1, kStep = 2, kLow = 11, kHalf = 16;
inline constexpr int kNodes = 2 * kHalf;  // for each of the two quantisers of a trellis
inline constexpr unsigned kLastStep = kLow - kStep - 1, kLastLow = kHalf - kLow - 1;

/// Probability of a 1 with 22 bits, and how often it was updated in the lowest ten.
struct Counter {
    uint32_t bits = uint32_t{1} << 31;

    uint32_t p16() const { return bits >> 16; }
    uint32_t p12() const { return bits >> 20; }

    void set(uint32_t p, uint32_t count) { bits = p << 16 | count; }

    void learn(bool bit, uint32_t limit) {
        const uint32_t count = bits & 1023;
        const int64_t p = bits >> 10;
        const int64_t target = bit ? (1 << 22) - 1 : 0;
        const int64_t moved = p + (((target - p) * tables().share[count]) >> 16);
        bits = static_cast<uint32_t>(moved) << 10 | (count + (count < limit));
    }
};

/// A logistic distribution of the value, and what it says about each node.
struct Logistic {
    int64_t centre = 0;   // in 1/4096
    int64_t inverse = 1;  // 2^28 / scale

    int below(int64_t halves) const {  // probability that the value is below halves / 2
        const int64_t x = ((halves * 2048 - centre) * inverse) >> 20;
        return tables().squash[clamp64(x, -kStretchLimit, kStretchLimit) + kStretchLimit];
    }
    int beyond(int64_t halves, bool negative) const {
        return negative ? below(-halves) : 65536 - below(halves);
    }
    static int share(int part, int whole) {
        const auto of_4096 = (static_cast<uint32_t>(part) << 12) / static_cast<uint32_t>(whole);
        return clamp(static_cast<int>(of_4096), 1, 4095);
    }
};

/// 2^(28 + x / 256).
inline int64_t scale_inverse(int x) { return static_cast<int64_t>(exp2_q8(28 * 256 + x)); }

template <Preset preset>
struct Setting;

template <>
struct Setting<Preset::Small> {
    static constexpr int kContexts = 8, kExperts = 2, kMixers = 2;
};

template <>
struct Setting<Preset::Fast> {
    static constexpr int kContexts = 3, kExperts = 0, kMixers = 1;
};

template <Preset preset>
class Model {
  public:
    static constexpr bool kSmall = preset == Preset::Small;
    static constexpr int kContexts = Setting<preset>::kContexts;
    static constexpr int kExperts = Setting<preset>::kExperts;
    static constexpr int kMixers = Setting<preset>::kMixers;
    static constexpr int kInputs = kSmall ? 16 : 8;
    static_assert(kContexts + kExperts + 1 <= kInputs);

    Model();

    /// Codes one array; `rates` is empty or gets what other values would have cost.
    template <typename Coder>
    void integers(Coder &coder, std::span<int32_t> values, std::span<const uint8_t> mask,
                  const Layout &layout, unsigned states, bool is_signed,
                  std::span<const uint16_t> labels, std::span<uint16_t> rates);

    std::array<Counter, 40> float_counters;

  private:
    using FrontEnd = Front<preset>;
    using Inputs = Lanes<kInputs>;
    using Contexts = std::array<uint32_t, kContexts>;

    // Context sets: scale and expected value, kernel neighbours, trellis state or position; in
    // preset small also the rows above, spread, row, channel, pattern of zeros.
    static constexpr std::array<int, 8> kSizes = {2048, 512, 1024, 512, 128, 256, 1024, 1024};
    static constexpr std::array<uint32_t, 8> kLimits = {1000, 255, 255, 255, 1000, 250, 250, 1000};
    // One more in preset small, where an array has labels: that of the value.
    static constexpr int kLabelInput = kContexts + 1 + kExperts;
    static constexpr uint32_t kLabelLimit = 1000;
    static constexpr int16_t kLabelWeight = 8000;
    static_assert(!kSmall || kLabelInput == 11);  // where predict() puts it

    void prepare(const FrontEnd &front, unsigned state, unsigned states);
    void choose_state(unsigned state, unsigned states);
    int ask(const Logistic &expert, int node) const;
    uint32_t predict(int node);
    void learn(int node, bool bit);
    struct Glance;
    void costs(bool is_signed, uint16_t *out);
    void rate(unsigned state, unsigned states, bool is_signed, uint16_t *out);
    void take_sign(bool negative) {
        negative_ = negative;
        if (negative == (z_ < 0)) {
            context_[0] += 8;
            agree_ = 8;
        }
    }

    template <typename Coder>
    bool code(Coder &coder, int node, bool bit) {
        bit = coder.code(bit, predict(node));
        learn(node, bit);
        return bit;
    }

    template <typename Coder>
    int32_t value(Coder &coder, int32_t k, bool is_signed, uint32_t bound);

    typename FrontEnd::Past learned_;
    std::array<std::vector<Counter>, kContexts> counters_;
    std::array<std::vector<Inputs>, kMixers> mixers_;
    std::vector<uint16_t> refined_;
    std::vector<Counter> of_labels_;  // empty until an array has labels

    // Of the value at hand.
    Contexts context_{}, sign_context_{};
    std::array<Logistic, 2> expert_{};
    uint32_t magnitude_group_ = 0, group_ = 0, place_ = 0, coarse_ = 0, agree_ = 0, label_ = 0;
    int z_ = 0, quantiser_ = 0;
    unsigned fixed_ = 0;
    bool negative_ = false, masked_ = false, labelled_ = false;
    int64_t start_ = 1, next_ = 2;

    // Of the bit at hand.
    std::array<Counter *, kContexts> counter_{};
    Counter *of_label_ = nullptr;
    Inputs input_{};
    std::array<Inputs *, kMixers> weights_{};
    std::array<int, kMixers> mixed_{};
    uint16_t *cell_ = nullptr;
};

template <Preset preset>
Model<preset>::Model() {
    const Tables &t = tables();
    // Counters start from a logistic distribution of the scale that the context stands for.
    auto start = [&](Counter *counters, int log_scale, uint32_t count) {
        const Logistic guess{0, scale_inverse(220 - log_scale)};
        const int width = std::max(0, (log_scale - kOne) / 256 - 1);
        const int zero = clamp(guess.below(1) - guess.below(-1), 16, 65520);
        counters[kZero].set(static_cast<uint32_t>(65536 - zero), count);
        for (int step = 0; step <= static_cast<int>(kLastStep); ++step) {
            const int64_t from = 1 + (int64_t{step} << width), to = from + (int64_t{1} << width);
            const int share = Logistic::share(guess.beyond(2 * to - 1, false),
                                              guess.beyond(2 * from - 1, false));
            counters[kStep + step].set(static_cast<uint32_t>(16 * share), count);
        }
        std::copy(counters, counters + kHalf, counters + kHalf);
    };
    for (int i = 0; i < kContexts; ++i) {
        counters_[i].resize(static_cast<size_t>(kSizes[i]) * kNodes);
        for (int c = 0; c < kSizes[i]; ++c) {
            Counter *set = &counters_[i][static_cast<size_t>(c) * kNodes];
            if (i == 0) start(set, kOne - 1536 + 32 * (c >> 4) + 16, 6);
            if (i == 1 || i == 3) start(set, kOne - 768 + 256 * (c & 7) + 128, 2);
            if (i == 2) start(set, kOne - 1536 + 256 * (c >> 6) + 128, 2);
            if (i == 4) start(set, kOne - 1536 + 32 * c + 16, 6);
        }
    }
    static constexpr int kSets[2] = {16 * kNodes, 16 * kNodes};
    for (int s = 0; s < kMixers; ++s) {
        Inputs start_weights{};
        for (int j = 0; j < kContexts; ++j)
            start_weights[j] = kSmall ? 1250 : j == 0 ? 10000 : 2000;
        if (!kSmall) start_weights[kContexts] = 0;
        for (int j = 0; j < kExperts; ++j) start_weights[kContexts + 1 + j] = 5500;
        if (kSmall) start_weights[kLabelInput] = kLabelWeight;
        mixers_[s].assign(static_cast<size_t>(kSets[s]), start_weights);
    }
    if (kSmall) {
        refined_.resize(64 * kNodes * 32);
        for (size_t i = 0; i < refined_.size(); ++i)
            refined_[i] = t.squash[(static_cast<int>(i % 32) - 16) * 128 + kStretchLimit];
    }
}

template <Preset preset>
void Model<preset>::prepare(const FrontEnd &front, unsigned state, unsigned states) {
    const int over = front.log_scale - kOne;
    const auto bin = static_cast<uint32_t>(clamp((over + 1536) >> 5, 0, 127));
    const auto octave = static_cast<uint32_t>(clamp((over + 768) >> 8, 0, 7));
    coarse_ = bin >> 3;
    z_ = front.z;
    // Magnitudes relative to the scale, in half octaves; 0 is zero.
    auto relative = [&](int log) -> uint32_t {
        if (log == kZeroLog) return 0;
        return static_cast<uint32_t>(clamp((log - front.log_scale + 384) >> 7, 0, 6)) + 1;
    };
    auto group = [](int v) -> uint32_t { return tables().group[v < 0 ? -v : v]; };
    // 0 for none, 1 if it agrees with the expected sign, else 2.
    auto sign = [&](int v) -> uint32_t { return v == 0 ? 0 : (v < 0) == (z_ < 0) ? 1 : 2; };

    const uint32_t size = group(z_), magnitude = static_cast<uint32_t>(z_ < 0 ? -z_ : z_);
    const auto position = static_cast<uint32_t>(front.position());
    magnitude_group_ = size;
    agree_ = 0;
    context_[0] = bin * 16 + size;
    context_[1] = (relative(front.log_left) * 8 + relative(front.log_up)) * 8 + octave;
    sign_context_[0] = std::min(magnitude >> 2, 127u) * 16;
    const uint32_t row_sign = sign(front.row_mean_z()), column_sign = sign(front.column_mean_z());
    sign_context_[1] =
        ((sign(front.z_left()) * 3 + sign(front.z_up())) * 3 + row_sign) * 3 + column_sign;
    if constexpr (kSmall) {
        context_[3] = (relative(front.log_above()) * 8 + relative(front.log_above2())) * 8 + octave;
        sign_context_[3] = size * 32 + position;
        const int spread = (front.log_spread - kOne + 1536) >> 5;
        context_[4] = static_cast<uint32_t>(clamp(spread, 0, 127));
        context_[5] = front.row() & 255;
        context_[6] = front.channel() & 1023;
        const int logs[8] = {front.log_left, front.log_up, front.log_before(1), front.log_before(2),
                             front.log_above(), front.log_above(1), front.log_above(-1),
                             front.log_above2()};
        uint32_t pattern = 0;
        for (int log : logs) pattern = pattern << 1 | (log != kZeroLog);
        context_[7] = pattern * 4 + std::min(octave >> 1, 3u);
        const bool flip = z_ < 0;
        sign_context_[4] = size * 8 + octave;
        sign_context_[5] = static_cast<uint32_t>(front.row() & 127) * 2 + flip;
        sign_context_[6] = static_cast<uint32_t>(front.channel() & 511) * 2 + flip;
        sign_context_[7] = (group(front.row_mean_z()) * 3 + row_sign) * 24 +
                           group(front.column_mean_z()) * 3 + column_sign;
        expert_[0] = {front.centre, scale_inverse(338 - front.log_spread)};
        expert_[1] = {front.centre, scale_inverse(121 - front.log_spread)};
    }
    place_ = position;
    choose_state(state, states);
    const int index = over - (states ? 256 : 0);
    fixed_ = index > 256 ? static_cast<unsigned>(index / 256 - 1) : 0;
}

// With a trellis its state is a context, without one the position in the kernel.
template <Preset preset>
void Model<preset>::choose_state(unsigned state, unsigned states) {
    quantiser_ = states ? static_cast<int>(state & 1) * kHalf : 0;
    const uint32_t which = states ? state : place_;
    context_[2] = coarse_ * 64 + which;
    sign_context_[2] = magnitude_group_ * 64 + which;
    group_ = which;
}

/// What an expert says about a node, stretched.
template <Preset preset>
int Model<preset>::ask(const Logistic &expert, int node) const {
    int part = 1, whole = 2;
    if (node == kZero) {
        part = 65536 - (expert.below(1) - expert.below(-1));
        whole = 65536;
    } else if (node == kSign) {
        const int down = expert.below(-1), up = 65536 - expert.below(1);
        part = z_ < 0 ? up : down;
        whole = down + up;
    } else if (node < kLow) {
        part = expert.beyond(2 * next_ - 1, negative_);
        whole = expert.beyond(2 * start_ - 1, negative_);
    } else {
        return 0;
    }
    return tables().stretch[Logistic::share(part, whole)];
}

template <Preset preset>
uint32_t Model<preset>::predict(int node) {
    const Tables &t = tables();
    const int place = node + quantiser_;
    if (!kSmall && node == kSign) {  // the expected value alone
        counter_[0] = &counters_[0][sign_context_[0] * kNodes + static_cast<uint32_t>(place)];
        return static_cast<uint32_t>(clamp(static_cast<int>(counter_[0]->p16()), 32, 65504));
    }
    const Contexts &context = node == kSign ? sign_context_ : context_;
    std::array<int, kContexts> x;
    for (int i = 0; i < kContexts; ++i) {
        counter_[i] = &counters_[i][context[i] * kNodes + place];
        x[i] = t.stretch[counter_[i]->p12()];
    }
    if constexpr (kSmall) {
        put(input_, 0, pack(x[0], x[1], x[2], x[3]), pack(x[4], x[5], x[6], x[7]));
        // What is left of a pruned layer has a hole around zero: no logistic distribution fits.
        const int first = masked_ ? 0 : ask(expert_[0], node);
        const int second = masked_ ? 0 : ask(expert_[1], node);
        int label = 0;
        if (labelled_) {
            const uint32_t at = 2 * label_ + (node == kSign && z_ < 0);
            of_label_ = &of_labels_[at * kNodes + static_cast<uint32_t>(place)];
            label = t.stretch[of_label_->p12()];
        }
        put(input_, 8, pack(256, first, second, label), 0);
    } else {
        put(input_, 0, pack(x[0], x[1], x[2], 256), 0);
    }
    int sum = 0;
    for (int s = 0; s < kMixers; ++s) {
        const uint32_t set = s == 0 ? (kSmall ? magnitude_group_ + agree_ : 0) : coarse_;
        Inputs *w = &mixers_[s][set * kNodes + static_cast<uint32_t>(place)];
        const int y = clamp(dot(*w, input_) >> 14, -kStretchLimit, kStretchLimit);
        weights_[s] = w;
        mixed_[s] = t.squash[y + kStretchLimit];
        sum += y;
    }
    if constexpr (!kSmall) return static_cast<uint32_t>(mixed_[0]);
    const int y = sum >> 1;
    const int p = t.squash[y + kStretchLimit];
    const int spot = clamp(y + 2048 + 64, 0, 4095) >> 7;
    cell_ = &refined_[(group_ * kNodes + static_cast<uint32_t>(place)) * 32 +
                      static_cast<uint32_t>(spot)];
    return static_cast<uint32_t>(clamp((3 * p + *cell_ + 2) >> 2, 1, 65535));
}

template <Preset preset>
void Model<preset>::learn(int node, bool bit) {
    if (!kSmall && node == kSign) return counter_[0]->learn(bit, kLimits[0]);
    for (int i = 0; i < kContexts; ++i) counter_[i]->learn(bit, kLimits[i]);
    if (kSmall && labelled_) of_label_->learn(bit, kLabelLimit);
    const int target = bit ? 65536 : 0;
    for (int s = 0; s < kMixers; ++s) {
        const int error = clamp((target - mixed_[s]) >> 1, -32768, 32767);
        nudge(*weights_[s], input_, static_cast<int16_t>(error));
    }
    if constexpr (kSmall)
        *cell_ = static_cast<uint16_t>(*cell_ + (((bit ? 65535 : 0) - *cell_) >> 6));
}

template <Preset preset>
template <typename Coder>
int32_t Model<preset>::value(Coder &coder, int32_t k, bool is_signed, uint32_t bound) {
    const uint32_t m = static_cast<uint32_t>(k < 0 ? -k : k);
    if (bound == 0 || !code(coder, kZero, m > 0)) return 0;
    bool negative = k < 0;
    if (is_signed) {
        const bool flip = z_ < 0;
        negative = code(coder, kSign, negative != flip) != flip;
    }
    take_sign(negative);
    // A ladder of steps 2^fixed wide; from the seventh on each is twice as wide as the last.
    uint32_t start = 1;
    unsigned width = fixed_;
    for (unsigned step = 0;; ++step) {
        width = fixed_ + (step > 5 ? step - 5 : 0);
        const uint32_t next = start + (uint32_t{1} << width);
        if (next > bound) break;
        start_ = start;
        next_ = next;
        if (!code(coder, kStep + static_cast<int>(std::min(step, kLastStep)), m >= next)) break;
        start = next;
    }
    uint32_t low = 0;
    if (width > 0) {
        const uint32_t rest = m - start;
        unsigned left = width - 1;
        low = code(coder, kLow + static_cast<int>(std::min(width - 1, kLastLow)), rest >> left & 1);
        while (left > 0) {
            const unsigned n = std::min(left, 16u);
            left -= n;
            low = low << n | coder.bits(rest >> left & ((1u << n) - 1), n);
        }
    }
    const auto result = static_cast<int32_t>(start + low);
    return negative ? -result : result;
}

/// What predict() would say about the nodes behind the sign, where nothing is to be learned.
template <Preset preset>
struct Model<preset>::Glance {
    Model &model;
    bool negative;
    // Preset fast: the counters of the three contexts, and the mixer.
    std::array<const Counter *, 3> counters{};
    const Inputs *weights = nullptr;

    Glance(Model &m, bool is_negative) : model(m), negative(is_negative) {
        if constexpr (!kSmall) {
            const bool agrees = negative == (m.z_ < 0);
            for (size_t i = 0; i < 3; ++i) {
                const uint32_t context = m.context_[i] + (i == 0 && agrees ? 8 : 0);
                counters[i] =
                    &m.counters_[i][context * kNodes + static_cast<uint32_t>(m.quantiser_)];
            }
            weights = &m.mixers_[0][static_cast<uint32_t>(m.quantiser_)];
        }
    }

    uint32_t operator()(int node) const {
        if constexpr (kSmall) {
            const uint32_t first = model.context_[0];
            model.take_sign(negative);
            const uint32_t p = model.predict(node);
            model.context_[0] = first;
            model.agree_ = 0;
            return p;
        } else {
            const Tables &t = tables();
            const Inputs &w = weights[node];
            int sum = 256 * w[3];
            for (size_t i = 0; i < 3; ++i) sum += w[i] * t.stretch[counters[i][node].p12()];
            return t.squash[clamp(sum >> 14, -kStretchLimit, kStretchLimit) + kStretchLimit];
        }
    }
};

// What -6 .. 6 would cost in 1/256 bit; nothing is learned.
template <Preset preset>
void Model<preset>::costs(bool is_signed, uint16_t *out) {
    constexpr int kMost = kRatedValues / 2;
    auto of_one = [](uint32_t p) { return static_cast<uint32_t>(tables().cost[p >> 4]); };
    auto of_zero = [](uint32_t p) { return uint32_t{tables().cost[(65536 - p) >> 4]}; };
    const uint32_t some = predict(kZero);
    out[kMost] = static_cast<uint16_t>(of_zero(some));
    const uint32_t against = is_signed ? predict(kSign) : 0;
    for (const bool negative : {false, true}) {
        if (!is_signed && negative) {
            std::fill(out, out + kMost, uint16_t{65535});
            break;
        }
        uint32_t sum = of_one(some);
        if (is_signed) sum += negative != (z_ < 0) ? of_one(against) : of_zero(against);
        const Glance glance(*this, negative);
        auto put = [&](uint32_t m, uint32_t bits) {
            const auto k = static_cast<int>(negative ? kMost - m : kMost + m);
            out[k] = static_cast<uint16_t>(std::min(bits, 65535u));
        };
        uint32_t start = 1;
        for (unsigned step = 0; start <= kMost; ++step) {
            const unsigned width = fixed_ + (step > 5 ? step - 5 : 0);
            start_ = start;
            next_ = start + (int64_t{1} << width);
            const uint32_t more = glance(kStep + static_cast<int>(std::min(step, kLastStep)));
            const uint32_t stop = sum + of_zero(more);
            if (width == 0) {
                put(start, stop);
            } else {
                const uint32_t high =
                    glance(kLow + static_cast<int>(std::min(width - 1, kLastLow)));
                const uint32_t fixed = stop + 256 * (width - 1);
                const uint32_t bits[2] = {fixed + of_zero(high), fixed + of_one(high)};
                for (uint32_t m = start; m < next_ && m <= kMost; ++m)
                    put(m, bits[(m - start) >> (width - 1) & 1]);
            }
            sum += of_one(more);
            start = static_cast<uint32_t>(next_);
        }
    }
}

/// The costs in both quantisers; without a trellis there is one.
template <Preset preset>
void Model<preset>::rate(unsigned state, unsigned states, bool is_signed, uint16_t *out) {
    for (unsigned q = 0; q < (states ? 2u : 1u); ++q) {
        choose_state(states ? (state & ~1u) | q : 0, states);
        costs(is_signed, out + q * kRatedValues);
    }
    choose_state(states ? state : 0, states);
    if (states == 0) std::copy(out, out + kRatedValues, out + kRatedValues);
}

template <Preset preset>
template <typename Coder>
void Model<preset>::integers(Coder &coder, std::span<int32_t> values, std::span<const uint8_t> mask,
                             const Layout &layout, unsigned states, bool is_signed,
                             std::span<const uint16_t> labels, std::span<uint16_t> rates) {
    if (values.empty()) return;
    // A bound of the magnitudes: its number of bits, and two bits below the highest.
    uint32_t bound = 0;
    if constexpr (!Coder::kDecodes)
        for (int32_t k : values) bound = std::max(bound, static_cast<uint32_t>(k < 0 ? -k : k));
    const unsigned digits = coder.bits(static_cast<unsigned>(std::bit_width(bound)), 5);
    if (digits > 25) throw std::invalid_argument("a value is too large");
    if (digits > 2) {
        const uint32_t top = coder.bits(bound >> (digits - 3) & 3, 2);
        bound = ((5 + top) << (digits - 3)) - 1;
    } else {
        bound = (1u << digits) - 1;
    }
    const Trellis trellis(states);
    unsigned state = 0;
    masked_ = !mask.empty();
    labelled_ = kSmall && !labels.empty();
    if (labelled_) {  // blocks of one array say nothing about those of another
        const size_t largest = *std::max_element(labels.begin(), labels.end());
        of_labels_.assign(2 * (largest + 1) * kNodes, Counter{});
    }
    FrontEnd front(learned_, layout, values.size(), bound, masked_);
    const uint64_t kernel = uint64_t{layout.height} * layout.width;
    size_t i = 0;
    for (uint64_t r = 0; r < layout.rows; ++r) {
        front.start_row(r);
        for (uint64_t c = 0; c < layout.channels; ++c) {
            front.start_kernel(c);
            for (uint64_t p = 0; p < kernel; ++p, ++i) {
                if (masked_ && !mask[i]) {
                    front.skip(p);
                    values[i] = 0;
                    state = trellis.next(state, 0);
                    continue;
                }
                front.expect(p);
                if (labelled_) label_ = labels[i];
                prepare(front, state, states);
                if (!rates.empty()) rate(state, states, is_signed, &rates[2 * i * kRatedValues]);
                int32_t k = 0;
                if constexpr (!Coder::kDecodes) k = values[i];
                k = value(coder, k, is_signed, bound);
                if (k > kLargestValue || k < -kLargestValue)
                    throw std::invalid_argument("a value is too large");
                values[i] = k;
                // With a trellis the statistics are of the levels.
                front.learn(trellis.level(state, k));
                state = trellis.next(state, k);
            }
        }
        front.end_row();
    }
    front.end_array();
}

}  // namespace reticule::context
