// Products of a matrix whose rows are stored in strips of four that share their columns.
//
// The weights of a strip lie column by column, four together: float32, or codes into a small
// table.  Each activation is read once for four outputs.  Row pointers are checked here on
// entry; column numbers and codes are trusted, as in sparse_kernels.cpp.

#include "weights.hpp"

// The compiler makes the inner loop for several processors; the loader takes what fits.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define RETICULE_CLONES \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RETICULE_CLONES
#endif

namespace reticule {
namespace {

constexpr Index strip = 4;

// out[r, j] = sum of weights[i, r] * x[places[i] * width + j], for four r and all j < width.
RETICULE_CLONES void strip_times_matrix(const float *weights, const Index *places, Index count,
                                        const float *x, Index width, float *out) {
    constexpr Index tile = 32;
    Index first = 0;
    for (; first + tile <= width; first += tile) {
        float sum[strip][tile] = {};
        for (Index i = 0; i < count; ++i) {
            const float *row = x + places[i] * width + first;
            const float *w = weights + strip * i;
            for (Index r = 0; r < strip; ++r)
                for (Index j = 0; j < tile; ++j) sum[r][j] += w[r] * row[j];
        }
        for (Index r = 0; r < strip; ++r)
            std::copy(sum[r], sum[r] + tile, out + r * width + first);
    }
    for (; first < width; ++first) {
        float sum[strip] = {};
        for (Index i = 0; i < count; ++i) {
            const float value = x[places[i] * width + first];
            for (Index r = 0; r < strip; ++r) sum[r] += weights[strip * i + r] * value;
        }
        for (Index r = 0; r < strip; ++r) out[r * width + first] = sum[r];
    }
}

// out[n, m] = sum of weight[m, k] * x[n, group of m, k]; both with P positions.
void block_columns(const Pointers &indptr, const Codes &columns, const Codes &values,
                   const Input<1> &table, const Input<4> &x, const Output<3> &out, int threads) {
    require(extent(values, 0) == strip * extent(columns, 0), "values do not fit columns");
    check_pointers(indptr, columns);
    check_table(values, table);
    const Index images = extent(x, 0), groups = extent(x, 1), depth = extent(x, 2),
                width = extent(x, 3), strips = extent(indptr, 0) - 1;
    require(extent(out, 0) == images && extent(out, 1) == strip * strips &&
                extent(out, 2) == width,
            "out does not fit");
    require(groups > 0 && strips % groups == 0, "strips do not divide into groups");
    if (images == 0 || strips == 0 || width == 0) return;
    const Index per_group = strips / groups, entries = extent(columns, 0);
    with_weights(columns, values, table, [&](auto *column, auto value) {
        const std::uint32_t *start = indptr.data();
        const float *in = x.data();
        float *to = out.data();
        nb::gil_scoped_release released;
        parallel_for(strips, (entries / strips + 1) * strip * width * images, threads,
                     [&](Index s) {
                         const Index first = start[s], count = start[s + 1] - first;
                         std::vector<float> weights(static_cast<std::size_t>(strip * count));
                         std::vector<Index> places(static_cast<std::size_t>(count));
                         for (Index i = 0; i < count; ++i) {
                             places[i] = static_cast<Index>(column[first + i]);
                             for (Index r = 0; r < strip; ++r)
                                 weights[strip * i + r] = value(strip * (first + i) + r);
                         }
                         for (Index n = 0; n < images; ++n)
                             strip_times_matrix(
                                 weights.data(), places.data(), count,
                                 in + (n * groups + s / per_group) * depth * width, width,
                                 to + (n * strips + s) * strip * width);
                     });
    });
}

}  // namespace

void bind_blocks(nb::module_ &m) {
    m.def("block_columns", &block_columns, nb::arg("indptr").noconvert(),
          nb::arg("columns").noconvert(), nb::arg("values").noconvert(),
          nb::arg("table").noconvert(), nb::arg("x").noconvert(), nb::arg("out").noconvert(),
          nb::arg("threads"),
          "out[N,M,P] = weight[M,K] by x[N,G,K,P]; rows in strips of four, values (columns, 4).");
}

}  // namespace reticule
