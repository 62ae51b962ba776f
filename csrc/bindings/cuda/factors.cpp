#include "kernels/cuda/factors.h"

#include "bindings/cuda/device.h"
#include "bindings/factors.h"

namespace kronla::bindings {
namespace {

struct CudaFactors : CudaCall {
  using CudaCall::CudaCall;
  template <class T>
  void update_factors(const std::vector<FactorGroup<T>>& groups, double beta, double alpha) {
    cuda::update_factors(groups, beta, alpha, stream());
  }
  template <class T>
  void kron_power_step(const PowerStep<T>& step) {
    cuda::kron_power_step(step, stream());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kronla, CUDA, m) { FactorOps<CudaFactors>::register_in(m); }

}  // namespace kronla::bindings
