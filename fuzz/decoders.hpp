// The native decoders behind one door: any bytes in, a digest of what they decode to out.

#pragma once

#include <cstddef>
#include <cstdint>

// The first byte chooses the decoder, a few more its arguments, the rest is its payload.  Bytes
// that are refused give a digest too.  Nothing else may happen: no crash, no sanitizer report,
// and no more work than the declared sizes call for.
uint64_t decode_anything(const uint8_t *data, size_t size);

// The bytes as numbers: what is encoded must decode to itself.  Aborts if it does not.
void round_trip(const uint8_t *data, size_t size);
