// Python names of trellis-coded quantisation.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "trellis_search.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
std::span<T> view(const Array<T> &array) {
    return {array.data(), array.shape(0)};
}

}  // namespace

void bind_trellis(nb::module_ &m) {
    using Integers = Array<const int32_t>;
    using Doubles = Array<const double>;
    using Free = nb::call_guard<nb::gil_scoped_release>;

    m.def("trellis_indices", [](Integers levels, uint64_t columns, unsigned states,
                                Array<int32_t> out) {
        reticule::trellis_indices(view(levels), columns, states, view(out));
    }, "levels"_a, "columns"_a, "states"_a, "out"_a.noconvert(), Free(),
       "Indices of levels; ValueError unless the levels follow the trellis.");
    m.def("trellis_levels", [](Integers indices, uint64_t columns, unsigned states,
                               Array<int32_t> out) {
        reticule::trellis_levels(view(indices), columns, states, view(out));
    }, "indices"_a, "columns"_a, "states"_a, "out"_a.noconvert(), Free(),
       "Inverse of trellis_indices.");
    m.def("trellis_quantisers", [](Integers indices, uint64_t columns, unsigned states,
                                   Array<uint8_t> out) {
        reticule::trellis_quantisers(view(indices), columns, states, view(out));
    }, "indices"_a, "columns"_a, "states"_a, "out"_a.noconvert(), Free(),
       "The quantiser, 0 or 1, in which each index stands.");
    m.def("quantise", [](Array<const float> weights, uint64_t rows, uint64_t columns, double step,
                         double lambda, unsigned states, Doubles importance, Doubles pivots,
                         Array<const float> spread, uint64_t block,
                         Array<const uint32_t> factor_of_row, Array<const uint16_t> rates,
                         Array<const uint16_t> classes, Array<int32_t> out) {
        return reticule::quantise({view(weights), rows, columns, step, lambda, states,
                                   view(importance), view(pivots), view(spread), block,
                                   view(factor_of_row), view(rates), view(classes)},
                                  view(out));
    }, "weights"_a, "rows"_a, "columns"_a, "step"_a, "lam"_a, "states"_a, "importance"_a,
       "pivots"_a, "spread"_a, "block"_a, "factor_of_row"_a, "rates"_a, "classes"_a,
       "out"_a.noconvert(), Free(),
       "Rate-distortion optimised levels into `out`; returns distortion + lam * bits.");
}
