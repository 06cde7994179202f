// The extension module reticule._native: entropy coders and engine kernels.

#include <nanobind/nanobind.h>

void bind_coders(nanobind::module_ &m);
void bind_context(nanobind::module_ &m);
void bind_kernels(nanobind::module_ &m);
void bind_trellis(nanobind::module_ &m);

NB_MODULE(_native, m) {
    m.doc() = "Entropy coders and engine kernels";
    bind_coders(m);
    bind_context(m);
    bind_kernels(m);
    bind_trellis(m);
}
