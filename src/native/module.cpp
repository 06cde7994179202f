// The extension module reticule._native: entropy coders and engine kernels.

#include <nanobind/nanobind.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace {

// glibc keeps what was freed, in a pool for each thread; after a stage that is hundreds of MiB.
void give_back() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

}  // namespace

void bind_coders(nanobind::module_ &m);
void bind_context(nanobind::module_ &m);
void bind_kernels(nanobind::module_ &m);
void bind_trellis(nanobind::module_ &m);

NB_MODULE(_native, m) {
    m.doc() = "Entropy coders and engine kernels";
    m.def("give_back", &give_back, "Memory that is free already goes back to the system.");
    bind_coders(m);
    bind_context(m);
    bind_kernels(m);
    bind_trellis(m);
}
