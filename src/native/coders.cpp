#include "coders.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace reticule {

namespace {

[[noreturn]] void fail(const char *message) { throw std::invalid_argument(message); }

void require(bool condition, const char *message) {
    if (!condition) fail(message);
}

// Bits into bytes, most significant bit first, never behind the end of the buffer.
class BitSink {
  public:
    explicit BitSink(std::span<uint8_t> out) : out_(out) {}

    void put(uint32_t code, unsigned length) {  // length <= 16
        bits_ = (bits_ << length) | code;
        held_ += length;
        while (held_ >= 8) {
            held_ -= 8;
            push(static_cast<uint8_t>(bits_ >> held_));
        }
    }

    size_t finish() {
        if (held_ > 0) push(static_cast<uint8_t>(bits_ << (8 - held_)));
        held_ = 0;
        return used_;
    }

  private:
    void push(uint8_t byte) {
        require(used_ < out_.size(), "the output buffer is too small");
        out_[used_++] = byte;
    }

    std::span<uint8_t> out_;
    size_t used_ = 0;
    uint64_t bits_ = 0;
    unsigned held_ = 0;
};

// Bytes into bits; reads zeros behind the end, and remembers how many bits were real.
class BitSource {
  public:
    explicit BitSource(Bytes payload) : payload_(payload) {}

    uint32_t peek(unsigned length) {  // 1 <= length <= 16
        while (held_ <= 56 && next_ < payload_.size()) {
            bits_ |= static_cast<uint64_t>(payload_[next_++]) << (56 - held_);
            held_ += 8;
        }
        return static_cast<uint32_t>(bits_ >> (64 - length));
    }

    void skip(unsigned length) {
        require(length <= held_, "the stream ends too early");
        bits_ <<= length;
        held_ -= length;
    }

    void finish() const {
        require(next_ == payload_.size() && held_ < 8, "the stream has bytes left over");
        require(bits_ == 0, "the stream's last bits are not zero");
    }

  private:
    Bytes payload_;
    size_t next_ = 0;
    uint64_t bits_ = 0;
    unsigned held_ = 0;
};

}  // namespace

void pack_bits(Symbols symbols, unsigned width, std::span<uint8_t> out) {
    require(width >= 1 && width <= 16, "the width must be 1 to 16 bits");
    BitSink sink(out);
    for (uint16_t symbol : symbols) {
        require((symbol >> width) == 0, "a symbol does not fit the width");
        sink.put(symbol, width);
    }
    require(sink.finish() == out.size(), "the output buffer is too large");
}

void unpack_bits(Bytes payload, unsigned width, std::span<uint16_t> out) {
    require(width >= 1 && width <= 16, "the width must be 1 to 16 bits");
    BitSource source(payload);
    for (uint16_t &symbol : out) {
        symbol = static_cast<uint16_t>(source.peek(width));
        source.skip(width);
    }
    source.finish();
}

// Huffman ---------------------------------------------------------------------------------

namespace {

struct Code {
    std::array<uint32_t, kMaxCodeLength + 1> first{};  // first code of each length
    unsigned longest = 0;
};

// A complete prefix code, or an exception.
Code canonical_code(Bytes lengths) {
    require(lengths.size() <= 65536, "the alphabet is too large");
    std::array<uint32_t, kMaxCodeLength + 1> number{};
    Code code;
    for (uint8_t length : lengths) {
        require(length <= kMaxCodeLength, "a code is too long");
        if (length == 0) continue;
        ++number[length];
        code.longest = std::max<unsigned>(code.longest, length);
    }
    uint32_t next = 0;
    for (unsigned length = 1; length <= kMaxCodeLength; ++length) {
        next = (next + (length > 1 ? number[length - 1] : 0)) << 1;
        code.first[length] = next;
    }
    require(next + number[kMaxCodeLength] == 1u << kMaxCodeLength, "the code is not complete");
    return code;
}

}  // namespace

void huffman_lengths(std::span<const uint64_t> counts, unsigned limit, std::span<uint8_t> out) {
    require(counts.size() == out.size(), "counts and lengths differ in number");
    std::vector<uint32_t> order;
    for (size_t s = 0; s < counts.size(); ++s) {
        out[s] = 0;
        if (counts[s] > 0) order.push_back(static_cast<uint32_t>(s));
    }
    require(order.size() >= 2, "a code needs two symbols");
    require(limit <= kMaxCodeLength && order.size() <= size_t{1} << limit, "too many symbols");
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return counts[a] < counts[b]; });

    // Package-merge: each level merges the symbols with pairs of the level before.
    std::vector<std::vector<uint8_t>> is_symbol(limit);
    std::vector<uint64_t> level, merged;
    for (unsigned depth = 0; depth < limit; ++depth) {
        merged.clear();
        size_t symbol = 0, pair = 0;
        const size_t pairs = level.size() / 2;
        while (symbol < order.size() || pair < pairs) {
            const uint64_t package = pair < pairs ? level[2 * pair] + level[2 * pair + 1] : 0;
            const bool take =
                symbol < order.size() && (pair == pairs || counts[order[symbol]] <= package);
            merged.push_back(take ? counts[order[symbol++]] : package);
            is_symbol[depth].push_back(take);
            pair += !take;
        }
        level.swap(merged);
    }
    size_t wanted = 2 * order.size() - 2;
    for (unsigned depth = limit; depth-- > 0 && wanted > 0;) {
        size_t symbols = 0;
        for (size_t item = 0; item < wanted; ++item) symbols += is_symbol[depth][item];
        for (size_t s = 0; s < symbols; ++s) ++out[order[s]];
        wanted = 2 * (wanted - symbols);
    }
}

size_t huffman_encode(Symbols symbols, Bytes lengths, std::span<uint8_t> out) {
    Code code = canonical_code(lengths);
    std::vector<uint16_t> codes(lengths.size());
    for (size_t s = 0; s < lengths.size(); ++s)
        if (lengths[s] > 0) codes[s] = static_cast<uint16_t>(code.first[lengths[s]]++);
    BitSink sink(out);
    for (uint16_t symbol : symbols) {
        require(symbol < lengths.size() && lengths[symbol] > 0, "a symbol has no code");
        sink.put(codes[symbol], lengths[symbol]);
    }
    return sink.finish();
}

void huffman_decode(Bytes payload, Bytes lengths, std::span<uint16_t> out) {
    struct Entry {
        uint16_t symbol;
        uint16_t length;
    };
    Code code = canonical_code(lengths);
    std::vector<Entry> table(size_t{1} << code.longest);
    for (size_t s = 0; s < lengths.size(); ++s) {
        if (lengths[s] == 0) continue;
        const unsigned spare = code.longest - lengths[s];
        const size_t from = size_t{code.first[lengths[s]]++} << spare;
        std::fill_n(table.begin() + static_cast<ptrdiff_t>(from), size_t{1} << spare,
                    Entry{static_cast<uint16_t>(s), lengths[s]});
    }
    BitSource source(payload);
    for (uint16_t &symbol : out) {
        const Entry entry = table[source.peek(code.longest)];
        source.skip(entry.length);
        symbol = entry.symbol;
    }
    source.finish();
}

// rANS ------------------------------------------------------------------------------------
//
// The state x starts at M = 2^scale_bits.  Coding a symbol of frequency f whose slots
// begin at c turns x into (x / f) * M + c + x % f, which never makes x smaller.
// Before that, bytes are shifted out while x >= f * 2^(31 - scale_bits), so that the new x
// stays below 2^31.  After the first byte has gone out, x is at least kLow = 2^23 whenever
// a symbol has been coded.  So the decoder knows when to read: while x is below kLow and
// bytes are left.  Near the start of the encoder's work, which the decoder sees last, x
// may be below kLow with no bytes left; starting at M instead of kLow is what makes short
// streams short.  The last state goes out without its leading zero bytes.

namespace {

constexpr uint32_t kLow = 1u << 23;

void check_frequencies(std::span<const uint32_t> frequencies, unsigned scale_bits) {
    require(scale_bits >= 1 && scale_bits <= kMaxScaleBits, "the scale is out of range");
    require(frequencies.size() <= 65536, "the alphabet is too large");
    const uint64_t total = std::accumulate(frequencies.begin(), frequencies.end(), uint64_t{0});
    const uint32_t most = *std::max_element(frequencies.begin(), frequencies.end());
    require(total == uint64_t{1} << scale_bits && most < total, "frequencies do not add up");
}

}  // namespace

size_t rans_encode(Symbols symbols, std::span<const uint32_t> frequencies, unsigned scale_bits,
                   std::span<uint8_t> out) {
    require(!frequencies.empty(), "the alphabet is empty");
    check_frequencies(frequencies, scale_bits);
    std::vector<uint32_t> start(frequencies.size());
    std::exclusive_scan(frequencies.begin(), frequencies.end(), start.begin(), 0u);
    size_t at = out.size();
    const auto push = [&](uint32_t state) {
        require(at > 0, "the output buffer is too small");
        out[--at] = static_cast<uint8_t>(state);
    };
    uint32_t x = 1u << scale_bits;
    for (size_t i = symbols.size(); i-- > 0;) {
        const uint16_t symbol = symbols[i];
        require(symbol < frequencies.size() && frequencies[symbol] > 0, "a symbol has no slot");
        const uint32_t f = frequencies[symbol];
        for (; x >= (uint64_t{f} << (31 - scale_bits)); x >>= 8) push(x);
        x = ((x / f) << scale_bits) + start[symbol] + x % f;
    }
    for (; x > 0; x >>= 8) push(x);
    return out.size() - at;
}

void rans_decode(Bytes payload, std::span<const uint32_t> frequencies, unsigned scale_bits,
                 std::span<uint16_t> out) {
    struct Slot {
        uint16_t symbol, frequency, offset;
    };
    require(!frequencies.empty(), "the alphabet is empty");
    check_frequencies(frequencies, scale_bits);
    std::vector<Slot> slots;
    slots.reserve(size_t{1} << scale_bits);
    for (size_t s = 0; s < frequencies.size(); ++s)
        for (uint32_t offset = 0; offset < frequencies[s]; ++offset)
            slots.push_back({static_cast<uint16_t>(s), static_cast<uint16_t>(frequencies[s]),
                             static_cast<uint16_t>(offset)});
    const uint32_t mask = (1u << scale_bits) - 1;
    uint32_t x = 0;
    size_t next = 0;
    const auto refill = [&] {
        while (x < kLow && next < payload.size()) x = (x << 8) | payload[next++];
    };
    for (uint16_t &symbol : out) {
        refill();
        const Slot slot = slots[x & mask];
        x = slot.frequency * (x >> scale_bits) + slot.offset;
        symbol = slot.symbol;
    }
    refill();
    require(next == payload.size(), "the stream has bytes left over");
    require(x == 1u << scale_bits, "the stream does not end in its first state");
}

// Positions -------------------------------------------------------------------------------

template <typename Column>
void gaps_to_rows(Symbols symbols, const Scan &scan, std::span<uint32_t> indptr,
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
        for (const uint16_t symbol : symbols) {
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

template void gaps_to_rows<uint16_t>(Symbols, const Scan &, std::span<uint32_t>,
                                     std::span<uint16_t>);
template void gaps_to_rows<uint32_t>(Symbols, const Scan &, std::span<uint32_t>,
                                     std::span<uint32_t>);

}  // namespace reticule
