// Binary range coder of the context coder: 64-bit interval, 16-bit probabilities.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace reticule::context {

class RangeEncoder {
  public:
    static constexpr bool kDecodes = false;

    // Codes one bit whose probability of being 1 is p / 65536, 1 <= p <= 65535.
    bool code(bool bit, uint32_t p) {
        const uint64_t bound = (range_ >> 16) * p;
        if (bit) {
            range_ = bound;
        } else {
            add(bound);
            range_ -= bound;
        }
        renormalise();
        return bit;
    }

    // Codes `width` <= 16 bits without a model.
    uint32_t bits(uint32_t value, unsigned width) {
        range_ >>= width;
        add(range_ * value);
        renormalise();
        return value;
    }

    // Size of the payload so far, rounded up to bytes.
    size_t size() const {
        return out_.size() + (static_cast<size_t>(std::countl_zero(range_)) + 7) / 8;
    }

    uint64_t bit_count() const {
        return 8 * out_.size() + static_cast<uint64_t>(std::countl_zero(range_));
    }

    std::vector<uint8_t> finish() {
        // The value in the interval with the most zero bytes at its end; zeros behind the
        // payload are implied, so they need not be stored.
        for (unsigned kept = 0; kept <= 8; ++kept) {
            const uint64_t mask = kept == 8 ? 0 : ~uint64_t{0} >> (8 * kept);
            const uint64_t rounded = (low_ + mask) & ~mask;
            if (rounded - low_ >= range_) continue;
            if (rounded < low_) carry();
            low_ = rounded;
            break;
        }
        for (int shift = 56; shift >= 0; shift -= 8)
            out_.push_back(static_cast<uint8_t>(low_ >> shift));
        while (!out_.empty() && out_.back() == 0) out_.pop_back();
        low_ = 0;
        range_ = ~uint64_t{0};
        return std::move(out_);
    }

  private:
    void add(uint64_t amount) {
        low_ += amount;
        if (low_ < amount) carry();
    }

    void carry() {
        for (size_t i = out_.size(); i-- > 0 && ++out_[i] == 0;) {}
    }

    void renormalise() {
        if (range_ >> 32) return;
        for (int shift = 56; shift >= 32; shift -= 8)
            out_.push_back(static_cast<uint8_t>(low_ >> shift));
        low_ <<= 32;
        range_ <<= 32;
    }

    std::vector<uint8_t> out_;
    uint64_t low_ = 0;
    uint64_t range_ = ~uint64_t{0};
};

class RangeDecoder {
  public:
    static constexpr bool kDecodes = true;

    explicit RangeDecoder(std::span<const uint8_t> payload) : payload_(payload) {
        for (int i = 0; i < 2; ++i) pull();
    }

    bool code(bool, uint32_t p) {
        const uint64_t bound = (range_ >> 16) * p;
        const bool bit = offset_ < bound;
        if (bit) {
            range_ = bound;
        } else {
            offset_ -= bound;
            range_ -= bound;
        }
        renormalise();
        return bit;
    }

    uint32_t bits(uint32_t, unsigned width) {
        range_ >>= width;
        uint64_t value = offset_ / range_;
        if (value >> width) value = (uint64_t{1} << width) - 1;  // only in damaged payloads
        offset_ -= value * range_;
        renormalise();
        return static_cast<uint32_t>(value);
    }

    // The encoder's size() at the same place.
    size_t size() const {
        return next_ - 8 + (static_cast<size_t>(std::countl_zero(range_)) + 7) / 8;
    }

    // Throws unless the payload is exactly what the encoder would have written.
    void finish() const;

  private:
    void pull() {
        for (int i = 0; i < 4; ++i, ++next_) {
            const uint8_t byte = next_ < payload_.size() ? payload_[next_] : 0;
            offset_ = offset_ << 8 | byte;
            window_ = window_ << 8 | byte;
        }
    }

    void renormalise() {
        if (range_ >> 32) return;
        range_ <<= 32;
        pull();
    }

    std::span<const uint8_t> payload_;
    size_t next_ = 0;
    uint64_t offset_ = 0;  // of the payload above the interval's lower end
    uint64_t window_ = 0;  // the last eight bytes read
    uint64_t range_ = ~uint64_t{0};
};

}  // namespace reticule::context
