// Kernels of the engine that slide a window over images: im2col, pooling, depthwise
// convolution; and local response normalisation.
//
// All are plain loops over contiguous strips that compilers vectorise.  Arrays are float32
// and contiguous; sizes are checked on entry, and strips are cut so that no number that
// comes from a file can lead outside of an array (see Window in kernels.hpp).

#include "kernels.hpp"

#include <cmath>
#include <limits>

#include <nanobind/stl/array.h>

namespace nb = nanobind;

namespace reticule {

void bind_blocks(nb::module_ &m);
void bind_sparse(nb::module_ &m);
void bind_spectral(nb::module_ &m);

namespace {

using Pair = std::array<Index, 2>;
using Quad = std::array<Index, 4>;

// Output positions `part` of one output row, as one tap sees a row of the input; `hit` are
// the positions at which that tap meets the input, and `from` is what it reads at hit.first.
void copy_strip(const float *from, Index stride, Range hit, Range part, float *out) {
    const Index first = std::clamp(hit.first, part.first, part.last);
    const Index last = std::clamp(hit.last, first, part.last);
    std::fill(out, out + (first - part.first), 0.0f);
    float *to = out + (first - part.first);
    if (stride == 1 && first < last)
        std::copy(from + (first - hit.first), from + (last - hit.first), to);
    else
        for (Index i = first; i < last; ++i) to[i - first] = from[(i - hit.first) * stride];
    std::fill(out + (last - part.first), out + (part.last - part.first), 0.0f);
}

// out[n, (c, ky, kx), p] = the input under tap (ky, kx) at output position first + p, where
// positions count along rows that are `width` wide; 0 outside of the image.
void im2col(const Input<4> &x, const Output<3> &out, Pair kernel, Pair strides, Pair dilations,
            Quad pads, Index first, Index width, int threads) {
    const Geometry geometry{kernel, strides, dilations, pads};
    geometry.check();
    const Index images = extent(x, 0), channels = extent(x, 1), h = extent(x, 2),
                w = extent(x, 3), positions = extent(out, 2);
    const Index taps = kernel[0] * kernel[1];
    require(extent(out, 0) == images && extent(out, 1) == channels * taps, "out does not fit");
    require(first >= 0 && width >= 1, "positions out of range");
    const float *in = x.data();
    float *to = out.data();
    nb::gil_scoped_release released;
    const Window across = geometry.across(w, width);
    const Window down = geometry.down(h, 0);
    parallel_for(images * channels, taps * positions, threads, [&](Index plane) {
        float *row = to + plane * taps * positions;
        for (Index tap = 0; tap < taps; ++tap) {
            const Range hit = across.positions_of(tap % kernel[1]);
            const Index offset =
                hit.first < hit.last ? across.source(hit.first, tap % kernel[1]) : 0;
            Index line = first / width, column = first % width;
            for (Index done = 0; done < positions; ++line, column = 0) {
                const Index count = std::min(width - column, positions - done);
                const Index y = down.source(line, tap / kernel[1]);
                if (y >= 0 && y < h)
                    copy_strip(in + (plane * h + y) * w + offset, strides[1], hit,
                               Range{column, column + count}, row);
                else
                    std::fill(row, row + count, 0.0f);
                row += count;
                done += count;
            }
        }
    });
}

// Calls use(line, tap y, tap x, positions, source) for every output row of a plane and every
// tap that meets the image there; source is the input at the first of the positions.
template <class Use>
void each_tap(const float *plane, const Window &down, const Window &across, Use use) {
    // Taps before those of the last position, or after those of position 0, meet nothing.
    const Index low = across.taps_at(across.count - 1).first, high = across.taps_at(0).last;
    for (Index kx = low; kx < high; ++kx) {
        const Range hit = across.positions_of(kx);
        if (hit.first == hit.last) continue;
        const float *from = plane + across.source(hit.first, kx);
        for (Index line = 0; line < down.count; ++line) {
            const Range rows = down.taps_at(line);
            for (Index ky = rows.first; ky < rows.last; ++ky)
                use(line, ky, kx, hit, from + down.source(line, ky) * across.size);
        }
    }
}

struct Pooling {
    Index planes;
    Window down, across;
    const float *in;
    float *out;

    Pooling(const Input<4> &x, const Output<4> &y, const Geometry &geometry) {
        geometry.check();
        require(extent(x, 0) == extent(y, 0) && extent(x, 1) == extent(y, 1), "out does not fit");
        planes = extent(x, 0) * extent(x, 1);
        down = geometry.down(extent(x, 2), extent(y, 2));
        across = geometry.across(extent(x, 3), extent(y, 3));
        if (down.count == 0 || across.count == 0) planes = 0;
        in = x.data();
        out = y.data();
    }

    Index work() const { return down.count * across.count * down.taps * across.taps; }

    // Calls use(input plane, output plane) in parallel.
    template <class Use>
    void each(int threads, Use use) const {
        parallel_for(planes, std::min(work(), Index{1} << 40), threads, [&](Index i) {
            use(in + i * down.size * across.size, out + i * down.count * across.count);
        });
    }
};

void max_pool(const Input<4> &x, const Output<4> &out, Pair kernel, Pair strides, Pair dilations,
              Quad pads, int threads) {
    const Pooling pooling(x, out, Geometry{kernel, strides, dilations, pads});
    const Window down = pooling.down, across = pooling.across;
    nb::gil_scoped_release released;
    pooling.each(threads, [&](const float *plane, float *to) {
        std::fill(to, to + down.count * across.count, std::numeric_limits<float>::lowest());
        each_tap(plane, down, across,
                 [&](Index line, Index, Index, Range hit, const float *from) {
                     float *at = to + line * across.count + hit.first;
                     for (Index i = 0; i < hit.last - hit.first; ++i) {
                         const float v = from[i * across.stride];
                         at[i] = v > at[i] ? v : at[i];
                     }
                 });
    });
}

// How many taps an average divides by: those on the image, or those on image and padding.
Index divisor(const Window &window, Index position, Index after, bool count_padding) {
    if (count_padding) {
        const Index room = window.size + after - window.source(position, 0);
        return std::min(window.taps, ceil_div(room, window.dilation));
    }
    const Range hit = window.taps_at(position);
    return hit.last - hit.first;
}

void average_pool(const Input<4> &x, const Output<4> &out, Pair kernel, Pair strides,
                  Pair dilations, Quad pads, bool count_padding, int threads) {
    const Pooling pooling(x, out, Geometry{kernel, strides, dilations, pads});
    const Window down = pooling.down, across = pooling.across;
    std::vector<float> widths(static_cast<std::size_t>(across.count));
    for (Index i = 0; i < across.count; ++i)
        widths[static_cast<std::size_t>(i)] =
            static_cast<float>(divisor(across, i, pads[3], count_padding));
    nb::gil_scoped_release released;
    pooling.each(threads, [&](const float *plane, float *to) {
        std::fill(to, to + down.count * across.count, 0.0f);
        each_tap(plane, down, across,
                 [&](Index line, Index, Index, Range hit, const float *from) {
                     float *at = to + line * across.count + hit.first;
                     for (Index i = 0; i < hit.last - hit.first; ++i)
                         at[i] += from[i * across.stride];
                 });
        for (Index line = 0; line < down.count; ++line, to += across.count) {
            const float height = static_cast<float>(divisor(down, line, pads[2], count_padding));
            for (Index i = 0; i < across.count; ++i) {
                const float taps = height * widths[static_cast<std::size_t>(i)];
                to[i] = taps > 0 ? to[i] / taps : 0.0f;  // 0: a window wholly in the padding
            }
        }
    });
}

// Each channel is filtered on its own, into `multiplier` output channels.
void depthwise(const Input<4> &x, const Input<4> &weight, const Output<4> &out, Pair strides,
               Pair dilations, Quad pads, int threads) {
    const Pair kernel{extent(weight, 2), extent(weight, 3)};
    const Geometry geometry{kernel, strides, dilations, pads};
    geometry.check();
    const Index channels = extent(x, 1), filters = extent(weight, 0), h = extent(x, 2),
                w = extent(x, 3);
    require(extent(weight, 1) == 1 && channels > 0 && filters % channels == 0,
            "weight does not fit");
    require(extent(out, 0) == extent(x, 0) && extent(out, 1) == filters, "out does not fit");
    const Window down = geometry.down(h, extent(out, 2));
    const Window across = geometry.across(w, extent(out, 3));
    if (down.count == 0 || across.count == 0 || filters == 0) return;
    const Index multiplier = filters / channels, taps = kernel[0] * kernel[1];
    const float *in = x.data(), *weights = weight.data();
    float *to = out.data();
    nb::gil_scoped_release released;
    const Index work = taps * down.count * across.count;
    parallel_for(extent(x, 0) * filters, work, threads, [&](Index task) {
        const Index image = task / filters, filter = task % filters;
        const float *plane = in + (image * channels + filter / multiplier) * h * w;
        const float *tap_weights = weights + filter * taps;
        float *plane_out = to + task * down.count * across.count;
        std::fill(plane_out, plane_out + down.count * across.count, 0.0f);
        each_tap(plane, down, across,
                 [&](Index line, Index ky, Index kx, Range hit, const float *from) {
                     const float v = tap_weights[ky * kernel[1] + kx];
                     float *at = plane_out + line * across.count + hit.first;
                     for (Index i = 0; i < hit.last - hit.first; ++i)
                         at[i] += v * from[i * across.stride];
                 });
    });
}

// y = x / (bias + alpha / size * sum of squares over `size` neighbouring channels) ^ beta.
void lrn(const Input<3> &x, const Output<3> &out, Index size, float alpha, float beta,
         float bias, int threads) {
    const Index channels = extent(x, 1), positions = extent(x, 2);
    require(size >= 1, "size out of range");
    require(extent(out, 0) == extent(x, 0) && extent(out, 1) == channels &&
                extent(out, 2) == positions,
            "out does not fit");
    const float *in = x.data();
    float *to = out.data();
    nb::gil_scoped_release released;
    const Index neighbours = std::min(size, channels);
    const float scale = alpha / static_cast<float>(size);
    parallel_for(extent(x, 0) * channels, positions * (neighbours + 8), threads, [&](Index task) {
        constexpr Index tile = 256;
        const Index channel = task % channels;
        const Range near = range(channel - (size - 1) / 2, channel + size / 2 + 1, channels);
        const float *image = in + (task - channel) * positions;
        for (Index start = 0; start < positions; start += tile) {
            const Index count = std::min(tile, positions - start);
            float sum[tile] = {};
            for (Index c = near.first; c < near.last; ++c) {
                const float *strip = image + c * positions + start;
                for (Index i = 0; i < count; ++i) sum[i] += strip[i] * strip[i];
            }
            const float *from = image + channel * positions + start;
            float *at = to + task * positions + start;
            for (Index i = 0; i < count; ++i) sum[i] = bias + scale * sum[i];
            if (beta == 0.75f)  // the usual exponent, by two square roots
                for (Index i = 0; i < count; ++i) {
                    const float root = std::sqrt(sum[i]);
                    at[i] = from[i] / (root * std::sqrt(root));
                }
            else
                for (Index i = 0; i < count; ++i) at[i] = from[i] / std::pow(sum[i], beta);
        }
    });
}

}  // namespace
}  // namespace reticule

void bind_kernels(nb::module_ &m) {
    using namespace reticule;
    bind_blocks(m);
    bind_sparse(m);
    bind_spectral(m);
    m.def("im2col", &im2col, nb::arg("x").noconvert(), nb::arg("out").noconvert(),
          nb::arg("kernel"), nb::arg("strides"), nb::arg("dilations"), nb::arg("pads"),
          nb::arg("first"), nb::arg("width"), nb::arg("threads"),
          "Windows of x[N,C,H,W] as columns out[N,C*kh*kw,P], from position `first` on.");
    m.def("max_pool", &max_pool, nb::arg("x").noconvert(), nb::arg("out").noconvert(),
          nb::arg("kernel"), nb::arg("strides"), nb::arg("dilations"), nb::arg("pads"),
          nb::arg("threads"), "Largest value under each window.");
    m.def("average_pool", &average_pool, nb::arg("x").noconvert(), nb::arg("out").noconvert(),
          nb::arg("kernel"), nb::arg("strides"), nb::arg("dilations"), nb::arg("pads"),
          nb::arg("count_padding"), nb::arg("threads"), "Mean value under each window.");
    m.def("depthwise", &depthwise, nb::arg("x").noconvert(), nb::arg("weight").noconvert(),
          nb::arg("out").noconvert(), nb::arg("strides"), nb::arg("dilations"), nb::arg("pads"),
          nb::arg("threads"), "Convolution of each channel on its own.");
    m.def("lrn", &lrn, nb::arg("x").noconvert(), nb::arg("out").noconvert(), nb::arg("size"),
          nb::arg("alpha"), nb::arg("beta"), nb::arg("bias"), nb::arg("threads"),
          "Local response normalisation over neighbouring channels of x[N,C,P].");
}
