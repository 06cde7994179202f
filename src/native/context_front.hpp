// What both presets know about a value before it is coded: its expected magnitude from rows,
// columns and kernels, and its expected value from neighbours.  Encoder and decoder run the
// same code on the same past.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "context_coder.hpp"
#include "context_lanes.hpp"
#include "context_math.hpp"

namespace reticule::context {

inline constexpr int kUnit = 12;   // fractional bits of magnitudes
inline constexpr int kOne = kUnit * 256;  // their logarithm of 1
inline constexpr int kZeroLog = -32768;   // stands for the logarithm of 0

inline int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

inline int64_t clamp64(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

/// Least squares with forgetting: x predicts a target.  Solved by one step of coordinate
/// descent for each sample.
struct LeastSquares {
    static constexpr int kUsed = 11;
    static constexpr int kForget = 1024;
    static constexpr int64_t kRidge = int64_t{16} << 16;
    using Inputs = Lanes<16>;

    alignas(16) std::array<std::array<int32_t, 16>, kUsed> a{};
    alignas(16) std::array<int32_t, 16> b{};
    std::array<int32_t, 16> exact{};  // weights with 16 fractional bits
    Inputs weights{};                 // with 14
    int32_t samples = 0;
    int32_t next = 0;

    void halve() {
        samples >>= 1;
        for (auto &row : a)
            for (int32_t &value : row) value >>= 1;
        for (int32_t &value : b) value >>= 1;
    }

    void learn(const Inputs &x, int16_t target) {
        for (int i = 0; i < kUsed; ++i) accumulate(a[i].data(), x, x[i]);
        accumulate(b.data(), x, target);
        if (++samples >= kForget) halve();
        const int k = next;
        next = k + 1 < kUsed ? k + 1 : 0;
        int64_t rest = int64_t{b[k]} << 16;
        for (int j = 0; j < kUsed; ++j) rest -= int64_t{a[k][j]} * exact[j];
        rest += int64_t{a[k][k]} * exact[k];
        exact[k] = static_cast<int32_t>(clamp64(rest / (a[k][k] + kRidge), -131072, 131071));
        weights[k] = static_cast<int16_t>(exact[k] >> 2);
    }
};

/// What is kept from array to array.
template <int features>
struct Learned {
    static constexpr int kPlaces = 17;  // kernel positions 0 .. 14, later ones, 1x1 kernels

    std::array<Lanes<features>, kPlaces> scale{}, residual{};  // 14 fractional bits
    std::array<LeastSquares, kPlaces> mean;
    std::vector<int16_t> columns, rows, older_columns, older_rows;  // profiles of past arrays

    Learned() {
        static constexpr int16_t kStart[8] = {8192, 7373, 3277, 6554, 6554, 2458, 0, 4915};
        for (auto *set : {&scale, &residual})
            for (auto &weights : *set) std::copy(kStart, kStart + 8, weights.begin());
    }
};

/// Walks through one array in C order and keeps its statistics.
template <Preset preset>
class Front {
  public:
    static constexpr bool kSmall = preset == Preset::Small;

    static constexpr int kFeatures = kSmall ? 16 : 8;
    using Features = Lanes<kFeatures>;
    using Past = Learned<kFeatures>;

    Front(Past &learned, const Layout &layout, size_t count, uint32_t bound, bool masked)
        : learned_(learned), rows_(layout.rows), channels_(layout.channels),
          width_(layout.width), kernel_(uint64_t{layout.height} * layout.width),
          masked_(masked) {
        const uint64_t columns = channels_ * kernel_;
        column_sum_.resize(channels_);
        place_sum_.resize(columns);
        magnitude_.resize(columns);
        position_sum_.resize(kernel_);
        if (masked_) {
            column_count_.resize(channels_);
            place_count_.resize(columns);
            position_count_.resize(kernel_);
        }
        log_row_.resize(columns + 16, kZeroLog);
        log_above_.resize(columns + 16, kZeroLog);
        log_above2_.resize(columns + 16, kZeroLog);
        z_row_.resize(columns + 16);
        z_above_.resize(columns + 16);
        z_column_sum_.resize(columns);
        z_row_sum_.resize(kernel_);
        const unsigned digits = static_cast<unsigned>(std::bit_width(count));
        prior_ = std::max<uint64_t>((uint64_t{bound + 1} << (kUnit + 6)) / (44 * digits + 64), 1);
        for (auto &fit : learned_.mean)
            while (fit.samples > 150) fit.halve();
    }

    void start_row(uint64_t r) {
        r_ = r;
        row_sum_ = row_count_ = 0;
        std::fill(z_row_sum_.begin(), z_row_sum_.end(), 0);
        std::fill(z_row_.begin(), z_row_.end(), int16_t{0});
        log_rows_ = log2_q8(r + 2);
        log_column_ = log2_q8(r * kernel_ + 8);
        share_row_ = 65536 / static_cast<int64_t>(std::min<uint64_t>(r, 65533) + 2);
    }

    void start_kernel(uint64_t c) {
        c_ = c;
        kernel_sum_ = kernel_rest_ = 0;
        log_mean_ = log2_q8((sum_ << kUnit) + 8 * prior_) - log2_q8(count_ + 8);
        mean_ = std::max<uint64_t>(exp2_q8(log_mean_), 1);
        log_positions_ = log2_q8(r_ * channels_ + c + 16);
        share_channel_ = 65536 / static_cast<int64_t>(std::min<uint64_t>(c, 65533) + 2);
        const int log_column = masked_ ? log2_q8(column_count_[c] + 8) : log_column_;
        row_column_ = pack(ratio(row_sum_, 8, log2_q8(row_count_ + 8)),
                           ratio(column_sum_[c], 8, log_column), 0, 0);
        older_ = pack(0, 0, profile(learned_.older_columns, channels_, c),
                      profile(learned_.rows, channels_, c));
        if constexpr (kSmall)
            put(features_, 8, pack(profile(learned_.older_rows, rows_, r_),
                                   profile(learned_.columns, rows_, r_), 0, 0), 0);
        before_[0] = before_[1] = 0;
    }

    /// Expectations for the value at kernel position p.
    void expect(uint64_t p) {
        p_ = p;
        x_ = c_ * kernel_ + p;
        place_ = kernel_ == 1 ? 16 : static_cast<int>(std::min<uint64_t>(p, 15));
        const bool has_left = p % width_ > 0, has_up = p >= width_;
        log_left = has_left ? log_row_[x_ - 1] : kZeroLog;
        log_up = has_up ? log_row_[x_ - width_] : kZeroLog;
        uint64_t near = 0;
        if (has_left) near += magnitude_[x_ - 1];
        if (has_up) near += magnitude_[x_ - width_];
        const int log_here = log2_q8(p + 2);
        // Without a mask every place above has been seen.
        const int log_place = masked_ ? log2_q8(place_count_[x_] + 2) : log_rows_;
        const int log_position = masked_ ? log2_q8(position_count_[p] + 16) : log_positions_;
        const uint64_t place = pack(0, 0, ratio(place_sum_[x_], 2, log_place),
                                    ratio(position_sum_[p], 16, log_position));
        const uint64_t kernel = pack(ratio(kernel_sum_, 2, log_here),
                                     ratio(near, 1, kLogCount[has_left + has_up]), 0, 0);
        put(features_, 0, row_column_ | place, kernel | older_);
        log_scale = clamp(log_mean_ + (dot(learned_.scale[place_], features_) >> 14), 0, 30 * 256);
        scale = static_cast<int64_t>(exp2_q8(log_scale));
        gather(p);
        z = clamp(dot(learned_.mean[place_].weights, inputs_) >> 14, -1023, 1023);
        if constexpr (kSmall) {
            centre = z * std::max<int64_t>(scale, 64) >> 8;
            const auto distance = static_cast<uint64_t>(z < 0 ? -z : z);
            const int size = z ? clamp(log2_q8(distance) - 6 * 256, -512, 1024) : -512;
            put(extended_, 0, row_column_ | place, kernel | older_);
            put(extended_, 8,
                pack(features_[8], features_[9], ratio(kernel_rest_, 2, log_here), size),
                pack(256, 0, 0, 0));
            const int over = dot(learned_.residual[place_], extended_) >> 14;
            log_spread = clamp(log_mean_ + over, 8 * 256, 30 * 256);
            spread_ = static_cast<int64_t>(exp2_q8(log_spread));
        }
    }

    /// Takes in the value that was expected.
    void learn(int32_t level) {
        const auto m = static_cast<uint32_t>(std::min(level < 0 ? -level : level, 65535));
        const int64_t fixed = int64_t{m} << kUnit;
        nudge(learned_.scale[place_], features_, error(fixed, scale, log_scale));
        if constexpr (kSmall) {
            const int64_t off = (level < 0 ? -fixed : fixed) - centre;
            const int64_t rest = std::min<int64_t>(off < 0 ? -off : off, int64_t{1} << 28);
            nudge(learned_.residual[place_], extended_, error(rest, spread_, log_spread));
            kernel_rest_ += static_cast<uint64_t>(rest) >> kUnit;
        }
        const auto inverse =
            static_cast<int64_t>(exp2_q8(36 * 256 - std::max(log_scale, 10 * 256)));
        const auto unit = static_cast<int16_t>(clamp64((level * inverse) >> 16, -1023, 1023));
        LeastSquares &fit = learned_.mean[place_];
        if (kSmall || ((r_ ^ c_) & 7) == 0 || fit.samples < 400) fit.learn(inputs_, unit);
        z_row_[x_] = unit;
        if (p_ < 8) before_[p_ >> 2] |= pack(unit, 0, 0, 0) << (16 * (p_ & 3));
        z_row_sum_[p_] += unit;
        z_column_sum_[x_] += unit;
        log_row_[x_] = static_cast<int16_t>(m ? log2_q8(m) + kOne : kZeroLog);
        magnitude_[x_] = m;
        kernel_sum_ += m;
        row_sum_ += m;
        ++row_count_;
        column_sum_[c_] += m;
        place_sum_[x_] += m;
        position_sum_[p_] += m;
        sum_ += m;
        ++count_;
        if (masked_) {
            ++column_count_[c_];
            ++place_count_[x_];
            ++position_count_[p_];
        }
    }

    /// Instead of expect() and learn(), where nothing is stored: no news, rather than a zero.
    void skip(uint64_t p) {
        const uint64_t x = c_ * kernel_ + p;
        log_row_[x] = kZeroLog;
        magnitude_[x] = 0;
    }

    void end_row() {
        std::swap(log_above_, log_above2_);
        std::swap(log_above_, log_row_);
        std::swap(z_above_, z_row_);
        row_profile_.push_back(part(row_sum_, row_count_));
    }

    /// Keeps the profiles for later arrays.
    void end_array() {
        learned_.older_columns = std::move(learned_.columns);
        learned_.older_rows = std::move(learned_.rows);
        learned_.rows = std::move(row_profile_);
        learned_.columns.clear();
        for (uint64_t c = 0; c < channels_; ++c)
            learned_.columns.push_back(
                part(column_sum_[c], masked_ ? column_count_[c] : rows_ * kernel_));
    }

    // Expectations for the value at hand; logarithms are of magnitudes in 1/4096.
    int log_scale = 0, log_spread = 0;      // of the magnitude, of the distance from the centre
    int64_t scale = 0, centre = 0;          // in 1/4096
    int z = 0;                              // expected value over scale, in 1/256
    int log_left = 0, log_up = 0;

    uint64_t row() const { return r_; }
    uint64_t channel() const { return c_; }
    int position() const { return static_cast<int>(std::min<uint64_t>(p_, 31)); }
    int log_above() const { return log_above_[x_]; }
    int log_above2() const { return log_above2_[x_]; }
    int log_before(uint64_t channels) const {
        return c_ >= channels ? log_row_[x_ - channels * kernel_] : kZeroLog;
    }
    int log_above(int64_t step) const {  // the row above, `step` channels on
        const int64_t x = static_cast<int64_t>(x_) + step * static_cast<int64_t>(kernel_);
        return x >= 0 && x < static_cast<int64_t>(log_above_.size()) ? log_above_[x] : kZeroLog;
    }
    int row_mean_z() const { return inputs_[8]; }
    int column_mean_z() const { return inputs_[9]; }
    int z_left() const { return p_ % width_ > 0 ? z_row_[x_ - 1] : 0; }
    int z_up() const { return p_ >= width_ ? z_row_[x_ - width_] : 0; }

  private:
    /// log2 of (sum + prior * mean) / (count + prior) over the mean.
    int16_t ratio(uint64_t sum, uint64_t prior, int log_count) const {
        return static_cast<int16_t>(
            clamp(log2_q8((sum << kUnit) + prior * mean_) - log_count - log_mean_, -1536, 1536));
    }

    int16_t part(uint64_t sum, uint64_t count) const {
        return static_cast<int16_t>(
            clamp(log2_q8((sum << kUnit) + 4096) - log2_q8(count + 1) - log_mean_, -1024, 1024));
    }

    static int16_t profile(const std::vector<int16_t> &past, uint64_t size, uint64_t i) {
        return past.size() == size ? past[i] : 0;
    }

    /// (actual - expected) / (1 + expected) in 1/16384.
    static int16_t error(int64_t actual, int64_t expected, int log_expected) {
        const int64_t share = tables().inverse[log_expected >> 4];
        return static_cast<int16_t>(clamp64(((actual - expected) * share) >> 16, -32768, 32767));
    }

    void gather(uint64_t p) {
        auto at = [&](int64_t dy, int64_t dx) -> int16_t {
            const int64_t y = static_cast<int64_t>(p / width_) + dy;
            const int64_t x = static_cast<int64_t>(p % width_) + dx;
            if (y < 0 || x < 0 || x >= static_cast<int64_t>(width_)) return 0;
            return z_row_[c_ * kernel_ + y * width_ + x];
        };
        if (kernel_ == 1) {
            put(inputs_, 0,
                pack(c_ >= 1 ? z_row_[x_ - 1] : 0, c_ >= 2 ? z_row_[x_ - 2] : 0, z_above_[x_],
                     c_ >= 1 ? z_above_[x_ - 1] : 0),
                0);
        } else if (kernel_ <= 9) {
            put(inputs_, 0, before_[0], before_[1]);
        } else {
            put(inputs_, 0, pack(at(0, -1), at(0, -2), at(-1, 0), at(-1, -1)),
                pack(at(-1, 1), at(-2, 0), at(-1, 2), at(-1, -2)));
        }
        const int64_t row_mean = (z_row_sum_[p] * share_channel_) >> 16;
        const int64_t column_mean = (z_column_sum_[x_] * share_row_) >> 16;
        put(inputs_, 8,
            pack(static_cast<int>(clamp64(row_mean, -1023, 1023)),
                 static_cast<int>(clamp64(column_mean, -1023, 1023)), 64, 0),
            0);
    }

    Past &learned_;
    const uint64_t rows_, channels_, width_, kernel_;
    const bool masked_;
    static constexpr int kLogCount[3] = {0, 256, 406};  // of 1, 2, 3

    uint64_t prior_ = 1, mean_ = 1;
    uint64_t row_column_ = 0, older_ = 0, before_[2] = {};
    uint64_t r_ = 0, c_ = 0, p_ = 0, x_ = 0;
    int place_ = 0;
    int log_mean_ = 0, log_rows_ = 0, log_column_ = 0, log_positions_ = 0;
    int64_t share_row_ = 0, share_channel_ = 0, spread_ = 0;
    uint64_t sum_ = 0, count_ = 0, row_sum_ = 0, row_count_ = 0;
    uint64_t kernel_sum_ = 0, kernel_rest_ = 0;
    Features features_{}, extended_{};
    LeastSquares::Inputs inputs_{};
    std::vector<uint64_t> column_sum_, place_sum_, position_sum_;
    std::vector<uint32_t> column_count_, place_count_, position_count_;  // only under a mask
    std::vector<uint16_t> magnitude_;
    std::vector<int16_t> log_row_, log_above_, log_above2_, z_row_, z_above_, row_profile_;
    std::vector<int64_t> z_column_sum_, z_row_sum_;
};

}  // namespace reticule::context
