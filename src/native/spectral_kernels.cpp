// Kernels of a convolution from their DCT coefficients, for the engine.
//
// Same order of operations as reticule/forms/spectral.py: every product and every sum is
// rounded on its own (this file is compiled without fused multiply-add), first along y, then
// along x, frequencies rising.  So both give the same bits.

#include "kernels.hpp"

namespace nb = nanobind;

namespace reticule {
namespace {

using Basis = nb::ndarray<nb::numpy, const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

constexpr Index kLargestKernel = 32;

template <Index Fixed>
void transform(const float *in, float *out, Index count, const double *by, const double *bx,
               Index any_height, Index any_width) {
    const Index height = Fixed ? Fixed : any_height, width = Fixed ? Fixed : any_width;
    constexpr Index most = Fixed ? Fixed : kLargestKernel;
    double half[most * most];  // taps along y, frequencies along x
    for (Index kernel = 0; kernel < count; ++kernel, in += height * width, out += height * width) {
        for (Index y = 0; y < height; ++y)
            for (Index v = 0; v < width; ++v) {
                double sum = in[v] * by[y];
                for (Index u = 1; u < height; ++u) sum += in[u * width + v] * by[u * height + y];
                half[y * width + v] = sum;
            }
        for (Index y = 0; y < height; ++y)
            for (Index x = 0; x < width; ++x) {
                double sum = half[y * width] * bx[x];
                for (Index v = 1; v < width; ++v) sum += half[y * width + v] * bx[v * width + x];
                out[y * width + x] = static_cast<float>(sum);
            }
    }
}

// Coefficients (n, height, width) into kernels of the same shape.
void inverse_dct(Input<3> in, Output<3> out, Basis by, Basis bx, int threads) {
    const Index count = extent(in, 0), height = extent(in, 1), width = extent(in, 2);
    require(extent(out, 0) == count && extent(out, 1) == height && extent(out, 2) == width,
            "coefficients and kernels differ in shape");
    require(height <= kLargestKernel && width <= kLargestKernel, "the kernel is too large");
    require(extent(by, 0) == height && extent(by, 1) == height && extent(bx, 0) == width &&
                extent(bx, 1) == width,
            "the basis does not fit the kernel");
    if (!height || !width) return;
    const float *from = in.data();
    float *to = out.data();
    const double *vertical = by.data(), *horizontal = bx.data();
    nb::gil_scoped_release free;
    constexpr Index strip = 1024;
    parallel_for(ceil_div(count, strip), strip * height * width * (height + width), threads,
                 [&](Index task) {
        const Index first = task * strip, size = height * width;
        const Index some = std::min(strip, count - first);
        auto run = height == 3 && width == 3   ? transform<3>
                   : height == 5 && width == 5 ? transform<5>
                   : height == 7 && width == 7 ? transform<7>
                                               : transform<0>;
        run(from + first * size, to + first * size, some, vertical, horizontal, height, width);
    });
}

}  // namespace

void bind_spectral(nb::module_ &m) {
    m.def("inverse_dct", &inverse_dct, nb::arg("coefficients").noconvert(),
          nb::arg("out").noconvert(), nb::arg("vertical").noconvert(),
          nb::arg("horizontal").noconvert(), nb::arg("threads"),
          "Kernels of DCT-II coefficients [n,h,w], with the bases of both axes.");
}

}  // namespace reticule
