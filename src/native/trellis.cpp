// Encoder side of trellis-coded quantisation: the Viterbi search.  Floating point is fine here:
// whatever path comes out, a decoder only sees its indices.

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "trellis_search.hpp"

namespace reticule {

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr unsigned kMost = Trellis::kMostStates;
constexpr size_t kBlock = 8;       // columns of history that move together
constexpr unsigned kLanes = 8;     // divides the number of states
constexpr size_t kPending = 64;    // blocks of history before a decision is forced
constexpr size_t kDecided = 4096;  // steps that are written out at once
constexpr size_t kUndecided = 2048;

struct Choice {
    double cost = kNever;
    int32_t index = 0;
};

/// Cost of the best index of each branch for one weight in one quantiser.
using Branches = std::array<Choice, 2>;

/// Bits of every index at one position, times lambda.
class Price {
public:
    Price(const uint16_t *table, double lambda) : table_(table), scale_(lambda / 256) {}

    double operator()(unsigned quantiser, int32_t k) const {
        if (table_ == nullptr) {  // Golomb-like: a bit for zero or not, sign, length
            const int32_t size = k < 0 ? -k : k;
            return scale_ * (k == 0 ? 256 : 512 + 128 * (size - 1));
        }
        const uint16_t *row = table_ + quantiser * kRateWidth + kRateReach;
        if (k > kRateReach || k < -kRateReach) {
            const int32_t sign = k > 0 ? 1 : -1;
            const double last = row[sign * kRateReach];
            const double slope = std::max((last - row[sign * 2]) / (kRateReach - 2), 1.0);
            return scale_ * (last + slope * (sign * k - kRateReach));
        }
        return scale_ * row[k];
    }

private:
    const uint16_t *table_;
    double scale_;
};

/// y: the weight in steps; weight: what one step squared of error costs.
Branches choose(double y, unsigned quantiser, double weight, const Price &price) {
    Branches best;
    const double size = std::fabs(y);
    const int32_t floor = static_cast<int32_t>((size + quantiser) / 2);
    const int32_t sign = y < 0 ? -1 : 1;
    const auto consider = [&](int32_t k) {
        const double error = y - Trellis::grid(quantiser, k);
        const double cost = weight * error * error + price(quantiser, k);
        Choice &choice = best[Trellis::branch(quantiser, k)];
        if (cost < choice.cost) choice = {cost, k};
    };
    consider(sign * (floor + 1));
    consider(sign * floor);
    if (floor >= 1) consider(sign * (floor - 1));
    if (floor >= 2) consider(0);
    if (quantiser && floor <= 1) consider(-sign);  // the other side of zero
    return best;
}

double clamped(double y) {
    constexpr double largest = kLargestLevel - 4;
    return y < largest ? (y > -largest ? y : -largest) : largest;
}

/// What one call works on, checked.
struct View {
    const Problem &p;

    double weight(size_t row, size_t column) const {
        double w = p.step * p.step;
        if (!p.importance.empty()) w *= p.importance[row];
        if (!p.pivots.empty()) w *= p.pivots[factor(row) * p.columns + column];
        return w;
    }
    Price price(size_t i) const {
        if (p.rates.empty()) return {nullptr, p.lambda};
        const size_t entry = p.classes.empty() ? i : p.classes[i];
        return {p.rates.data() + entry * kRateSize, p.lambda};
    }
    size_t factor(size_t row) const { return p.factor_of_row.empty() ? 0 : p.factor_of_row[row]; }
    /// Coefficients by which the error of `column` is added to the columns after it in its block.
    const float *spread(size_t row, size_t column) const {
        return p.spread.data() + (factor(row) * p.columns + column) * p.block;
    }
    size_t segment() const { return p.spread.empty() ? p.columns : p.block; }
};

/// Errors of the current segment of a row, for each surviving path.
///
/// Old errors are the same for all survivors: they are spread over the columns to come
/// once.  Younger ones stand in blocks: a block keeps one history for each state at its end,
/// and of each of those paths through which state it left the block before.
class History {
public:
    History(unsigned states, size_t width) : states_(states), shared_(width) {}

    void restart() {
        std::fill(shared_.begin(), shared_.end(), 0.0f);
        blocks_.clear();
        recent_.begin();
        filled_ = first_ = 0;
    }

    /// out[s]: what errors of earlier columns add to `column` (of the segment).
    void feedback(const View &view, size_t row, size_t start, size_t column, float *out) const {
        float before[kMost], sums[kMost];
        std::fill(before, before + states_, shared_[column]);
        size_t t = start + first_;
        for (const Block &block : blocks_) {
            combine(view, row, t, column, block, kBlock, sums);
            for (unsigned s = 0; s < states_; ++s) sums[s] += before[block.link[s]];
            std::copy(sums, sums + states_, before);
            t += kBlock;
        }
        combine(view, row, t, column, recent_, filled_, sums);
        for (unsigned s = 0; s < states_; ++s) out[s] = sums[s] + before[recent_.link[s]];
    }

    /// Survivor s came from state from[s] and has made errors[s] in this column.
    void extend(const uint8_t *from, const float *errors) {
        const std::array<uint8_t, kMost> link = recent_.link;
        for (unsigned s = 0; s < states_; ++s) recent_.link[s] = link[from[s]];
        for (size_t j = 0; j < filled_; ++j) {
            const std::array<float, kMost> old = recent_.errors[j];
            for (unsigned s = 0; s < states_; ++s) recent_.errors[j][s] = old[from[s]];
        }
        std::copy(errors, errors + states_, recent_.errors[filled_].begin());
        if (++filled_ < kBlock) return;
        blocks_.push_back(recent_);
        recent_.begin();
        filled_ = 0;
    }

    /// Spreads the blocks that all survivors share; drops survivors if there are too many blocks.
    void merge(const View &view, size_t row, size_t start, size_t width, double *costs) {
        if (filled_ != 0 || blocks_.empty()) return;
        // through[b][s]: the state in which survivor s left block b
        std::array<std::array<uint8_t, kMost>, kPending> through;
        through[blocks_.size() - 1] = Block().link;
        for (size_t b = blocks_.size() - 1; b > 0; --b)
            for (unsigned s = 0; s < states_; ++s)
                through[b - 1][s] = blocks_[b].link[through[b][s]];
        size_t merged = 0;
        for (; merged < blocks_.size(); ++merged) {
            const size_t best = std::min_element(costs, costs + states_) - costs;
            const uint8_t state = through[merged][best];
            bool same = true;
            for (unsigned s = 0; s < states_; ++s)
                same = same && (costs[s] == kNever || through[merged][s] == state);
            if (!same && (merged > 0 || blocks_.size() < kPending)) break;
            for (unsigned s = 0; s < states_; ++s)
                if (through[merged][s] != state) costs[s] = kNever;
            for (size_t j = 0; j < kBlock; ++j, ++first_) {
                const float *spread = view.spread(row, start + first_);
                const float error = blocks_[merged].errors[j][state];
                for (size_t k = first_ + 1; k < width; ++k) shared_[k] += spread[k] * error;
            }
        }
        // The first block that is left has `shared_` before it, whatever its links.
        blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<ptrdiff_t>(merged));
    }

private:
    struct Block {
        std::array<std::array<float, kMost>, kBlock> errors{};
        std::array<uint8_t, kMost> link{};

        Block() { begin(); }
        void begin() { std::iota(link.begin(), link.end(), uint8_t{0}); }
    };

    /// sums[s]: what `count` errors of each state, from column `first` on, add to a column.
    void combine(const View &view, size_t row, size_t first, size_t column, const Block &block,
                 size_t count, float *sums) const {
        float factors[kBlock];
        for (size_t j = 0; j < count; ++j) factors[j] = view.spread(row, first + j)[column];
        for (unsigned s = 0; s < states_; s += kLanes) {
            float lanes[kLanes] = {};
            for (size_t j = 0; j < count; ++j)
                for (unsigned l = 0; l < kLanes; ++l)
                    lanes[l] += factors[j] * block.errors[j][s + l];
            std::copy(lanes, lanes + kLanes, sums + s);
        }
    }

    unsigned states_;
    std::vector<float> shared_;  // feedback from the columns before first_
    std::vector<Block> blocks_;
    Block recent_;
    size_t filled_ = 0;  // columns in recent_
    size_t first_ = 0;   // first column of the first block
};

/// One row group: the survivors, their decisions, and the way back.
class Search {
public:
    Search(const Problem &problem, std::span<int32_t> out)
        : view_{problem}, out_(out), trellis_(problem.states),
          history_(problem.states, problem.spread.empty() ? 0 : problem.block) {
        unsigned found[kMost] = {};
        for (unsigned s = 0; s < problem.states; ++s)
            for (const int32_t k : {0, 1}) {
                const unsigned t = trellis_.next(s, k);
                const unsigned branch = Trellis::branch(s, k);
                into_[t][found[t]++] = {static_cast<uint8_t>(s), static_cast<uint8_t>(branch)};
            }
    }

    /// Rows [first, last) from state 0; returns the cost of the path that was chosen.
    double run(size_t first, size_t last) {
        const size_t columns = view_.p.columns, segment = view_.segment();
        std::fill(costs_.begin(), costs_.end(), kNever);
        costs_[0] = 0;
        total_ = 0;
        decided_ = first * columns;
        steps_.clear();
        for (size_t row = first; row < last; ++row)
            for (size_t start = 0; start < columns; start += segment) {
                const size_t width = std::min(segment, columns - start);
                if (!view_.p.spread.empty()) history_.restart();
                for (size_t j = 0; j < width; ++j) step(row, start, j, width);
            }
        const size_t best = best_state();
        trace(best, steps_.size());
        return total_ + costs_[best];
    }

private:
    struct Step {
        std::array<uint8_t, kMost> from;
        std::array<int32_t, kMost> index;
    };
    struct Branch {
        uint8_t from, branch;
    };

    size_t best_state() const {
        return std::min_element(costs_.begin(), costs_.begin() + view_.p.states) - costs_.begin();
    }

    void step(size_t row, size_t start, size_t j, size_t width) {
        const Problem &p = view_.p;
        const size_t column = start + j, i = row * p.columns + column;
        const double y = p.weights[i] / p.step, weight = view_.weight(row, column);
        const Price price = view_.price(i);
        const unsigned states = p.states;
        const bool coupled = !p.spread.empty();

        std::array<float, kMost> shift;
        std::array<Branches, kMost> branches;
        if (coupled) {
            history_.feedback(view_, row, start, j, shift.data());
            for (unsigned s = 0; s < states; ++s)
                if (costs_[s] != kNever)
                    branches[s] = choose(clamped(y + shift[s]), Trellis::quantiser(s), weight,
                                         price);
        } else {
            const Branches both[2] = {choose(clamped(y), 0, weight, price),
                                      choose(clamped(y), 1, weight, price)};
            for (unsigned s = 0; s < states; ++s) branches[s] = both[Trellis::quantiser(s)];
        }

        Step &decision = steps_.emplace_back();
        std::array<double, kMost> costs;
        std::array<float, kMost> errors;
        double least = kNever;
        for (unsigned t = 0; t < states; ++t) {
            const auto [a, b] = into_[t];
            const double cost_a = costs_[a.from] + branches[a.from][a.branch].cost;
            const double cost_b = costs_[b.from] + branches[b.from][b.branch].cost;
            const Branch &way = cost_b < cost_a ? b : a;
            costs[t] = cost_b < cost_a ? cost_b : cost_a;
            least = std::min(least, costs[t]);
            const int32_t k = branches[way.from][way.branch].index;
            decision.from[t] = way.from;
            decision.index[t] = k;
            if (coupled)
                errors[t] = static_cast<float>(y - trellis_.level(way.from, k));
        }
        for (unsigned t = 0; t < states; ++t) costs_[t] = costs[t] - least;
        total_ += least;
        if (coupled) {
            history_.extend(decision.from.data(), errors.data());
            history_.merge(view_, row, start, width, costs_.data());
        }
        if (steps_.size() == kDecided + kUndecided) decide();
    }

    /// Writes the oldest decisions; survivors that disagree with them are dropped.
    void decide() {
        const size_t best = best_state();
        std::array<uint8_t, kMost> through;
        for (unsigned s = 0; s < view_.p.states; ++s) {
            uint8_t state = static_cast<uint8_t>(s);
            for (size_t t = steps_.size(); t-- > kDecided;) state = steps_[t].from[state];
            through[s] = state;
        }
        for (unsigned s = 0; s < view_.p.states; ++s)
            if (through[s] != through[best]) costs_[s] = kNever;
        trace(through[best], kDecided);
        steps_.erase(steps_.begin(), steps_.begin() + kDecided);
    }

    void trace(size_t state, size_t count) {
        for (size_t t = count; t-- > 0;) {
            const Step &decision = steps_[t];
            const int32_t k = decision.index[state];
            state = decision.from[state];
            out_[decided_ + t] = trellis_.level(static_cast<unsigned>(state), k);
        }
        decided_ += count;
    }

    View view_;
    std::span<int32_t> out_;
    Trellis trellis_;
    History history_;
    std::array<std::array<Branch, 2>, kMost> into_{};
    std::array<double, kMost> costs_{};
    double total_ = 0;
    std::vector<Step> steps_;
    size_t decided_ = 0;
};

/// One quantiser, weight by weight: nothing to search, so errors spread at once.
double scalar(const Problem &p, std::span<int32_t> out) {
    const View view{p};
    const bool coupled = !p.spread.empty();
    std::vector<float> shift(coupled ? p.block : 0);
    double total = 0;
    for (size_t row = 0, i = 0; row < p.rows; ++row)
        for (size_t column = 0; column < p.columns; ++column, ++i) {
            const size_t j = coupled ? column % p.block : 0;
            if (coupled && j == 0) std::fill(shift.begin(), shift.end(), 0.0f);
            const double plain = p.weights[i] / p.step;
            const double y = clamped(coupled ? plain + shift[j] : plain), size = std::fabs(y);
            const double weight = view.weight(row, column);
            const Price price = view.price(i);
            const int32_t floor = static_cast<int32_t>(size), sign = y < 0 ? -1 : 1;
            Choice best;
            for (const int32_t k : {floor + 1, floor, floor - 1, 0}) {
                if (k < 0) continue;
                const double cost = weight * (size - k) * (size - k) + price(0, sign * k);
                if (cost < best.cost) best = {cost, sign * k};
            }
            out[i] = best.index;
            total += best.cost;
            if (!coupled) continue;
            const float *spread = view.spread(row, column);
            const float error = static_cast<float>(plain - best.index);
            const size_t width = std::min<size_t>(p.block, p.columns - (column - j));
            for (size_t k = j + 1; k < width; ++k) shift[k] += spread[k] * error;
        }
    return total;
}

void check(const Problem &p, size_t out) {
    const auto fail = [](const char *what) { throw std::invalid_argument(what); };
    if (p.columns != 0 && p.rows > p.weights.size() / p.columns) fail("as many weights as places");
    const size_t n = p.rows * p.columns;
    if (p.weights.size() != n || out != n) fail("as many weights as places");
    if (!(p.step > 0) || !std::isfinite(p.step)) fail("the step must be positive");
    if (!(p.lambda >= 0) || !std::isfinite(p.lambda)) fail("lambda must not be negative");
    const double largest = p.step * (kLargestLevel - 4);
    for (const float w : p.weights)
        if (!(std::fabs(w) <= largest)) fail("a weight is not finite, or too large for the step");
    if (!p.importance.empty() && p.importance.size() != p.rows) fail("one importance a row");
    if (!p.factor_of_row.empty() && p.factor_of_row.size() != p.rows) fail("one factor a row");
    size_t factors = 1;
    for (const uint32_t f : p.factor_of_row) factors = std::max<size_t>(factors, size_t{f} + 1);
    if (!p.pivots.empty() && p.pivots.size() / factors < p.columns) fail("too few pivots");
    if (!p.spread.empty()) {
        if (p.block == 0 || p.columns == 0) fail("the block must be positive");
        if (p.spread.size() / p.block / factors < p.columns) fail("too few coefficients");
    }
    if (p.rates.size() % kRateSize != 0) fail("rates come in 2 rows of 13");
    const size_t entries = p.rates.size() / kRateSize;
    if (p.classes.empty() ? entries != 0 && entries != n : p.classes.size() != n || entries == 0)
        fail("rates for every weight");
    for (const uint16_t c : p.classes)
        if (c >= entries) fail("rates for every class");
}

}  // namespace

double quantise(const Problem &problem, std::span<int32_t> levels) {
    check(problem, levels.size());
    if (levels.empty()) return 0;
    if (problem.states == 0) return scalar(problem, levels);
    Search search(problem, levels);
    const size_t group = trellis_rows(problem.columns);
    double total = 0;
    for (size_t row = 0; row < problem.rows; row += group)
        total += search.run(row, std::min<size_t>(problem.rows, row + group));
    return total;
}

}  // namespace reticule
