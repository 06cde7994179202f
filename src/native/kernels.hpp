// What the engine's kernels share: array types, sliding windows, and a parallel loop.

#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

namespace reticule {

using Index = std::int64_t;

template <std::size_t Rank>
using Input = nanobind::ndarray<nanobind::numpy, const float, nanobind::ndim<Rank>,
                                nanobind::c_contig, nanobind::device::cpu>;
template <std::size_t Rank>
using Output = nanobind::ndarray<nanobind::numpy, float, nanobind::ndim<Rank>,
                                 nanobind::c_contig, nanobind::device::cpu>;

// An array of any element type, to be told apart when the kernel is chosen.
using Codes = nanobind::ndarray<nanobind::numpy, nanobind::ro, nanobind::ndim<1>,
                                nanobind::c_contig, nanobind::device::cpu>;

inline void require(bool holds, const char *what) {
    if (!holds) throw std::invalid_argument(what);
}

template <class Array>
Index extent(const Array &array, std::size_t axis) {
    return static_cast<Index>(array.shape(axis));
}

// Quotient rounded up, for a positive divisor.
inline Index ceil_div(Index a, Index b) { return a > 0 ? (a - 1) / b + 1 : a / b; }

struct Range {
    Index first, last;
};

inline Range range(Index first, Index last, Index limit) {
    first = std::clamp<Index>(first, 0, limit);
    return {first, std::clamp<Index>(last, first, limit)};
}

// One axis of a sliding window: tap k of output position p reads input
// p * stride + k * dilation - before.  Both questions below answer with ranges that
// lie inside of the arrays, whatever the numbers; kernels rely on nothing else.
struct Window {
    Index size;   // of the input
    Index count;  // of output positions
    Index taps, stride, dilation, before;

    Index source(Index position, Index tap) const {
        return position * stride + tap * dilation - before;
    }
    // Taps that meet the input at a position.
    Range taps_at(Index position) const {
        const Index start = source(position, 0);
        return range(ceil_div(-start, dilation), ceil_div(size - start, dilation), taps);
    }
    // Positions at which a tap meets the input.
    Range positions_of(Index tap) const {
        const Index offset = source(0, tap);
        return range(ceil_div(-offset, stride), ceil_div(size - offset, stride), count);
    }
};

struct Geometry {
    std::array<Index, 2> kernel, strides, dilations;
    std::array<Index, 4> pads;  // top, left, bottom, right

    void check() const {
        const Index limit = Index{1} << 31;
        for (int axis = 0; axis < 2; ++axis) {
            require(kernel[axis] >= 1 && kernel[axis] <= limit, "kernel out of range");
            require(strides[axis] >= 1 && strides[axis] <= limit, "strides out of range");
            require(dilations[axis] >= 1 && dilations[axis] <= limit, "dilations out of range");
        }
        for (Index pad : pads) require(pad >= 0 && pad <= limit, "pads out of range");
    }
    Window down(Index size, Index count) const {
        return {size, count, kernel[0], strides[0], dilations[0], pads[0]};
    }
    Window across(Index size, Index count) const {
        return {size, count, kernel[1], strides[1], dilations[1], pads[1]};
    }
};

// Calls body(i) for i in [0, tasks).  A thread is worth its start only for `grain` units of
// work.  Tasks are handed out one at a time, so fewer threads than asked for is no error.
template <class Body>
void parallel_for(Index tasks, Index work_per_task, int threads, Body body) {
    constexpr double grain = 1 << 18;
    const double work = static_cast<double>(tasks) * static_cast<double>(work_per_task);
    const Index useful = static_cast<Index>(std::min(work / grain, 1024.0));
    const Index workers = std::min({static_cast<Index>(threads), tasks, useful});
    std::atomic<Index> next{0};
    auto work_off = [&] {
        for (Index i = next++; i < tasks; i = next++) body(i);
    };
    std::vector<std::thread> others;
    if (workers > 1) {
        others.reserve(static_cast<std::size_t>(workers));
        try {
            while (static_cast<Index>(others.size()) < workers - 1) others.emplace_back(work_off);
        } catch (const std::system_error &) {
            // No further thread to be had; those that run, and this one, do the work.
        }
    }
    work_off();
    for (std::thread &other : others) other.join();
}

}  // namespace reticule
