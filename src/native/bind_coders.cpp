// Python names of the coders.  Outputs are numpy arrays that the caller allocates, so
// that Python sees and limits every allocation that a file can cause.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "coders.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
std::span<T> view(const Array<T> &array) {
    return {array.data(), array.shape(0)};
}

template <typename Column>
void gaps(Array<const uint16_t> symbols, uint32_t step, uint64_t rows, uint64_t cols,
          bool by_columns, Array<uint32_t> indptr, Array<Column> columns) {
    reticule::gaps_to_rows<Column>(view(symbols), {step, rows, cols, by_columns}, view(indptr),
                                   view(columns));
}

}  // namespace

void bind_coders(nb::module_ &m) {
    using In = Array<const uint16_t>;
    using Raw = Array<const uint8_t>;
    using Free = nb::call_guard<nb::gil_scoped_release>;

    m.def("pack_bits", [](In symbols, unsigned width, Array<uint8_t> out) {
        reticule::pack_bits(view(symbols), width, view(out));
    }, "symbols"_a, "width"_a, "out"_a.noconvert(), Free(),
       "Write each symbol in `width` bits; `out` must have exactly the right size.");
    m.def("unpack_bits", [](Raw payload, unsigned width, Array<uint16_t> out) {
        reticule::unpack_bits(view(payload), width, view(out));
    }, "payload"_a, "width"_a, "out"_a.noconvert(), Free(),
       "Inverse of pack_bits; ValueError unless the payload is used up.");

    m.def("huffman_lengths", [](Array<const uint64_t> counts, unsigned limit,
                                Array<uint8_t> out) {
        reticule::huffman_lengths(view(counts), limit, view(out));
    }, "counts"_a, "limit"_a, "out"_a.noconvert(), Free(),
       "Optimal code lengths of at most `limit` bits.");
    m.def("huffman_encode", [](In symbols, Raw lengths, Array<uint8_t> out) {
        return reticule::huffman_encode(view(symbols), view(lengths), view(out));
    }, "symbols"_a, "lengths"_a, "out"_a.noconvert(), Free(),
       "Code symbols into the start of `out`; returns the bytes used.");
    m.def("huffman_decode", [](Raw payload, Raw lengths, Array<uint16_t> out) {
        reticule::huffman_decode(view(payload), view(lengths), view(out));
    }, "payload"_a, "lengths"_a, "out"_a.noconvert(), Free(),
       "Inverse of huffman_encode; ValueError unless the payload is used up.");

    m.def("rans_encode", [](In symbols, Array<const uint32_t> frequencies, unsigned scale_bits,
                            Array<uint8_t> out) {
        return reticule::rans_encode(view(symbols), view(frequencies), scale_bits, view(out));
    }, "symbols"_a, "frequencies"_a, "scale_bits"_a, "out"_a.noconvert(), Free(),
       "Code symbols into the end of `out`; returns the bytes used.");
    m.def("rans_decode", [](Raw payload, Array<const uint32_t> frequencies, unsigned scale_bits,
                            Array<uint16_t> out) {
        reticule::rans_decode(view(payload), view(frequencies), scale_bits, view(out));
    }, "payload"_a, "frequencies"_a, "scale_bits"_a, "out"_a.noconvert(), Free(),
       "Inverse of rans_encode; ValueError unless the payload is used up.");

    const char *doc =
        "Relative positions into row pointers and columns (uint16 or uint32); ValueError if "
        "they do not fit the matrix.";
    m.def("gaps_to_rows", &gaps<uint16_t>, "symbols"_a, "step"_a, "rows"_a, "cols"_a,
          "by_columns"_a, "indptr"_a.noconvert(), "columns"_a.noconvert(), Free(), doc);
    m.def("gaps_to_rows", &gaps<uint32_t>, "symbols"_a, "step"_a, "rows"_a, "cols"_a,
          "by_columns"_a, "indptr"_a.noconvert(), "columns"_a.noconvert(), Free(), doc);
}
