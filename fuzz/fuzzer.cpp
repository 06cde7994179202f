// libFuzzer's entry: odd inputs are decoded, even ones make a round trip.

#include "decoders.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    if (data[0] & 1)
        decode_anything(data + 1, size - 1);
    else
        round_trip(data + 1, size - 1);
    return 0;
}
