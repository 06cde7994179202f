// Products of a sparse matrix in compressed rows with dense activations.
//
// The weights are either float32, or codes into a small table of float32 centroids; they
// are read as they lie in memory, and no dense matrix is ever built.  Row pointers are
// checked here on entry.  Column numbers and codes are trusted: the forms Sparse and
// Codebook have checked them once, when they were made, and their arrays are read-only.

#include "weights.hpp"

namespace reticule {
namespace {

void check_rows(const Pointers &indptr, const Codes &columns, const Codes &values,
                const Input<1> &table) {
    require(extent(values, 0) == extent(columns, 0), "values do not fit columns");
    check_pointers(indptr, columns);
    check_table(values, table);
}

// One row times a dense matrix of the given width: a sum of scaled strips.
template <class Column, class Value>
void row_times_matrix(Range entries, const Column *columns, Value value, const float *x,
                      Index width, float *out) {
    constexpr Index tile = 256;
    for (Index start = 0; start < width; start += tile) {
        const Index count = std::min(tile, width - start);
        const float *strip = x + start;
        float sum[tile] = {};
        Index i = entries.first;
        for (; i + 4 <= entries.last; i += 4) {
            const float v0 = value(i), v1 = value(i + 1), v2 = value(i + 2), v3 = value(i + 3);
            const float *x0 = strip + static_cast<Index>(columns[i]) * width;
            const float *x1 = strip + static_cast<Index>(columns[i + 1]) * width;
            const float *x2 = strip + static_cast<Index>(columns[i + 2]) * width;
            const float *x3 = strip + static_cast<Index>(columns[i + 3]) * width;
            for (Index j = 0; j < count; ++j)
                sum[j] += (v0 * x0[j] + v1 * x1[j]) + (v2 * x2[j] + v3 * x3[j]);
        }
        for (; i < entries.last; ++i) {
            const float v = value(i);
            const float *row = strip + static_cast<Index>(columns[i]) * width;
            for (Index j = 0; j < count; ++j) sum[j] += v * row[j];
        }
        std::copy(sum, sum + count, out + start);
    }
}

template <class Column, class Value>
float row_times_vector(Range entries, const Column *columns, Value value, const float *x) {
    float sum[4] = {};
    Index i = entries.first;
    for (; i + 4 <= entries.last; i += 4)
        for (int k = 0; k < 4; ++k) sum[k] += value(i + k) * x[columns[i + k]];
    for (; i < entries.last; ++i) sum[0] += value(i) * x[columns[i]];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// out[n, m] = sum of weight[m, k] * x[n, group of m, k]; both with P positions.
void sparse_columns(const Pointers &indptr, const Codes &columns, const Codes &values,
                    const Input<1> &table, const Input<4> &x, const Output<3> &out,
                    int threads) {
    check_rows(indptr, columns, values, table);
    const Index images = extent(x, 0), groups = extent(x, 1), depth = extent(x, 2),
                width = extent(x, 3), rows = extent(indptr, 0) - 1;
    require(extent(out, 0) == images && extent(out, 1) == rows && extent(out, 2) == width,
            "out does not fit");
    require(groups > 0 && rows % groups == 0, "rows do not divide into groups");
    if (images == 0 || rows == 0 || width == 0) return;
    const Index per_group = rows / groups, entries = extent(columns, 0);
    with_weights(columns, values, table, [&](auto *column, auto value) {
        const std::uint32_t *start = indptr.data();
        const float *in = x.data();
        float *to = out.data();
        nb::gil_scoped_release released;
        parallel_for(images * rows, (entries / rows + 1) * width, threads, [&](Index task) {
            const Index image = task / rows, row = task % rows;
            row_times_matrix(Range{start[row], start[row + 1]}, column, value,
                             in + (image * groups + row / per_group) * depth * width, width,
                             to + task * width);
        });
    });
}

// out[r, m] = sum of weight[m, k] * x[r, k].
void sparse_rows(const Pointers &indptr, const Codes &columns, const Codes &values,
                 const Input<1> &table, const Input<2> &x, const Output<2> &out, int threads) {
    check_rows(indptr, columns, values, table);
    const Index batch = extent(x, 0), depth = extent(x, 1), rows = extent(indptr, 0) - 1;
    require(extent(out, 0) == batch && extent(out, 1) == rows, "out does not fit");
    if (batch == 0 || rows == 0) return;
    constexpr Index block = 64;
    const Index entries = extent(columns, 0);
    with_weights(columns, values, table, [&](auto *column, auto value) {
        const std::uint32_t *start = indptr.data();
        const float *in = x.data();
        float *to = out.data();
        nb::gil_scoped_release released;
        const Index work = (entries / rows + 1) * block * batch;
        parallel_for(ceil_div(rows, block), work, threads, [&](Index task) {
            for (Index m = task * block; m < std::min(rows, (task + 1) * block); ++m)
                for (Index r = 0; r < batch; ++r)
                    to[r * rows + m] = row_times_vector(Range{start[m], start[m + 1]}, column,
                                                        value, in + r * depth);
        });
    });
}

// out[i] = table[codes[i]]
void lookup(const Codes &codes, const Input<1> &table, const Output<1> &out) {
    require(extent(codes, 0) == extent(out, 0), "out does not fit");
    require(extent(codes, 0) == 0 || extent(table, 0) > 0, "codes need a table");
    const float *from = table.data();
    float *to = out.data();
    with_unsigned(codes, [&](auto *code) {
        nb::gil_scoped_release released;
        for (Index i = 0; i < extent(codes, 0); ++i) to[i] = from[code[i]];
    });
}

}  // namespace

void bind_sparse(nb::module_ &m) {
    m.def("lookup", &lookup, nb::arg("codes").noconvert(), nb::arg("table").noconvert(),
          nb::arg("out").noconvert(), "out[i] = table[codes[i]]; codes are trusted.");
    m.def("sparse_columns", &sparse_columns, nb::arg("indptr").noconvert(),
          nb::arg("columns").noconvert(), nb::arg("values").noconvert(),
          nb::arg("table").noconvert(), nb::arg("x").noconvert(), nb::arg("out").noconvert(),
          nb::arg("threads"),
          "out[N,M,P] = weight[M,K] by x[N,G,K,P]; values are float32, or codes into table.");
    m.def("sparse_rows", &sparse_rows, nb::arg("indptr").noconvert(),
          nb::arg("columns").noconvert(), nb::arg("values").noconvert(),
          nb::arg("table").noconvert(), nb::arg("x").noconvert(), nb::arg("out").noconvert(),
          nb::arg("threads"),
          "out[R,M] = x[R,K] by weight[M,K] transposed; values are float32, or codes into table.");
}

}  // namespace reticule
