#include "kernels/inverse_root.h"

#include "bindings/tensors.h"

namespace kronla::bindings {
namespace {

using Tensors = std::vector<Tensor>;
using OptionalTensors = std::vector<std::optional<Tensor>>;

struct Roots {
  Tensors X, residual, steps, info;
};

template <class T>
Roots run(const Tensors& As, const OptionalTensors& fallbacks, const std::vector<int64_t>& methods,
          const RootOptions& options, TorchType type) {
  Roots roots;
  Tensors alive;
  std::vector<RootGroup<T>> groups;
  for (size_t i = 0; i < As.size(); ++i) {
    const Shape batch = batch_shape(As[i], 2);
    const int64_t n = As[i].size(-1);
    STD_TORCH_CHECK(methods[i] == 0 || (methods[i] == 1 && has_root_polynomials(options.r) && options.s >= 1),
                    "kronla: a method that does not exist");
    const Shape shape = joined(batch, {n, n});
    alive.push_back(input(As[i], shape, type));
    RootGroup<T> group{product(batch, 0, batch.size()),
                       n,
                       data<T>(alive.back()),
                       nullptr,
                       static_cast<RootMethod>(methods[i]),
                       nullptr,
                       nullptr,
                       nullptr,
                       nullptr};
    if (fallbacks[i]) {
      alive.push_back(input(*fallbacks[i], shape, type));
      group.fallback = data<T>(alive.back());
    }
    roots.X.push_back(empty(As[i], shape));
    roots.residual.push_back(empty(As[i], batch));
    roots.steps.push_back(empty(As[i], batch, TorchType::Int));
    roots.info.push_back(empty(As[i], batch, TorchType::Int));
    group.X = mutable_data<T>(roots.X.back());
    group.residual = mutable_data<T>(roots.residual.back());
    group.steps = mutable_data<int32_t>(roots.steps.back());
    group.info = mutable_data<int32_t>(roots.info.back());
    groups.push_back(group);
  }
  kronla::inverse_root(groups, options, torch_threads());
  return roots;
}

std::tuple<Tensors, Tensors, Tensors, Tensors> foreach_inverse_root(Tensors As, OptionalTensors fallbacks,
                                                                    std::vector<int64_t> methods, double p, int64_t r,
                                                                    int64_t s, double damping, double relative_damping,
                                                                    double rtol, int64_t max_steps) {
  STD_TORCH_CHECK(As.size() == fallbacks.size() && As.size() == methods.size(), "kronla: lists of different lengths");
  Roots roots;
  if (!As.empty()) {
    const RootOptions options{p, r, s, damping, relative_damping, rtol, max_steps};
    with_accumulator(
        As[0], [&](auto zero) { roots = run<decltype(zero)>(As, fallbacks, methods, options, As[0].scalar_type()); });
  }
  return {roots.X, roots.residual, roots.steps, roots.info};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> inverse_root(Tensor A, std::optional<Tensor> fallback, int64_t method,
                                                        double p, int64_t r, int64_t s, double damping,
                                                        double relative_damping, double rtol, int64_t max_steps) {
  const auto [X, residual, steps, info] =
      foreach_inverse_root({A}, {fallback}, {method}, p, r, s, damping, relative_damping, rtol, max_steps);
  return {X[0], residual[0], steps[0], info[0]};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kronla, m) {
  // method: 0 eigh, 1 polynomial with p = r/s (a number: str arguments leak in the stable ABI of torch 2.10 to 2.13).
  m.def(
      "inverse_root(Tensor A, Tensor? fallback, int method, float p, int r, int s, float damping, "
      "float relative_damping, float rtol, int max_steps) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "foreach_inverse_root(Tensor[] As, Tensor?[] fallbacks, int[] methods, float p, int r, int s, float damping, "
      "float relative_damping, float rtol, int max_steps) -> (Tensor[], Tensor[], Tensor[], Tensor[])");
}

STABLE_TORCH_LIBRARY_IMPL(kronla, CPU, m) {
  m.impl("inverse_root", TORCH_BOX(&inverse_root));
  m.impl("foreach_inverse_root", TORCH_BOX(&foreach_inverse_root));
}

}  // namespace kronla::bindings
