#include "context_math.hpp"

namespace reticule::context {

namespace {

// round(65536 / (1 + exp(-i / 8))) for i = 0 .. 88.
constexpr uint16_t kLogistic[89] = {
    32768, 34813, 36843, 38841, 40793, 42687, 44511, 46254, 47911, 49474,
    50941, 52310, 53581, 54754, 55834, 56822, 57724, 58544, 59287, 59959,
    60565, 61109, 61598, 62036, 62428, 62778, 63090, 63368, 63615, 63835,
    64030, 64203, 64357, 64494, 64614, 64721, 64816, 64900, 64974, 65039,
    65097, 65149, 65194, 65234, 65269, 65300, 65328, 65352, 65374, 65393,
    65410, 65425, 65438, 65449, 65459, 65468, 65476, 65483, 65489, 65495,
    65500, 65504, 65508, 65511, 65514, 65517, 65519, 65521, 65523, 65524,
    65526, 65527, 65528, 65529, 65530, 65530, 65531, 65532, 65532, 65533,
    65533, 65533, 65534, 65534, 65534, 65534, 65535, 65535, 65535,
};

/// Square root, rounded to the nearest integer, of x < 2^64 - 2^33.
uint64_t square_root(uint64_t x) {
    uint64_t root = 0;
    for (uint64_t bit = uint64_t{1} << 31; bit > 0; bit >>= 1)
        if ((root + bit) * (root + bit) <= x) root += bit;
    return root + (x - root * root > root);
}

Tables build() {
    Tables t{};

    // 2^(i/512) with 31 fractional bits, from repeated square roots of 2.
    std::array<uint64_t, 10> roots{};
    roots[0] = uint64_t{1} << 32;
    for (std::size_t i = 1; i < roots.size(); ++i) roots[i] = square_root(roots[i - 1] << 31);
    std::array<uint64_t, 512> power{};
    for (unsigned i = 0; i < 512; ++i) {
        uint64_t value = uint64_t{1} << 31;
        for (unsigned bit = 0; bit < 9; ++bit)
            if (i >> (8 - bit) & 1) value = (value * roots[bit + 1] + (uint64_t{1} << 30)) >> 31;
        power[i] = value;
    }
    for (unsigned i = 0; i < 256; ++i) {
        t.exp2_fraction[i] = static_cast<uint32_t>((power[2 * i] + (1 << 14)) >> 15);
        int step = 0;
        while (step < 256 && power[2 * step + 1] <= (uint64_t{256 + i} << 23)) ++step;
        t.log2_mantissa[i] = static_cast<int16_t>(step);
    }

    for (int x = 0; x <= kStretchLimit; ++x) {
        const int knot = x >> 5, part = x & 31;
        const int low = kLogistic[knot], high = kLogistic[knot + 1 > 88 ? 88 : knot + 1];
        const int value = low + (((high - low) * part + 16) >> 5);
        t.squash[kStretchLimit + x] = static_cast<uint16_t>(value > 65535 ? 65535 : value);
        t.squash[kStretchLimit - x] = static_cast<uint16_t>(65536 - value);
    }
    int x = -kStretchLimit;
    for (int i = 0; i < 4096; ++i) {
        while (x < kStretchLimit && t.squash[x + kStretchLimit] < 16 * i + 8) ++x;
        t.stretch[i] = static_cast<int16_t>(x);
    }
    for (uint32_t n = 0; n < t.share.size(); ++n)
        t.share[n] = static_cast<uint16_t>(131072 / (2 * n + 3));
    for (int i = 0; i < 481; ++i) {
        const int log = 16 * i + 8;
        const uint64_t value = (uint64_t{t.exp2_fraction[log & 255]} << (log >> 8)) >> 16;
        t.inverse[i] = static_cast<uint32_t>((uint64_t{1} << 30) / (4096 + value));
    }
    constexpr int kGroups[7] = {8, 20, 40, 70, 110, 170, 260};
    for (int i = 0; i < 1024; ++i)
        for (int limit : kGroups) t.group[i] = static_cast<uint8_t>(t.group[i] + (i >= limit));
    for (uint32_t i = 0; i < t.cost.size(); ++i)
        t.cost[i] = static_cast<uint16_t>(256 * 13 - [&] {
            const uint32_t v = 2 * i + 1;  // p = v / 8192
            const int e = 31 - std::countl_zero(v);
            return 256 * e + t.log2_mantissa[(e >= 8 ? v >> (e - 8) : v << (8 - e)) & 255];
        }());
    return t;
}

}  // namespace

// Built before main, in this translation unit, from constants only.
const Tables kTables = build();

}  // namespace reticule::context
