// Adaptive context coder for arrays of integers and floats: presets fast and small.
//
// One coder codes many arrays one after the other into one payload; what it has learned from
// one array helps the next.  Integer arithmetic only.  docs/format.md specifies the bits.
// Everything throws std::invalid_argument on arguments or payloads that do not fit.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace reticule {

enum class Preset : uint8_t { Fast, Small };

/// Shape of an array in C order: output channels, input channels, kernel.  A matrix has a 1x1
/// kernel, a vector is one row of n channels.
struct Layout {
    uint32_t rows, channels, height, width;
};

inline constexpr int32_t kLargestValue = 1 << 24;
inline constexpr int kRatedValues = 13;  // -6 .. 6
inline constexpr uint32_t kLabels = 1024;

class ContextEncoder {
  public:
    explicit ContextEncoder(Preset preset);
    ~ContextEncoder();
    ContextEncoder(ContextEncoder &&) noexcept;

    /// Codes |values| <= 2^24.  `mask` is empty or has a byte for each value: where it is 0, the
    /// value is 0 and known to be.  `states` is 0 or the size of the trellis that the values
    /// are a path of, from state 0.  Without `is_signed` values must be >= 0.  `labels` is empty or
    /// has the block of each value, below kLabels, which serves as a context in preset small.
    void integers(std::span<const int32_t> values, std::span<const uint8_t> mask, Layout layout,
                  unsigned states, bool is_signed, std::span<const uint16_t> labels = {});

    /// Codes IEEE bit patterns of 16 or 32 bits without loss.
    void floats(std::span<const uint32_t> patterns, unsigned width, Layout layout,
                std::span<const uint16_t> labels = {});

    /// Does what integers() does, and gives what each of k = -6 .. 6 would have cost at each
    /// position, in 1/256 bit, for both quantisers: out[position][quantiser][k + 6]; where the
    /// mask is 0, nothing is written.  The bound of the magnitudes that the array's head gives is
    /// left out of account.
    void rates(std::span<const int32_t> values, std::span<const uint8_t> mask, Layout layout,
               unsigned states, bool is_signed, std::span<uint16_t> out);

    /// Bytes so far, rounded up.
    size_t size() const;

    /// The payload; the encoder is as new afterwards.
    std::vector<uint8_t> finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

class ContextDecoder {
  public:
    /// Keeps no copy of the payload.
    ContextDecoder(Preset preset, std::span<const uint8_t> payload);
    ~ContextDecoder();
    ContextDecoder(ContextDecoder &&) noexcept;

    void integers(std::span<int32_t> out, std::span<const uint8_t> mask, Layout layout,
                  unsigned states, bool is_signed, std::span<const uint16_t> labels = {});
    void floats(std::span<uint32_t> out, unsigned width, Layout layout,
                std::span<const uint16_t> labels = {});

    /// The encoder's size() at the same place.
    size_t position() const;

    /// Throws unless the payload is exactly what the encoder would have written.
    void finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace reticule
