// Short vectors of 16-bit integers.  The plain loops define the results; with SSE2, which
// every x86-64 has, the same is computed eight lanes at a time.

#pragma once

#include <array>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace reticule::context {

template <int n>
struct alignas(16) Lanes : std::array<int16_t, n> {
    static_assert(n % 8 == 0);
};

/// Four lanes in one word, the first lowest.
inline uint64_t pack(int a, int b, int c, int d) {
    return uint64_t{static_cast<uint16_t>(a)} | uint64_t{static_cast<uint16_t>(b)} << 16 |
           uint64_t{static_cast<uint16_t>(c)} << 32 | uint64_t{static_cast<uint16_t>(d)} << 48;
}

/// Sets eight lanes at once: single stores of 16 bits would delay the wide load after them.
template <int n>
inline void put(Lanes<n> &lanes, int at, uint64_t low, uint64_t high) {
#if defined(__SSE2__)
    *reinterpret_cast<__m128i *>(lanes.data() + at) =
        _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
#else
    for (int i = 0; i < 4; ++i) {
        lanes[at + i] = static_cast<int16_t>(low >> (16 * i));
        lanes[at + 4 + i] = static_cast<int16_t>(high >> (16 * i));
    }
#endif
}

/// Sum of products; |sum| must stay below 2^31.
template <int n>
inline int32_t dot(const Lanes<n> &a, const Lanes<n> &b) {
#if defined(__SSE2__)
    __m128i sum = _mm_setzero_si128();
    for (int i = 0; i < n; i += 8)
        sum = _mm_add_epi32(sum, _mm_madd_epi16(*reinterpret_cast<const __m128i *>(a.data() + i),
                                                *reinterpret_cast<const __m128i *>(b.data() + i)));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return _mm_cvtsi128_si32(sum);
#else
    int32_t sum = 0;
    for (int i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
#endif
}

/// w += x * step / 2^17, rounded: half of (x * step / 2^16, rounded down) plus a half, rounded
/// down; limited to 16 bits.
template <int n>
inline void nudge(Lanes<n> &w, const Lanes<n> &x, int16_t step) {
#if defined(__SSE2__)
    const __m128i steps = _mm_set1_epi16(step), one = _mm_set1_epi16(1);
    for (int i = 0; i < n; i += 8) {
        auto *at = reinterpret_cast<__m128i *>(w.data() + i);
        const __m128i high =
            _mm_mulhi_epi16(*reinterpret_cast<const __m128i *>(x.data() + i), steps);
        *at = _mm_adds_epi16(*at, _mm_srai_epi16(_mm_add_epi16(high, one), 1));
    }
#else
    for (int i = 0; i < n; ++i) {
        const int32_t moved = w[i] + ((((x[i] * step) >> 16) + 1) >> 1);
        w[i] = static_cast<int16_t>(moved > 32767 ? 32767 : moved < -32768 ? -32768 : moved);
    }
#endif
}

/// sums += x * factor, in 32 bits.
template <int n>
inline void accumulate(int32_t *sums, const Lanes<n> &x, int16_t factor) {
#if defined(__SSE2__)
    const __m128i factors = _mm_set1_epi16(factor);
    for (int i = 0; i < n; i += 8) {
        const __m128i v = *reinterpret_cast<const __m128i *>(x.data() + i);
        const __m128i low = _mm_mullo_epi16(v, factors), high = _mm_mulhi_epi16(v, factors);
        auto *at = reinterpret_cast<__m128i *>(sums + i);
        at[0] = _mm_add_epi32(at[0], _mm_unpacklo_epi16(low, high));
        at[1] = _mm_add_epi32(at[1], _mm_unpackhi_epi16(low, high));
    }
#else
    for (int i = 0; i < n; ++i) sums[i] += x[i] * factor;
#endif
}

}  // namespace reticule::context
