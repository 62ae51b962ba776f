#include "kernels/cuda/apply.h"

#include "bindings/apply.h"
#include "bindings/cuda/device.h"

namespace kronla::bindings {
namespace {

struct CudaApply : CudaCall {
  using CudaCall::CudaCall;
  template <class T>
  void apply_modes(const std::vector<ApplyGroup<T>>& groups) {
    cuda::apply_modes(groups, stream());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kronla, CUDA, m) { ApplyOps<CudaApply>::register_in(m); }

}  // namespace kronla::bindings
