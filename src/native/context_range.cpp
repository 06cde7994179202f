#include "context_range.hpp"

namespace reticule::context {

void RangeDecoder::finish() const {
    const uint64_t low = window_ - offset_;
    for (unsigned kept = 0; kept <= 8; ++kept) {
        const uint64_t mask = kept == 8 ? 0 : ~uint64_t{0} >> (8 * kept);
        const uint64_t rounded = (low + mask) & ~mask;
        if (rounded - low >= range_) continue;
        const bool exact = rounded == window_ && next_ >= payload_.size() &&
                           (payload_.empty() || payload_.back() != 0);
        if (!exact) throw std::invalid_argument("the payload is damaged");
        return;
    }
}

}  // namespace reticule::context
