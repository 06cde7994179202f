// Errors that surviving paths have made, and what they add to the columns to come.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "trellis_choice.hpp"

namespace reticule {

/// Errors of the current segment of a row, for each surviving path.
///
/// Old errors are the same for all survivors: they are spread over the columns to come
/// once.  Younger ones stand in blocks: a block keeps one history for each state at its end,
/// and of each of those paths through which state it left the block before.
template <unsigned states>
class History {
public:
    explicit History(size_t width) : shared_(width) {}

    void restart() {
        std::fill(shared_.begin(), shared_.end(), 0.0f);
        blocks_.clear();
        recent_.begin();
        filled_ = first_ = 0;
    }

    /// out[s]: what errors of earlier columns add to `column` (of the segment).
    void feedback(const View &view, size_t row, size_t start, size_t column, float *out) const {
        float before[states], sums[states];
        std::fill(before, before + states, shared_[column]);
        size_t t = start + first_;
        for (const Block &block : blocks_) {
            combine(view, row, t, column, block, kBlock, sums);
            for (unsigned s = 0; s < states; ++s) sums[s] += before[block.link[s]];
            std::copy(sums, sums + states, before);
            t += kBlock;
        }
        combine(view, row, t, column, recent_, filled_, sums);
        for (unsigned s = 0; s < states; ++s) out[s] = sums[s] + before[recent_.link[s]];
    }

    /// Survivor s came from state from[s] and has made errors[s] in this column.
    void extend(const uint8_t *from, const float *errors) {
        const std::array<uint8_t, states> link = recent_.link;
        for (unsigned s = 0; s < states; ++s) recent_.link[s] = link[from[s]];
        for (size_t j = 0; j < filled_; ++j) {
            const std::array<float, states> old = recent_.errors[j];
            for (unsigned s = 0; s < states; ++s) recent_.errors[j][s] = old[from[s]];
        }
        std::copy(errors, errors + states, recent_.errors[filled_].begin());
        if (++filled_ < kBlock) return;
        blocks_.push_back(recent_);
        recent_.begin();
        filled_ = 0;
    }

    /// Spreads the blocks that all survivors share; drops survivors if there are too many blocks.
    void merge(const View &view, size_t row, size_t start, size_t width, double *costs) {
        if (filled_ != 0 || blocks_.empty()) return;
        // through[b][s]: the state in which survivor s left block b
        std::array<std::array<uint8_t, states>, kPending> through;
        through[blocks_.size() - 1] = Block().link;
        for (size_t b = blocks_.size() - 1; b > 0; --b)
            for (unsigned s = 0; s < states; ++s)
                through[b - 1][s] = blocks_[b].link[through[b][s]];
        size_t merged = 0;
        for (; merged < blocks_.size(); ++merged) {
            const size_t best = static_cast<size_t>(std::min_element(costs, costs + states) - costs);
            const uint8_t state = through[merged][best];
            bool same = true;
            for (unsigned s = 0; s < states; ++s)
                same = same && (costs[s] == kNever || through[merged][s] == state);
            if (!same && (merged > 0 || blocks_.size() < kPending)) break;
            for (unsigned s = 0; s < states; ++s)
                if (through[merged][s] != state) costs[s] = kNever;
            share(view, row, start, width, blocks_[merged], state);
        }
        // The first block that is left has `shared_` before it, whatever its links.
        blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<ptrdiff_t>(merged));
    }

private:
    static constexpr size_t kBlock = 8;     // columns of history that move together
    static constexpr size_t kPending = 64;  // blocks of history before a decision is forced
    static constexpr unsigned kLanes = 8;
    static_assert(states % kLanes == 0);

    struct Block {
        std::array<std::array<float, states>, kBlock> errors{};
        std::array<uint8_t, states> link{};

        Block() { begin(); }
        void begin() { std::iota(link.begin(), link.end(), uint8_t{0}); }
    };

    /// sums[s]: what `count` errors of each state, from column `first` on, add to a column.
    void combine(const View &view, size_t row, size_t first, size_t column, const Block &block,
                 size_t count, float *sums) const {
        float factors[kBlock];
        for (size_t j = 0; j < count; ++j) factors[j] = view.spread(row, first + j)[column];
        for (unsigned s = 0; s < states; s += kLanes) {
            float lanes[kLanes] = {};
            for (size_t j = 0; j < count; ++j)
                for (unsigned l = 0; l < kLanes; ++l)
                    lanes[l] += factors[j] * block.errors[j][s + l];
            std::copy(lanes, lanes + kLanes, sums + s);
        }
    }

    /// Adds the errors of the oldest block, that of `state` at its end, to the columns behind them.
    void share(const View &view, size_t row, size_t start, size_t width, const Block &block,
               uint8_t state) {
        const float *spreads[kBlock];
        float errors[kBlock];
        for (size_t j = 0; j < kBlock; ++j) {
            spreads[j] = view.spread(row, start + first_ + j);
            errors[j] = block.errors[j][state];
        }
        const size_t inside = std::min(first_ + kBlock, width);
        for (size_t j = 0; j < kBlock; ++j)
            for (size_t k = first_ + j + 1; k < inside; ++k)
                shared_[k] += spreads[j][k] * errors[j];
        float *shared = shared_.data();
        for (size_t k = inside; k < width; ++k) {  // all at once: one pass through memory
            float sum = shared[k];
            for (size_t j = 0; j < kBlock; ++j) sum += spreads[j][k] * errors[j];
            shared[k] = sum;
        }
        first_ += kBlock;
    }

    std::vector<float> shared_;  // feedback from the columns before first_
    std::vector<Block> blocks_;
    Block recent_;
    size_t filled_ = 0;  // columns in recent_
    size_t first_ = 0;   // first column of the first block
};

}  // namespace reticule
