// What the families of the emulated module share: each file registers its functions, called once by module.cpp.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "device_memory.h"

namespace py = pybind11;

namespace kronla::emulated {

// Calls f(T{}) with the accumulator's type.
template <class F>
void with_accumulator(const py::array& array, F&& f) {
  if (array.dtype().is(py::dtype::of<float>())) return f(float{});
  if (array.dtype().is(py::dtype::of<double>())) return f(double{});
  throw py::type_error("an accumulator must be float32 or float64.");
}

void register_factors(py::module_& m);
void register_apply(py::module_& m);
void register_eigenbasis(py::module_& m);
void register_inverse_root(py::module_& m);
void register_rearrangement(py::module_& m);

}  // namespace kronla::emulated
