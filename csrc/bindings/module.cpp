// kronla._C: loading it registers torch.ops.kronla; it also tells what was built.
#include <pybind11/pybind11.h>

#include <string>

#include "kernels/cpu/simd/instruction_set.h"

namespace {

pybind11::dict build_info() {
  pybind11::dict info;
  info["isa"] = kronla::instruction_set();  // in use
  info["compiler"] = std::string(__VERSION__);
  info["torch_target"] = "2.10";  // the stable ABI that the binary asks for
  info["cuda"] = false;
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  kronla::instruction_set();  // a wrong KRONLA_ISA is an ImportError, not a failure in the middle of a call
  m.def("build_info", &build_info, "What was built, as a dict.");
}
