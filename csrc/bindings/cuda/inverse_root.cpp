#include "kernels/cuda/inverse_root.h"

#include "bindings/cuda/device.h"
#include "bindings/inverse_root.h"

namespace kronla::bindings {
namespace {

struct CudaRoots : CudaCall {
  using CudaCall::CudaCall;
  static bool has_polynomials(int64_t r) { return cuda::has_root_polynomials(r); }
  static bool has_quadrature(double) { return false; }
  template <class T>
  void inverse_root(const std::vector<RootGroup<T>>& groups, const RootOptions& options) {
    cuda::inverse_root(groups, options, stream());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kronla, CUDA, m) { RootOps<CudaRoots>::register_in(m); }

}  // namespace kronla::bindings
