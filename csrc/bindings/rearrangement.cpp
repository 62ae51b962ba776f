#include "bindings/rearrangement.h"

namespace kronla::bindings {
namespace {

struct CpuRearrangement {
  explicit CpuRearrangement(const Tensor&) {}
  template <class T>
  void rearrange(int64_t batch, int64_t m, int64_t n, const T* H, T* rearranged) {
    kronla::rearrange(batch, m, n, H, rearranged, torch_threads());
  }
  template <class T>
  void unrearrange(int64_t batch, int64_t m, int64_t n, const T* rearranged, T* H) {
    kronla::unrearrange(batch, m, n, rearranged, H, torch_threads());
  }
  template <class T>
  void rearranged_matvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* R, T* L) {
    kronla::rearranged_matvec(batch, m, n, H, R, L, torch_threads());
  }
  template <class T>
  void rearranged_rmatvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* L, T* R) {
    kronla::rearranged_rmatvec(batch, m, n, H, L, R, torch_threads());
  }
  template <class T>
  void nearest_kronecker(const NearestKronecker<T>& result, const T* H, int64_t steps) {
    kronla::nearest_kronecker(result, H, steps, torch_threads());
  }
  template <class T>
  void nearest_kronecker_from_gradients(const NearestKronecker<T>& result, int64_t samples, const void* G,
                                        ScalarType G_type, int64_t steps) {
    kronla::nearest_kronecker_from_gradients(result, samples, G, G_type, steps, torch_threads());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kronla, m) {
  m.def("rearrange(Tensor H, int m, int n) -> Tensor");
  m.def("unrearrange(Tensor M, int m, int n) -> Tensor");
  m.def("rearranged_matvec(Tensor H, Tensor R, int m) -> Tensor");
  m.def("rearranged_rmatvec(Tensor H, Tensor L, int n) -> Tensor");
  m.def("nearest_kronecker(Tensor H, Tensor L, Tensor R, int steps) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "nearest_kronecker_from_gradients(Tensor G, Tensor L, Tensor R, int steps) -> "
      "(Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(kronla, CPU, m) { RearrangementOps<CpuRearrangement>::register_in(m); }

}  // namespace kronla::bindings
