// Python names of the context coder.  Outputs are numpy arrays that the caller allocates.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>

#include "context_coder.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
std::span<T> view(const Array<T> &array) {
    return {array.data(), array.shape(0)};
}

using Labels = std::optional<Array<const uint16_t>>;

std::span<const uint16_t> view(const Labels &labels) {
    if (!labels) return {};
    return view(*labels);
}

reticule::Preset preset(int number) {
    if (number != 0 && number != 1)
        throw std::invalid_argument("the preset is 0 (fast) or 1 (small)");
    return static_cast<reticule::Preset>(number);
}

using reticule::ContextEncoder;

// Keeps the payload alive for as long as the decoder reads from it.
struct Decoder {
    Decoder(int number, Array<const uint8_t> bytes)
        : payload(bytes), decoder(preset(number), view(payload)) {}
    Array<const uint8_t> payload;
    reticule::ContextDecoder decoder;
};

}  // namespace

void bind_context(nb::module_ &m) {
    using Values = Array<const int32_t>;
    using Mask = Array<const uint8_t>;
    using Free = nb::call_guard<nb::gil_scoped_release>;

    nb::class_<ContextEncoder>(m, "ContextEncoder",
                               "Adaptive context coder; presets 0 (fast) and 1 (small).")
        .def("__init__", [](ContextEncoder *self, int number) {
            new (self) ContextEncoder(preset(number));
        }, "preset"_a)
        .def("integers", [](ContextEncoder &self, Values values, Mask mask, uint32_t rows,
                            uint32_t channels, uint32_t height, uint32_t width, unsigned states,
                            bool is_signed, const Labels &labels) {
            self.integers(view(values), view(mask), {rows, channels, height, width}, states,
                          is_signed, view(labels));
        }, "values"_a, "mask"_a, "rows"_a, "channels"_a, "height"_a, "width"_a, "states"_a,
             "signed"_a, "labels"_a = nb::none(), Free(),
             "Code int32 values; an empty mask stands for none.  Labels are blocks of values.")
        .def("floats", [](ContextEncoder &self, Array<const uint32_t> patterns, unsigned bits,
                          uint32_t rows, uint32_t channels, uint32_t height, uint32_t width,
                          const Labels &labels) {
            self.floats(view(patterns), bits, {rows, channels, height, width}, view(labels));
        }, "patterns"_a, "bits"_a, "rows"_a, "channels"_a, "height"_a, "width"_a,
             "labels"_a = nb::none(), Free(),
             "Code IEEE bit patterns of 16 or 32 bits (in uint32) without loss.")
        .def("rates", [](ContextEncoder &self, Values values, Mask mask, uint32_t rows,
                         uint32_t channels, uint32_t height, uint32_t width, unsigned states,
                         bool is_signed, Array<uint16_t> out) {
            self.rates(view(values), view(mask), {rows, channels, height, width}, states,
                       is_signed, view(out));
        }, "values"_a, "mask"_a, "rows"_a, "channels"_a, "height"_a, "width"_a, "states"_a,
             "signed"_a, "out"_a.noconvert(), Free(),
             "Code as integers() does; out[n * 26 + quantiser * 13 + k + 6] is the cost of k, in "
             "1/256 bit.")
        .def("size", &ContextEncoder::size, "Bytes so far, rounded up.")
        .def("finish", [](ContextEncoder &self) {
            const std::vector<uint8_t> payload = self.finish();
            return nb::bytes(reinterpret_cast<const char *>(payload.data()), payload.size());
        }, "The payload; the encoder is as new afterwards.");

    nb::class_<Decoder>(m, "ContextDecoder", "Inverse of ContextEncoder.")
        .def(nb::init<int, Array<const uint8_t>>(), "preset"_a, "payload"_a)
        .def("integers", [](Decoder &self, Array<int32_t> out, Mask mask, uint32_t rows,
                            uint32_t channels, uint32_t height, uint32_t width, unsigned states,
                            bool is_signed, const Labels &labels) {
            self.decoder.integers(view(out), view(mask), {rows, channels, height, width}, states,
                                  is_signed, view(labels));
        }, "out"_a.noconvert(), "mask"_a, "rows"_a, "channels"_a, "height"_a, "width"_a,
             "states"_a, "signed"_a, "labels"_a = nb::none(), Free(),
             "Decode into int32 values.")
        .def("floats", [](Decoder &self, Array<uint32_t> out, unsigned bits, uint32_t rows,
                          uint32_t channels, uint32_t height, uint32_t width,
                          const Labels &labels) {
            self.decoder.floats(view(out), bits, {rows, channels, height, width}, view(labels));
        }, "out"_a.noconvert(), "bits"_a, "rows"_a, "channels"_a, "height"_a, "width"_a,
             "labels"_a = nb::none(), Free(), "Decode into IEEE bit patterns.")
        .def("position", [](Decoder &self) { return self.decoder.position(); },
             "The encoder's size() at the same place.")
        .def("finish", [](Decoder &self) { self.decoder.finish(); },
             "ValueError unless the payload is exactly what the encoder would have written.");
}
