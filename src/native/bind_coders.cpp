// Python names of the coders.  Outputs are numpy arrays that the caller allocates, so
// that Python sees and limits every allocation that a file can cause.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>

#include <utility>

#include "coders.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Raw = Array<const uint8_t>;
using Frequencies = Array<const uint32_t>;
using Free = nb::call_guard<nb::gil_scoped_release>;

template <typename T>
std::span<T> view(const Array<T> &array) {
    return {array.data(), array.shape(0)};
}

template <typename Symbol, typename Column>
void gaps(Array<const Symbol> symbols, uint32_t step, uint64_t rows, uint64_t cols,
          bool by_columns, Array<uint32_t> indptr, Array<Column> columns) {
    reticule::gaps_to_rows<Symbol, Column>(view(symbols), {step, rows, cols, by_columns},
                                           view(indptr), view(columns));
}

template <typename Symbol>
void bind_symbols(nb::module_ &m) {
    using In = Array<const Symbol>;
    using Out = Array<Symbol>;

    m.def("pack_bits", [](In symbols, unsigned width, Array<uint8_t> out) {
        reticule::pack_bits<Symbol>(view(symbols), width, view(out));
    }, "symbols"_a.noconvert(), "width"_a, "out"_a.noconvert(), Free(),
       "Write each symbol in `width` bits; `out` must have exactly the right size.");
    m.def("unpack_bits", [](Raw payload, unsigned width, Out out) {
        reticule::unpack_bits<Symbol>(view(payload), width, view(out));
    }, "payload"_a, "width"_a, "out"_a.noconvert(), Free(),
       "Inverse of pack_bits; ValueError unless the payload is used up.");

    m.def("rans_encode", [](In symbols, Frequencies frequencies, unsigned scale_bits,
                            unsigned lanes, Array<uint8_t> out) {
        return reticule::rans_encode<Symbol>(view(symbols), view(frequencies), scale_bits, lanes,
                                             view(out));
    }, "symbols"_a.noconvert(), "frequencies"_a, "scale_bits"_a, "lanes"_a, "out"_a.noconvert(),
       Free(), "Code symbols into the end of `out`; returns the bytes used.");
    m.def("rans_decode", [](Raw payload, Frequencies frequencies, unsigned scale_bits,
                            unsigned lanes, Out out) {
        reticule::rans_decode<Symbol>(view(payload), view(frequencies), scale_bits, lanes,
                                      view(out));
    }, "payload"_a, "frequencies"_a, "scale_bits"_a, "lanes"_a, "out"_a.noconvert(), Free(),
       "Inverse of rans_encode; ValueError unless the payload is used up.");

    const char *doc =
        "Relative positions into row pointers and columns (uint16 or uint32); ValueError if "
        "they do not fit the matrix.";
    m.def("gaps_to_rows", &gaps<Symbol, uint16_t>, "symbols"_a.noconvert(), "step"_a, "rows"_a,
          "cols"_a, "by_columns"_a, "indptr"_a.noconvert(), "columns"_a.noconvert(), Free(), doc);
    m.def("gaps_to_rows", &gaps<Symbol, uint32_t>, "symbols"_a.noconvert(), "step"_a, "rows"_a,
          "cols"_a, "by_columns"_a, "indptr"_a.noconvert(), "columns"_a.noconvert(), Free(), doc);

    m.def("unzigzag", [](In symbols, Array<int32_t> out) {
        reticule::unzigzag<Symbol>(view(symbols), view(out));
    }, "symbols"_a.noconvert(), "out"_a.noconvert(), Free(),
       "Symbols 0, 1, 2, 3, 4, ... into integers 0, -1, 1, -2, 2, ...");
}

}  // namespace

void bind_coders(nb::module_ &m) {
    bind_symbols<uint8_t>(m);
    bind_symbols<uint16_t>(m);

    m.def("share_slots", [](Array<const uint64_t> weights, unsigned scale_bits,
                            Array<uint32_t> frequencies) {
        reticule::share_slots(view(weights), scale_bits, view(frequencies));
    }, "weights"_a, "scale_bits"_a, "frequencies"_a.noconvert(),
       "Frequencies of at least 1 that sum to 2^scale_bits, in proportion to weights.");
    m.def("read_frequencies", [](Raw data, Array<uint32_t> frequencies) {
        const auto read = reticule::read_frequencies(view(data), view(frequencies));
        return std::pair(read.scale_bits, read.bytes);
    }, "data"_a, "frequencies"_a.noconvert(),
       "Read a table for the whole alphabet; returns its scale in bits and its size in bytes.");
}
