// kronla._cuda: loading it registers the CUDA kernels of torch.ops.kronla; kronla._C, with the schemas, must be there.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>

#include <string>

#include "kernels/cuda/solver.h"

// By setup.py: compute capabilities, an underscore between two.
#define KRONLA_TEXT_OF(x) #x
#define KRONLA_TEXT(x) KRONLA_TEXT_OF(x)

namespace {

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

pybind11::dict build_info() {
  pybind11::dict info;
  info["cuda_compiled"] = version(CUDART_VERSION);  // the toolkit that compiled it
  info["cuda_architectures"] = KRONLA_TEXT(KRONLA_CUDA_ARCHITECTURES);
  int runtime = 0;
  if (cudaRuntimeGetVersion(&runtime) == cudaSuccess) info["cuda_runtime"] = version(runtime);
  info["cusolver"] = kronla::cuda::solver_version();  // what eigh beyond its own kernel asks; empty where there is none
  return info;
}

}  // namespace

PYBIND11_MODULE(_cuda, m) { m.def("build_info", &build_info, "What the CUDA kernels were built with, as a dict."); }
