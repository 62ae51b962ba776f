// The ops of family `apply` for any backend: what they are given becomes the groups of kernels/apply.h.
//
// A Backend is made for the device of a tensor and has `apply_modes(groups)`.
#pragma once

#include "bindings/tensors.h"
#include "kernels/apply.h"

namespace kronla::bindings {

template <class Backend>
class ApplyOps {
  using Tensors = std::vector<Tensor>;
  using Indices = std::vector<int64_t>;

  // A matrix on one dimension (`mode`) of a tensor.
  struct Mode {
    Tensor M;
    int64_t mode;
    bool transposed;
  };

  // Each tensor with its matrices, of which it has at least one.
  template <class T>
  static Tensors run(const Tensors& Gs, const std::vector<std::vector<Mode>>& modes_of, TorchType type) {
    Tensors alive, results;
    std::vector<ApplyGroup<T>> groups;
    for (size_t i = 0; i < Gs.size(); ++i) {
      STD_TORCH_CHECK(!modes_of[i].empty(), "kronla: a tensor without matrices");
      const Shape batch = batch_shape(modes_of[i][0].M, 2), all = shape_of(Gs[i]);
      STD_TORCH_CHECK(all.size() >= batch.size() && std::equal(batch.begin(), batch.end(), all.begin()),
                      "kronla: batch dimensions differ");
      ApplyGroup<T> group;
      group.batch = product(batch, 0, batch.size());
      group.dims.assign(all.begin() + batch.size(), all.end());
      Shape result = all;
      std::vector<bool> seen(group.dims.size(), false);
      for (const Mode& mode : modes_of[i]) {
        STD_TORCH_CHECK(mode.mode >= 0 && mode.mode < static_cast<int64_t>(group.dims.size()) && !seen[mode.mode],
                        "kronla: a mode out of range or given twice");
        seen[mode.mode] = true;
        const int64_t rows = mode.M.size(mode.transposed ? -1 : -2), cols = group.dims[mode.mode];
        alive.push_back(
            input(mode.M, mode.transposed ? joined(batch, {cols, rows}) : joined(batch, {rows, cols}), type));
        group.factors.push_back({mode.mode, rows, data<T>(alive.back()), mode.transposed});
        result[batch.size() + mode.mode] = rows;
      }
      alive.push_back(as_contiguous(Gs[i]));
      group.G = alive.back().const_data_ptr();
      group.G_type = gradient_type(Gs[i]);
      results.push_back(empty(modes_of[i][0].M, result));
      group.out = mutable_data<T>(results.back());
      kronla::order_by_shrinkage(group);
      groups.push_back(std::move(group));
    }
    Backend(Gs[0]).apply_modes(groups);
    return results;
  }

  static Tensors run(const Tensors& Gs, const std::vector<std::vector<Mode>>& modes_of) {
    Tensors results;
    if (Gs.empty()) return results;
    STD_TORCH_CHECK(!modes_of[0].empty(), "kronla: a tensor without matrices");
    const Tensor& first = modes_of[0][0].M;
    with_accumulator(first, [&](auto zero) { results = run<decltype(zero)>(Gs, modes_of, first.scalar_type()); });
    return results;
  }

 public:
  static Tensors foreach_kron_apply(const Tensors& Ls, const Tensors& Gs, const Tensors& Rs) {
    STD_TORCH_CHECK(Ls.size() == Gs.size() && Rs.size() == Gs.size(), "kronla: lists of different lengths");
    std::vector<std::vector<Mode>> modes;
    for (size_t i = 0; i < Gs.size(); ++i) {
      STD_TORCH_CHECK(Gs[i].dim() == Ls[i].dim(), "kronla: batch dimensions differ");
      modes.push_back({{Ls[i], 0, false}, {Rs[i], 1, true}});
    }
    return run(Gs, modes);
  }

  static Tensor kron_apply(const Tensor& L, const Tensor& G, const Tensor& R) {
    return foreach_kron_apply({L}, {G}, {R})[0];
  }

  static Tensors foreach_mode_apply(const Tensors& matrices, const Indices& tensors, const Indices& modes,
                                    const Tensors& Gs) {
    STD_TORCH_CHECK(matrices.size() == tensors.size() && matrices.size() == modes.size(),
                    "kronla: lists of different lengths");
    std::vector<std::vector<Mode>> modes_of(Gs.size());
    for (size_t i = 0; i < matrices.size(); ++i) {
      STD_TORCH_CHECK(tensors[i] >= 0 && tensors[i] < static_cast<int64_t>(Gs.size()), "kronla: an index out of range");
      modes_of[tensors[i]].push_back({matrices[i], modes[i], false});
    }
    return run(Gs, modes_of);
  }

  static Tensor mode_apply(const Tensors& matrices, const Indices& modes, const Tensor& G) {
    const Indices zero(matrices.size(), 0);
    return foreach_mode_apply(matrices, zero, modes, {G})[0];
  }

  // Everything above, in the block of one device.
  template <class Library>
  static void register_in(Library& m) {
    m.impl("kron_apply", TORCH_BOX(&ApplyOps::kron_apply));
    m.impl("foreach_kron_apply", TORCH_BOX(&ApplyOps::foreach_kron_apply));
    m.impl("mode_apply", TORCH_BOX(&ApplyOps::mode_apply));
    m.impl("foreach_mode_apply", TORCH_BOX(&ApplyOps::foreach_mode_apply));
  }
};

}  // namespace kronla::bindings
