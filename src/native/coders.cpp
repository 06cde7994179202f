#include "coders.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace reticule {

namespace {

[[noreturn]] void fail(const char *message) { throw std::invalid_argument(message); }

void require(bool condition, const char *message) {
    if (!condition) fail(message);
}

// Compilers make one instruction of each of these.
template <typename Word>
Word load_little(const uint8_t *from) {
    Word word = 0;
    for (unsigned i = 0; i < sizeof(Word); ++i) word |= static_cast<Word>(from[i]) << (8 * i);
    return word;
}

uint64_t load_big(const uint8_t *from) {
    uint64_t word = 0;
    for (unsigned i = 0; i < 8; ++i) word |= static_cast<uint64_t>(from[i]) << (56 - 8 * i);
    return word;
}

// Bytes into bits; reads zeros behind the end, and remembers how many bits were real.
class BitSource {
  public:
    explicit BitSource(Bytes payload) : payload_(payload) {}

    uint32_t take(unsigned length) {  // length <= 32
        while (held_ <= 56 && next_ < payload_.size()) {
            bits_ |= static_cast<uint64_t>(payload_[next_++]) << (56 - held_);
            held_ += 8;
        }
        require(length <= held_, "the bits end too early");
        if (length == 0) return 0;
        const auto value = static_cast<uint32_t>(bits_ >> (64 - length));
        bits_ <<= length;
        held_ -= length;
        return value;
    }

    uint32_t golomb(unsigned order) {
        unsigned zeros = 0;
        while (take(1) == 0) require(++zeros <= 20, "a number is too large");
        return ((1u << (zeros + order)) | take(zeros + order)) - (1u << order);
    }

    // Ends the field of bits; returns how many bytes it took.
    size_t finish() {
        require(take(held_ % 8) == 0, "the last bits are not zero");
        return next_ - held_ / 8;
    }

  private:
    Bytes payload_;
    size_t next_ = 0;
    uint64_t bits_ = 0;
    unsigned held_ = 0;
};

}  // namespace

// Fixed width -----------------------------------------------------------------------------

template <typename Symbol>
void pack_bits(std::span<const Symbol> symbols, unsigned width, std::span<uint8_t> out) {
    require(width >= 1 && width <= 8 * sizeof(Symbol), "the width does not fit the symbols");
    require(out.size() == (symbols.size() * width + 7) / 8, "the output has another size");
    uint64_t bits = 0;
    unsigned held = 0;
    size_t used = 0;
    for (const Symbol symbol : symbols) {
        require((unsigned{symbol} >> width) == 0, "a symbol does not fit the width");
        bits = (bits << width) | symbol;
        for (held += width; held >= 8;) {
            held -= 8;
            out[used++] = static_cast<uint8_t>(bits >> held);
        }
    }
    if (held > 0) out[used] = static_cast<uint8_t>(bits << (8 - held));
}

template <typename Symbol>
void unpack_bits(Bytes payload, unsigned width, std::span<Symbol> out) {
    require(width >= 1 && width <= 8 * sizeof(Symbol), "the width does not fit the symbols");
    if (sizeof(Symbol) == 1 && width == 8) {
        require(payload.size() == out.size(), "the stream has another size");
        std::copy(payload.begin(), payload.end(), out.begin());
        return;
    }
    const uint64_t mask = (uint64_t{1} << width) - 1;
    // Eight symbols fill `width` bytes, four of them at most 64 bits from the byte that the
    // first begins in.
    size_t done = 0, at = 0;
    const size_t half = width / 2, skew = 4 * (width % 2);
    for (; out.size() - done >= 8 && payload.size() - at >= half + 8; done += 8, at += width) {
        const uint64_t words[] = {load_big(&payload[at]), load_big(&payload[at + half]) << skew};
        for (unsigned i = 0; i < 8; ++i)
            out[done + i] = static_cast<Symbol>(words[i / 4] >> (64 - (i % 4 + 1) * width) & mask);
    }
    BitSource rest(payload.subspan(at));
    for (; done < out.size(); ++done) out[done] = static_cast<Symbol>(rest.take(width));
    require(at + rest.finish() == payload.size(), "the stream has bytes left over");
}

// Frequencies -----------------------------------------------------------------------------

void share_slots(std::span<const uint64_t> weights, unsigned scale_bits,
                 std::span<uint32_t> frequencies) {
    require(weights.size() == frequencies.size(), "weights and frequencies differ in number");
    require(scale_bits <= kMaxScaleBits, "the scale is out of range");
    const uint64_t scale = uint64_t{1} << scale_bits, count = weights.size();
    require(count >= 2 && count <= scale, "the scale is too small");
    uint64_t total = 0;
    for (const uint64_t weight : weights) {
        require(weight < uint64_t{1} << 32, "a weight is out of range");
        total += weight;
    }
    require(total > 0, "there are no weights");
    uint64_t sum = 0, before = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
        sum += weights[i];
        const uint64_t share = sum * (scale - count) / total;
        frequencies[i] = static_cast<uint32_t>(1 + share - before);
        before = share;
    }
}

namespace {

// The symbols that occur, in rising order; at least two.
std::vector<uint32_t> read_used(BitSource &bits, uint32_t alphabet) {
    const bool whole = bits.take(1);
    uint32_t first = 0, last = alphabet - 1;
    if (!whole) {
        unsigned width = 1;
        while ((alphabet - 1) >> width) ++width;
        first = bits.take(width), last = bits.take(width);
        require(first < last && last < alphabet, "first and last symbol do not fit");
    }
    std::vector<uint32_t> used{first};
    if (whole || bits.take(1)) {
        used.resize(last - first + 1);
        std::iota(used.begin(), used.end(), first);
        return used;
    }
    const unsigned order = bits.take(3);
    while (used.back() < last) used.push_back(used.back() + 1 + bits.golomb(order));
    require(used.back() == last, "a symbol is behind the last");
    return used;
}

}  // namespace

TableRead read_frequencies(Bytes data, std::span<uint32_t> frequencies) {
    const size_t alphabet = frequencies.size();
    require(alphabet >= 2 && alphabet <= 65536, "the alphabet is out of range");
    BitSource bits(data);
    const unsigned scale_bits = bits.take(4), precision = bits.take(3);
    require(scale_bits >= 1 && scale_bits <= kMaxScaleBits, "the scale is out of range");
    const std::vector<uint32_t> used = read_used(bits, static_cast<uint32_t>(alphabet));

    std::vector<uint64_t> weights;
    const unsigned order = precision > 0 ? precision - 1 : 0;
    int32_t level = static_cast<int32_t>((scale_bits - 1) << precision);
    for (size_t i = 0; i < used.size(); ++i) {
        const auto code = static_cast<int32_t>(bits.golomb(order));
        level += code & 1 ? -((code + 1) >> 1) : code >> 1;
        require(level >= 0 && level < 16 << precision, "a level is out of range");
        const uint32_t fraction = static_cast<uint32_t>(level) & ((1u << precision) - 1);
        weights.push_back(uint64_t{(1u << precision) | fraction} << (level >> precision));
    }
    std::vector<uint32_t> shares(used.size());
    share_slots(weights, scale_bits, shares);
    require(alphabet > kByteAlphabet ||
                *std::max_element(shares.begin(), shares.end()) <= kMaxFrequencyOfBytes,
            "a frequency is out of range");
    std::fill(frequencies.begin(), frequencies.end(), 0u);
    for (size_t i = 0; i < used.size(); ++i) frequencies[used[i]] = shares[i];
    return {scale_bits, bits.finish()};
}

// rANS ------------------------------------------------------------------------------------
//
// Coding a symbol of frequency f whose slots begin at c turns a state x into
// (x / f) * M + c + x % f, M = 2^scale_bits.  States have 64 bits and are moved out
// 32 bits at a time, but only before every second symbol of a lane: two symbols need
// at most 28 bits.  Coding the pair f, g keeps x below 2^64 if and only if it is below
// f * g * 2^(64 - 2 * scale_bits); if it is not, its low word goes out first.  So after a pair
// x is at least kLow = 2^32 as soon as one word has gone out, and the decoder knows when to
// read: before a pair, if x is below kLow.
//
// Lanes take turns, symbol by symbol, and share the words.  They begin at a small state, which
// is what makes short streams short.  So a lane may be below kLow although it has moved nothing
// out; its decoder would read then, unless no word is left.  A single lane can thus begin at
// M.  With several, another lane may have words left; then all have to begin higher.  From
// kLow on it cannot happen.

namespace {

constexpr unsigned kLowBits = 32;
constexpr uint64_t kLow = uint64_t{1} << kLowBits;
constexpr unsigned kPair = 2;  // symbols of a lane between two reads

template <typename Symbol>
void check_frequencies(std::span<const uint32_t> frequencies, unsigned scale_bits) {
    constexpr bool kNarrow = sizeof(Symbol) == 1;
    require(scale_bits >= 1 && scale_bits <= kMaxScaleBits, "the scale is out of range");
    require(!frequencies.empty() && frequencies.size() <= (kNarrow ? kByteAlphabet : 65536),
            "the alphabet is out of range");
    const uint64_t total = std::accumulate(frequencies.begin(), frequencies.end(), uint64_t{0});
    const uint32_t most = *std::max_element(frequencies.begin(), frequencies.end());
    require(total == uint64_t{1} << scale_bits && most < total, "frequencies do not add up");
    require(!kNarrow || most <= kMaxFrequencyOfBytes, "a frequency is out of range");
}

// What a decoder must know about a slot, in one word: frequency, offset, symbol.
template <typename Symbol>
struct Slot {
    using Word = std::conditional_t<sizeof(Symbol) == 1, uint32_t, uint64_t>;
    static constexpr unsigned kSymbolBits = 8 * sizeof(Symbol);
    static constexpr unsigned kFieldBits = sizeof(Symbol) == 1 ? 12 : 16;
    static constexpr Word kFieldMask = (Word{1} << kFieldBits) - 1;

    static std::vector<Word> table(std::span<const uint32_t> frequencies, unsigned scale_bits) {
        std::vector<Word> slots(size_t{1} << scale_bits);
        size_t at = 0;
        for (size_t s = 0; s < frequencies.size(); ++s) {
            const Word frequency = frequencies[s];
            const Word fixed = frequency << (kSymbolBits + kFieldBits) | static_cast<Word>(s);
            for (Word offset = 0; offset < frequency; ++offset)
                slots[at++] = fixed | offset << kSymbolBits;
        }
        return slots;
    }
};

// How many bytes of a payload are states: eight for each lane, but the first goes without its
// leading zeros.  Words of four bytes make up the rest; where there are any, a state has at
// least five.
template <unsigned kLanes>
size_t state_bytes(size_t size) {
    constexpr size_t kOthers = 8 * (kLanes - 1);
    require(size >= kOthers, "the stream is too short for its states");
    const size_t rest = size - kOthers;
    return kOthers + (rest <= 8 ? rest : 5 + (rest - 5) % 4);
}

// Writes to the end of a buffer.
class BackSink {
  public:
    explicit BackSink(std::span<uint8_t> out) : out_(out), at_(out.size()) {}

    void put(uint64_t value, unsigned bytes) {
        require(at_ >= bytes, "the output buffer is too small");
        at_ -= bytes;
        for (unsigned i = 0; i < bytes; ++i) out_[at_ + i] = static_cast<uint8_t>(value >> 8 * i);
    }

    size_t used() const { return out_.size() - at_; }

  private:
    std::span<uint8_t> out_;
    size_t at_;
};

// Nothing if a decoder would read where this has not written, so that lanes must begin higher.
template <unsigned kLanes, typename Symbol>
std::optional<size_t> encode_lanes(std::span<const Symbol> symbols,
                                   std::span<const uint32_t> frequencies,
                                   std::span<const uint32_t> starts, unsigned scale_bits,
                                   uint64_t begin, std::span<uint8_t> out) {
    BackSink sink(out);
    std::array<uint64_t, kLanes> states;
    states.fill(begin);
    constexpr size_t kGroup = kPair * kLanes;
    for (size_t group = (symbols.size() + kGroup - 1) / kGroup; group-- > 0;) {
        const size_t first = group * kGroup, end = std::min(first + kGroup, symbols.size());
        for (size_t lane = kLanes; lane-- > 0;) {
            uint64_t product = 1;
            unsigned bits = 0;
            for (size_t i = first + lane; i < end; i += kLanes, bits += scale_bits)
                product *= frequencies[symbols[i]];
            if (bits > 0 && states[lane] >> (64 - bits) >= product) {
                sink.put(states[lane] & (kLow - 1), 4);
                states[lane] >>= 32;
            } else if (states[lane] < kLow && sink.used() > 0) {
                return std::nullopt;
            }
        }
        for (size_t i = end; i-- > first;) {
            uint64_t &x = states[(i - first) % kLanes];
            const uint32_t f = frequencies[symbols[i]];
            x = ((x / f) << scale_bits) + starts[symbols[i]] + x % f;
        }
    }
    const uint64_t least = *std::min_element(states.begin(), states.end());
    if (least < kLow && sink.used() > 0) return std::nullopt;
    for (size_t lane = kLanes; lane-- > 1;) sink.put(states[lane], 8);
    sink.put(states[0], static_cast<unsigned>(std::bit_width(states[0]) + 7) / 8);
    return sink.used();
}

template <unsigned kLanes, typename Symbol>
size_t encode_shortest(std::span<const Symbol> symbols, std::span<const uint32_t> frequencies,
                       unsigned scale_bits, std::span<uint8_t> out) {
    for (const Symbol symbol : symbols)
        require(symbol < frequencies.size() && frequencies[symbol] > 0, "a symbol has no slot");
    std::vector<uint32_t> starts(frequencies.size());
    std::exclusive_scan(frequencies.begin(), frequencies.end(), starts.begin(), 0u);
    for (unsigned bits = scale_bits; bits <= kLowBits; ++bits)
        if (const auto used = encode_lanes<kLanes>(symbols, frequencies, starts, scale_bits,
                                                   uint64_t{1} << bits, out))
            return *used;
    fail("lanes have no common beginning");
}

template <unsigned kLanes, typename Symbol>
void decode_lanes(Bytes payload, std::span<const uint32_t> frequencies, unsigned scale_bits,
                  std::span<Symbol> out) {
    using Of = Slot<Symbol>;
    const auto table = Of::table(frequencies, scale_bits);
    const auto *slots = table.data();
    const uint64_t mask = (uint64_t{1} << scale_bits) - 1;
    const uint8_t *next = payload.data();
    const uint8_t *const end = next + payload.size();
    const size_t others = 8 * (kLanes - 1), head = state_bytes<kLanes>(payload.size());
    std::array<uint64_t, kLanes> states{};
    for (size_t i = 0; i < head - others; ++i) states[0] |= uint64_t{*next++} << (8 * i);
    for (size_t lane = 1; lane < kLanes; ++lane, next += 8)
        states[lane] = load_little<uint64_t>(next);

    // x stays below 2^64: a frequency is below 2^scale_bits, an offset below its frequency.
    const auto decoded = [&](uint64_t &x) {
        const auto slot = slots[x & mask];
        x = (slot >> (Of::kSymbolBits + Of::kFieldBits)) * (x >> scale_bits) +
            (slot >> Of::kSymbolBits & Of::kFieldMask);
        return static_cast<Symbol>(slot);
    };

    // While every lane could read a word, none needs to ask whether there is one.
    size_t done = 0;
    constexpr size_t kGroup = kPair * kLanes;
    while (out.size() - done >= kGroup && static_cast<size_t>(end - next) >= 4 * kLanes) {
        for (uint64_t &x : states) {
            const uint64_t refilled = x << 32 | load_little<uint32_t>(next);
            const bool low = x < kLow;
            x = low ? refilled : x;
            next += low ? 4 : 0;
        }
        for (unsigned turn = 0; turn < kPair; ++turn)
            for (uint64_t &x : states) out[done++] = decoded(x);
    }
    while (done < out.size()) {
        for (uint64_t &x : states) {
            if (x >= kLow || next == end) continue;
            x = x << 32 | load_little<uint32_t>(next);
            next += 4;
        }
        for (size_t i = 0; i < kGroup && done < out.size(); ++i)
            out[done++] = decoded(states[i % kLanes]);
    }
    require(next == end, "the stream has bytes left over");
    const bool alike = std::all_of(states.begin(), states.end(),
                                   [&](uint64_t x) { return x == states[0]; });
    require(alike && std::has_single_bit(states[0]) && states[0] > mask && states[0] <= kLow,
            "the stream does not end where lanes begin");
}

}  // namespace

template <typename Symbol>
size_t rans_encode(std::span<const Symbol> symbols, std::span<const uint32_t> frequencies,
                   unsigned scale_bits, unsigned lanes, std::span<uint8_t> out) {
    check_frequencies<Symbol>(frequencies, scale_bits);
    require(lanes == 1 || lanes == 4, "there are 1 or 4 lanes");
    return lanes == 1 ? encode_shortest<1>(symbols, frequencies, scale_bits, out)
                      : encode_shortest<4>(symbols, frequencies, scale_bits, out);
}

template <typename Symbol>
void rans_decode(Bytes payload, std::span<const uint32_t> frequencies, unsigned scale_bits,
                 unsigned lanes, std::span<Symbol> out) {
    check_frequencies<Symbol>(frequencies, scale_bits);
    require(lanes == 1 || lanes == 4, "there are 1 or 4 lanes");
    if (lanes == 1)
        decode_lanes<1>(payload, frequencies, scale_bits, out);
    else
        decode_lanes<4>(payload, frequencies, scale_bits, out);
}

// Positions -------------------------------------------------------------------------------

template <typename Symbol, typename Column>
void gaps_to_rows(std::span<const Symbol> symbols, const Scan &scan, std::span<uint32_t> indptr,
                  std::span<Column> columns) {
    constexpr uint64_t kMost = uint64_t{1} << 32;
    require(scan.rows < kMost && scan.cols < kMost, "the matrix is too large");
    require(indptr.size() == scan.rows + 1, "row pointers do not fit the matrix");
    require(scan.cols <= uint64_t{1} << (8 * sizeof(Column)), "columns do not fit their type");
    require(columns.size() < kMost, "there are too many entries");
    const uint64_t size = scan.rows * scan.cols;

    // Calls entry(row, column) for each stored position, in scan order; counts them.
    const auto walk = [&](auto entry) {
        uint64_t position = 0;
        size_t found = 0;
        for (const Symbol symbol : symbols) {
            require(symbol <= scan.step, "a gap is out of range");
            position += symbol;
            if (symbol == scan.step) continue;
            require(position < size, "a position is outside of the tensor");
            require(found++ < columns.size(), "there are more positions than values");
            if (scan.by_columns)
                entry(position % scan.rows, position / scan.rows);
            else
                entry(position / scan.cols, position % scan.cols);
            ++position;
        }
        require(found == columns.size(), "there are fewer positions than values");
        require(symbols.empty() || symbols.back() != scan.step, "an escape comes last");
    };

    std::fill(indptr.begin(), indptr.end(), 0u);
    walk([&](uint64_t row, uint64_t) { ++indptr[row + 1]; });
    std::inclusive_scan(indptr.begin(), indptr.end(), indptr.begin());
    std::vector<uint32_t> next(indptr.begin(), indptr.end() - 1);
    walk([&](uint64_t row, uint64_t column) {
        columns[next[row]++] = static_cast<Column>(column);
    });
}

template <typename Symbol>
void unzigzag(std::span<const Symbol> symbols, std::span<int32_t> out) {
    require(symbols.size() == out.size(), "symbols and integers differ in number");
    for (size_t i = 0; i < symbols.size(); ++i) {
        const auto half = static_cast<int32_t>(symbols[i] >> 1);
        out[i] = half ^ -static_cast<int32_t>(symbols[i] & 1);
    }
}

#define RETICULE_FOR_SYMBOL(Symbol)                                                              \
    template void pack_bits(std::span<const Symbol>, unsigned, std::span<uint8_t>);              \
    template void unpack_bits(Bytes, unsigned, std::span<Symbol>);                               \
    template size_t rans_encode(std::span<const Symbol>, std::span<const uint32_t>, unsigned,    \
                                unsigned, std::span<uint8_t>);                                   \
    template void rans_decode(Bytes, std::span<const uint32_t>, unsigned, unsigned,              \
                              std::span<Symbol>);                                                \
    template void gaps_to_rows(std::span<const Symbol>, const Scan &, std::span<uint32_t>,       \
                               std::span<uint16_t>);                                             \
    template void gaps_to_rows(std::span<const Symbol>, const Scan &, std::span<uint32_t>,       \
                               std::span<uint32_t>);                                             \
    template void unzigzag(std::span<const Symbol>, std::span<int32_t>);
RETICULE_FOR_SYMBOL(uint8_t)
RETICULE_FOR_SYMBOL(uint16_t)
#undef RETICULE_FOR_SYMBOL

}  // namespace reticule
