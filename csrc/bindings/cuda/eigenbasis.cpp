#include "kernels/cuda/eigenbasis.h"

#include "bindings/cuda/device.h"
#include "bindings/eigenbasis.h"

namespace kronla::bindings {
namespace {

struct CudaBasis : CudaCall {
  using CudaCall::CudaCall;
  template <class T>
  void update_eigenbasis(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps) {
    cuda::update_eigenbasis(groups, tol, max_steps, stream());
  }
  template <class T>
  void eigh(const std::vector<BasisGroup<T>>& groups) {
    cuda::eigh(groups, stream());
  }
  template <class T>
  void off_diagonal_ratio(int64_t batch, int64_t n, const T* A, const T* Q, T* ratio) {
    cuda::off_diagonal_ratio(batch, n, A, Q, ratio, stream());
  }
  template <class T>
  void orthonormalize(int64_t batch, int64_t m, int64_t n, const T* S, T* Q, int32_t* info) {
    cuda::orthonormalize(batch, m, n, S, Q, info, stream());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kronla, CUDA, m) { BasisOps<CudaBasis>::register_in(m); }

}  // namespace kronla::bindings
