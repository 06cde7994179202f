// Weights as kernels of pruned layers find them: float32, or codes into a small table.

#pragma once

#include "kernels.hpp"

#include <type_traits>

namespace reticule {

namespace nb = nanobind;

using Pointers = nb::ndarray<nb::numpy, const std::uint32_t, nb::ndim<1>, nb::c_contig,
                             nb::device::cpu>;

struct Plain {
    const float *values;
    float operator()(Index i) const { return values[i]; }
};

template <class Code>
struct Coded {
    const Code *codes;
    const float *table;
    float operator()(Index i) const { return table[codes[i]]; }
};

// Calls use(pointer) with the array's own type, one of the unsigned integers.
template <class Use>
void with_unsigned(const Codes &array, Use use) {
    if (array.dtype() == nb::dtype<std::uint8_t>())
        use(static_cast<const std::uint8_t *>(array.data()));
    else if (array.dtype() == nb::dtype<std::uint16_t>())
        use(static_cast<const std::uint16_t *>(array.data()));
    else if (array.dtype() == nb::dtype<std::uint32_t>())
        use(static_cast<const std::uint32_t *>(array.data()));
    else
        throw std::invalid_argument("indices must be uint8, uint16 or uint32");
}

// Calls use(columns, value) for float32 values (no table) or codes with a table.
template <class Use>
void with_weights(const Codes &columns, const Codes &values, const Input<1> &table, Use use) {
    with_unsigned(columns, [&](auto *column) {
        if (values.dtype() == nb::dtype<float>())
            use(column, Plain{static_cast<const float *>(values.data())});
        else
            with_unsigned(values, [&](auto *codes) {
                using Code = std::remove_const_t<std::remove_pointer_t<decltype(codes)>>;
                use(column, Coded<Code>{codes, table.data()});
            });
    });
}

inline void check_pointers(const Pointers &indptr, const Codes &columns) {
    require(extent(indptr, 0) >= 1, "indptr is empty");
    const Index rows = extent(indptr, 0) - 1;
    const std::uint32_t *start = indptr.data();
    require(start[0] == 0 && start[rows] == extent(columns, 0), "indptr does not fit columns");
    for (Index m = 0; m < rows; ++m) require(start[m] <= start[m + 1], "indptr descends");
}

inline void check_table(const Codes &values, const Input<1> &table) {
    require(values.dtype() == nb::dtype<float>() || extent(values, 0) == 0 ||
                extent(table, 0) > 0,
            "codes need a table");
}

}  // namespace reticule
