#include "bindings/factors.h"

namespace kronla::bindings {
namespace {

struct CpuFactors {
  explicit CpuFactors(const Tensor&) {}
  template <class T>
  void update_factors(const std::vector<FactorGroup<T>>& groups, double beta, double alpha) {
    kronla::update_factors(groups, beta, alpha, torch_threads());
  }
  template <class T>
  void kron_power_step(const PowerStep<T>& step) {
    kronla::kron_power_step(step, torch_threads());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kronla, m) {
  m.def(
      "update_factors_(Tensor(a!)? L, Tensor(b!)? R, Tensor G, float beta, float alpha, Tensor? WL, Tensor? WR) -> ()");
  // Per factor: which gradient it sums, along which dimension, with which weight (-1: none).
  m.def(
      "foreach_update_factors_(Tensor(a!)[] factors, Tensor[] Gs, int[] gradients, int[] modes, Tensor[] weights, "
      "int[] weights_of, float beta, float alpha) -> ()");
  m.def("update_mode_factors_(Tensor(a!)[] factors, Tensor G, int[] modes, float beta, float alpha) -> ()");
  m.def(
      "foreach_update_mode_factors_(Tensor(a!)[] factors, Tensor[] Gs, int[] gradients, int[] modes, float beta, "
      "float alpha) -> ()");
  m.def("kron_power_step(Tensor G, Tensor L, Tensor R) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(kronla, CPU, m) { FactorOps<CpuFactors>::register_in(m); }

}  // namespace kronla::bindings
