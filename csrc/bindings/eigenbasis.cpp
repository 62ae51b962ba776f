#include "bindings/eigenbasis.h"

namespace kronla::bindings {
namespace {

struct CpuBasis {
  explicit CpuBasis(const Tensor&) {}
  template <class T>
  void update_eigenbasis(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps) {
    kronla::update_eigenbasis(groups, tol, max_steps, torch_threads());
  }
  template <class T>
  void eigh(const std::vector<BasisGroup<T>>& groups) {
    kronla::eigh(groups, torch_threads());
  }
  template <class T>
  void off_diagonal_ratio(int64_t batch, int64_t n, const T* A, const T* Q, T* ratio) {
    kronla::off_diagonal_ratio(batch, n, A, Q, ratio, torch_threads());
  }
  template <class T>
  void orthonormalize(int64_t batch, int64_t m, int64_t n, const T* S, T* Q, int32_t* info) {
    kronla::orthonormalize(batch, m, n, S, Q, info, torch_threads());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kronla, m) {
  // method: 0 automatic, 1 rotation, 2 qr, 3 eigh (BasisMethod).
  m.def(
      "update_eigenbasis(Tensor A, Tensor Q, int method, float tol, int max_steps) -> "
      "(Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "foreach_update_eigenbasis(Tensor[] As, Tensor[] Qs, int[] methods, float tol, int max_steps) -> "
      "(Tensor[], Tensor[], Tensor[], Tensor[], Tensor[])");
  m.def("eigh(Tensor A) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("foreach_eigh(Tensor[] As) -> (Tensor[], Tensor[], Tensor[], Tensor[], Tensor[])");
  m.def("off_diagonal_ratio(Tensor A, Tensor Q) -> Tensor");
  m.def("orthonormalize(Tensor S) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(kronla, CPU, m) { BasisOps<CpuBasis>::register_in(m); }

}  // namespace kronla::bindings
