// The ops of family `inverse_root` for any backend: what they are given becomes the groups of kernels/inverse_root.h.
//
// A Backend is made for the device of a tensor and has `inverse_root(groups, options)`; statically `has_polynomials(r)` and
// `has_quadrature(p)`.
#pragma once

#include "bindings/tensors.h"
#include "kernels/inverse_root.h"

namespace kronla::bindings {

template <class Backend>
class RootOps {
  using Tensors = std::vector<Tensor>;
  using OptionalTensors = std::vector<std::optional<Tensor>>;

  struct Roots {
    Tensors X, residual, steps, info;
  };

  template <class T>
  static Roots run(const Tensors& As, const OptionalTensors& fallbacks, const std::vector<int64_t>& methods,
                   const RootOptions& options, TorchType type) {
    Roots roots;
    Tensors alive;
    std::vector<RootGroup<T>> groups;
    for (size_t i = 0; i < As.size(); ++i) {
      const Shape batch = batch_shape(As[i], 2);
      const int64_t n = As[i].size(-1);
      STD_TORCH_CHECK(methods[i] == 0 || (methods[i] == 1 && Backend::has_polynomials(options.r) && options.s >= 1) ||
                          ((methods[i] == 2 || methods[i] == 3) && Backend::has_quadrature(options.p)),
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
    Backend(As[0]).inverse_root(groups, options);
    return roots;
  }

 public:
  static std::tuple<Tensors, Tensors, Tensors, Tensors> foreach_inverse_root(
      const Tensors& As, const OptionalTensors& fallbacks, const std::vector<int64_t>& methods, double p, int64_t r,
      int64_t s, double damping, double relative_damping, double rtol, int64_t max_steps) {
    STD_TORCH_CHECK(As.size() == fallbacks.size() && As.size() == methods.size(), "kronla: lists of different lengths");
    Roots roots;
    if (!As.empty()) {
      const RootOptions options{p, r, s, damping, relative_damping, rtol, max_steps};
      with_accumulator(
          As[0], [&](auto zero) { roots = run<decltype(zero)>(As, fallbacks, methods, options, As[0].scalar_type()); });
    }
    return {std::move(roots.X), std::move(roots.residual), std::move(roots.steps), std::move(roots.info)};
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor> inverse_root(const Tensor& A, const std::optional<Tensor>& fallback,
                                                                 int64_t method, double p, int64_t r, int64_t s,
                                                                 double damping, double relative_damping, double rtol,
                                                                 int64_t max_steps) {
    const auto [X, residual, steps, info] =
        foreach_inverse_root({A}, {fallback}, {method}, p, r, s, damping, relative_damping, rtol, max_steps);
    return {X[0], residual[0], steps[0], info[0]};
  }

  // Everything above, in the block of one device.
  template <class Library>
  static void register_in(Library& m) {
    m.impl("inverse_root", TORCH_BOX(&RootOps::inverse_root));
    m.impl("foreach_inverse_root", TORCH_BOX(&RootOps::foreach_inverse_root));
  }
};

}  // namespace kronla::bindings
