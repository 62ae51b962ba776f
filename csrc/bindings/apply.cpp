#include "bindings/apply.h"

namespace kronla::bindings {
namespace {

struct CpuApply {
  explicit CpuApply(const Tensor&) {}
  template <class T>
  void apply_modes(const std::vector<ApplyGroup<T>>& groups) {
    kronla::apply_modes(groups, torch_threads());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kronla, m) {
  m.def("kron_apply(Tensor L, Tensor G, Tensor R) -> Tensor");
  m.def("foreach_kron_apply(Tensor[] Ls, Tensor[] Gs, Tensor[] Rs) -> Tensor[]");
  m.def("mode_apply(Tensor[] matrices, int[] modes, Tensor G) -> Tensor");
  // Per matrix: which tensor it multiplies, along which dimension. Each tensor has at least one.
  m.def("foreach_mode_apply(Tensor[] matrices, int[] tensors, int[] modes, Tensor[] Gs) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(kronla, CPU, m) { ApplyOps<CpuApply>::register_in(m); }

}  // namespace kronla::bindings
