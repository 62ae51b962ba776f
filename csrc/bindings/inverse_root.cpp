#include "bindings/inverse_root.h"

namespace kronla::bindings {
namespace {

struct CpuRoots {
  explicit CpuRoots(const Tensor&) {}
  static bool has_polynomials(int64_t r) { return has_root_polynomials(r); }
  static bool has_quadrature(double p) { return has_root_quadrature(p); }
  template <class T>
  void inverse_root(const std::vector<RootGroup<T>>& groups, const RootOptions& options) {
    kronla::inverse_root(groups, options, torch_threads());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kronla, m) {
  // method: RootMethod (a number: str arguments leak in the stable ABI of torch 2.10 to 2.13).
  m.def(
      "inverse_root(Tensor A, Tensor? fallback, int method, float p, int r, int s, float damping, "
      "float relative_damping, float rtol, int max_steps) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "foreach_inverse_root(Tensor[] As, Tensor?[] fallbacks, int[] methods, float p, int r, int s, float damping, "
      "float relative_damping, float rtol, int max_steps) -> (Tensor[], Tensor[], Tensor[], Tensor[])");
}

STABLE_TORCH_LIBRARY_IMPL(kronla, CPU, m) { RootOps<CpuRoots>::register_in(m); }

}  // namespace kronla::bindings
