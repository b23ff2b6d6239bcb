// What the module has, by what it is about.
#pragma once

#include <nanobind/nanobind.h>

namespace sterna {

void bind_machine(nanobind::module_& m);
void bind_encodings(nanobind::module_& m);
void bind_sampling(nanobind::module_& m);
void bind_model(nanobind::module_& m);
void bind_matrix(nanobind::module_& m);

}  // namespace sterna
