// kronla._C: loading it registers torch.ops.kronla; it also tells what was built.
#include <pybind11/pybind11.h>

#include <string>

#include "kernels/cpu/blas.h"

namespace {

std::string instruction_set() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return "AVX-512";
  if (__builtin_cpu_supports("avx2")) return "AVX2";
  return "x86-64";
#else
  return "portable";
#endif
}

pybind11::dict build_info() {
  pybind11::dict info;
  info["blas_config"] = kronla::blas::config();
  info["blas_core"] = kronla::blas::core_name();
  info["isa"] = instruction_set();  // of this machine
  info["compiler"] = std::string(__VERSION__);
  info["torch_target"] = "2.10";  // the stable ABI that the binary asks for
  info["cuda"] = false;
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) { m.def("build_info", &build_info, "What was built, and the BLAS in use, as a dict."); }
