// Python's module `sterna._native`. Its functions take and return arrays, and release the GIL while kernels run.
#include "module.hpp"

NB_MODULE(_native, m) {
    // Daemon threads that still generate at exit keep their models alive. nanobind would warn of a leak that users
    // cannot fix.
    nanobind::set_leak_warnings(false);
    m.doc() = "Sterna's native engine.";
    sterna::bind_machine(m);
    sterna::bind_encodings(m);
    sterna::bind_sampling(m);
    sterna::bind_model(m);
    sterna::bind_matrix(m);
}
