// The ops of family `factors` for any backend: what they are given becomes the groups of kernels/factors.h.
//
// A Backend is made for the device of a tensor and has `update_factors(groups, beta, alpha)` and `kron_power_step(step)`.
#pragma once

#include "bindings/tensors.h"
#include "kernels/factors.h"

namespace kronla::bindings {

template <class Backend>
class FactorOps {
  using Tensors = std::vector<Tensor>;
  using Indices = std::vector<int64_t>;

  // The accumulator of one dimension (`mode`) of one gradient, and its weight if it has one.
  struct Update {
    Tensor factor, G;
    int64_t mode;
    std::optional<Tensor> weight;
  };

  template <class T>
  static void run(const std::vector<Update>& updates, double beta, double alpha, TorchType type) {
    std::vector<InPlace> factors;
    Tensors alive;
    std::vector<FactorGroup<T>> groups;
    for (const Update& update : updates) {
      STD_TORCH_CHECK(update.factor.scalar_type() == type, "kronla: factors of different dtypes");
      const Shape batch = batch_shape(update.factor, 2), dims = shape_of(update.G);
      const size_t first = batch.size(), mode = first + update.mode;
      STD_TORCH_CHECK(update.mode >= 0 && mode < dims.size(), "kronla: a mode out of range");
      const int64_t dim = dims[mode], outer = product(dims, first, mode), inner = product(dims, mode + 1, dims.size());
      STD_TORCH_CHECK(std::equal(batch.begin(), batch.end(), dims.begin()), "kronla: batch dimensions differ");
      STD_TORCH_CHECK(has_shape(update.factor, joined(batch, {dim, dim})), "kronla: a factor has the wrong shape");
      factors.emplace_back(update.factor);
      alive.push_back(as_contiguous(update.G));
      FactorGroup<T> group{product(batch, 0, first),
                           outer,
                           dim,
                           inner,
                           mutable_data<T>(factors.back().work()),
                           alive.back().const_data_ptr(),
                           gradient_type(update.G),
                           nullptr};
      if (update.weight) {
        STD_TORCH_CHECK(dims.size() == first + 2, "kronla: weights are for matrices");
        alive.push_back(input(*update.weight, joined(batch, {outer * inner, outer * inner}), type));
        group.W = data<T>(alive.back());
      }
      groups.push_back(group);
    }
    Backend(updates[0].factor).update_factors(groups, beta, alpha);
    for (InPlace& factor : factors) factor.write_back();
  }

  static void run(const std::vector<Update>& updates, double beta, double alpha) {
    if (updates.empty()) return;
    with_accumulator(updates[0].factor,
                     [&](auto zero) { run<decltype(zero)>(updates, beta, alpha, updates[0].factor.scalar_type()); });
  }

 public:
  static void update_factors_(const std::optional<Tensor>& L, const std::optional<Tensor>& R, const Tensor& G,
                              double beta, double alpha, const std::optional<Tensor>& WL,
                              const std::optional<Tensor>& WR) {
    std::vector<Update> updates;
    if (L) updates.push_back({*L, G, 0, WR});
    if (R) updates.push_back({*R, G, 1, WL});
    run(updates, beta, alpha);
  }

  static void foreach_update_factors_(const Tensors& factors, const Tensors& Gs, const Indices& gradients,
                                      const Indices& modes, const Tensors& weights, const Indices& weights_of,
                                      double beta, double alpha) {
    STD_TORCH_CHECK(
        factors.size() == gradients.size() && factors.size() == modes.size() && factors.size() == weights_of.size(),
        "kronla: lists of different lengths");
    std::vector<Update> updates;
    for (size_t i = 0; i < factors.size(); ++i) {
      STD_TORCH_CHECK(gradients[i] >= 0 && gradients[i] < static_cast<int64_t>(Gs.size()) &&
                          weights_of[i] < static_cast<int64_t>(weights.size()),
                      "kronla: an index out of range");
      std::optional<Tensor> weight;
      if (weights_of[i] >= 0) weight = weights[weights_of[i]];
      updates.push_back({factors[i], Gs[gradients[i]], modes[i], weight});
    }
    run(updates, beta, alpha);
  }

  static void update_mode_factors_(const Tensors& factors, const Tensor& G, const Indices& modes, double beta,
                                   double alpha) {
    STD_TORCH_CHECK(factors.size() == modes.size(), "kronla: lists of different lengths");
    std::vector<Update> updates;
    for (size_t i = 0; i < factors.size(); ++i) updates.push_back({factors[i], G, modes[i], std::nullopt});
    run(updates, beta, alpha);
  }

  static void foreach_update_mode_factors_(const Tensors& factors, const Tensors& Gs, const Indices& gradients,
                                           const Indices& modes, double beta, double alpha) {
    const Indices none(factors.size(), -1);
    foreach_update_factors_(factors, Gs, gradients, modes, {}, none, beta, alpha);
  }

  static std::tuple<Tensor, Tensor> kron_power_step(const Tensor& G, const Tensor& L, const Tensor& R) {
    const Shape batch = batch_shape(G, 3);
    const int64_t samples = G.size(-3), m = G.size(-2), n = G.size(-1);
    STD_TORCH_CHECK(samples >= 1, "kronla: at least one sample");
    const Tensor L_in = input(L, joined(batch, {m, m})), R_in = input(R, joined(batch, {n, n}), L.scalar_type());
    const Tensor G_in = as_contiguous(G);
    const Tensor L_out = empty(L, shape_of(L)), R_out = empty(R, shape_of(R));
    with_accumulator(L, [&](auto zero) {
      using T = decltype(zero);
      Backend(L).kron_power_step(PowerStep<T>{product(batch, 0, batch.size()), samples, m, n, G_in.const_data_ptr(),
                                              gradient_type(G), data<T>(L_in), data<T>(R_in), mutable_data<T>(L_out),
                                              mutable_data<T>(R_out), nullptr});
    });
    return {L_out, R_out};
  }

  // Everything above, in the block of one device.
  template <class Library>
  static void register_in(Library& m) {
    m.impl("update_factors_", TORCH_BOX(&FactorOps::update_factors_));
    m.impl("foreach_update_factors_", TORCH_BOX(&FactorOps::foreach_update_factors_));
    m.impl("update_mode_factors_", TORCH_BOX(&FactorOps::update_mode_factors_));
    m.impl("foreach_update_mode_factors_", TORCH_BOX(&FactorOps::foreach_update_mode_factors_));
    m.impl("kron_power_step", TORCH_BOX(&FactorOps::kron_power_step));
  }
};

}  // namespace kronla::bindings
