#include "kernels/cuda/rearrangement.h"

#include "bindings/cuda/device.h"
#include "bindings/rearrangement.h"

namespace kronla::bindings {
namespace {

struct CudaRearrangement : CudaCall {
  using CudaCall::CudaCall;
  template <class T>
  void rearrange(int64_t batch, int64_t m, int64_t n, const T* H, T* rearranged) {
    cuda::rearrange(batch, m, n, H, rearranged, stream());
  }
  template <class T>
  void unrearrange(int64_t batch, int64_t m, int64_t n, const T* rearranged, T* H) {
    cuda::unrearrange(batch, m, n, rearranged, H, stream());
  }
  template <class T>
  void rearranged_matvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* R, T* L) {
    cuda::rearranged_matvec(batch, m, n, H, R, L, stream());
  }
  template <class T>
  void rearranged_rmatvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* L, T* R) {
    cuda::rearranged_rmatvec(batch, m, n, H, L, R, stream());
  }
  template <class T>
  void nearest_kronecker(const NearestKronecker<T>& result, const T* H, int64_t steps) {
    cuda::nearest_kronecker(result, H, steps, stream());
  }
  template <class T>
  void nearest_kronecker_from_gradients(const NearestKronecker<T>& result, int64_t samples, const void* G,
                                        ScalarType G_type, int64_t steps) {
    cuda::nearest_kronecker_from_gradients(result, samples, G, G_type, steps, stream());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kronla, CUDA, m) { RearrangementOps<CudaRearrangement>::register_in(m); }

}  // namespace kronla::bindings
