// The ops of family `eigenbasis` for any backend: what they are given becomes the groups of kernels/eigenbasis.h.
//
// A Backend is made for the device of a tensor and has `update_eigenbasis(groups, tol, max_steps)`, `eigh(groups)`,
// `off_diagonal_ratio(batch, n, A, Q, ratio)` and `orthonormalize(batch, m, n, S, Q, info)`.
#pragma once

#include "bindings/tensors.h"
#include "kernels/eigenbasis.h"

namespace kronla::bindings {

template <class Backend>
class BasisOps {
  using Tensors = std::vector<Tensor>;
  using Fields = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
  using FieldLists = std::tuple<Tensors, Tensors, Tensors, Tensors, Tensors>;

  // The descriptors of a ragged list, the results they point to, and the inputs they keep alive.
  template <class T>
  struct Bases {
    Tensors alive, Q, eigenvalues, ratio, steps, info;
    std::vector<BasisGroup<T>> groups;

    void add(const Tensor& A, const Tensor* Q_old, int64_t method, TorchType type) {
      const Shape batch = batch_shape(A, 2);
      const int64_t n = A.size(-1);
      STD_TORCH_CHECK(method >= 0 && method <= 4, "kronla: a method that does not exist");
      const Shape shape = joined(batch, {n, n});
      alive.push_back(input(A, shape, type));
      const T* A_data = data<T>(alive.back());
      const T* Q_data = nullptr;
      if (Q_old != nullptr) {
        alive.push_back(input(*Q_old, shape, type));
        Q_data = data<T>(alive.back());
      }
      Q.push_back(empty(A, shape));
      eigenvalues.push_back(empty(A, joined(batch, {n})));
      ratio.push_back(empty(A, batch));
      steps.push_back(empty(A, batch, TorchType::Int));
      info.push_back(empty(A, batch, TorchType::Int));
      groups.push_back({product(batch, 0, batch.size()), n, A_data, Q_data, static_cast<BasisMethod>(method),
                        mutable_data<T>(Q.back()), mutable_data<T>(eigenvalues.back()), mutable_data<T>(ratio.back()),
                        mutable_data<int32_t>(steps.back()), mutable_data<int32_t>(info.back())});
    }

    FieldLists fields() && {
      return {std::move(Q), std::move(eigenvalues), std::move(ratio), std::move(steps), std::move(info)};
    }
  };

  static Fields first(const FieldLists& lists) {
    return {std::get<0>(lists)[0], std::get<1>(lists)[0], std::get<2>(lists)[0], std::get<3>(lists)[0],
            std::get<4>(lists)[0]};
  }

 public:
  static FieldLists foreach_update_eigenbasis(const Tensors& As, const Tensors& Qs, const std::vector<int64_t>& methods,
                                              double tol, int64_t max_steps) {
    STD_TORCH_CHECK(As.size() == Qs.size() && As.size() == methods.size(), "kronla: lists of different lengths");
    FieldLists fields;
    if (As.empty()) return fields;
    with_accumulator(As[0], [&](auto zero) {
      Bases<decltype(zero)> bases;
      for (size_t i = 0; i < As.size(); ++i) bases.add(As[i], &Qs[i], methods[i], As[0].scalar_type());
      Backend(As[0]).update_eigenbasis(bases.groups, tol, max_steps);
      fields = std::move(bases).fields();
    });
    return fields;
  }

  static FieldLists foreach_eigh(const Tensors& As) {
    FieldLists fields;
    if (As.empty()) return fields;
    with_accumulator(As[0], [&](auto zero) {
      Bases<decltype(zero)> bases;
      for (const Tensor& A : As) bases.add(A, nullptr, 0, As[0].scalar_type());
      Backend(As[0]).eigh(bases.groups);
      fields = std::move(bases).fields();
    });
    return fields;
  }

  static Fields update_eigenbasis(const Tensor& A, const Tensor& Q, int64_t method, double tol, int64_t max_steps) {
    return first(foreach_update_eigenbasis({A}, {Q}, {method}, tol, max_steps));
  }

  static Fields eigh(const Tensor& A) { return first(foreach_eigh({A})); }

  static Tensor off_diagonal_ratio(const Tensor& A, const Tensor& Q) {
    const Shape batch = batch_shape(A, 2);
    const int64_t n = A.size(-1);
    const Tensor A_in = input(A, joined(batch, {n, n})), Q_in = input(Q, joined(batch, {n, n}), A.scalar_type());
    const Tensor ratio = empty(A, batch);
    with_accumulator(A, [&](auto zero) {
      using T = decltype(zero);
      Backend(A).off_diagonal_ratio(batch_size(A, 2), n, data<T>(A_in), data<T>(Q_in), mutable_data<T>(ratio));
    });
    return ratio;
  }

  static std::tuple<Tensor, Tensor> orthonormalize(const Tensor& S) {
    const Shape batch = batch_shape(S, 2);
    const int64_t m = S.size(-2), n = S.size(-1);
    STD_TORCH_CHECK(m >= n, "kronla: more columns than rows");
    const Tensor in = as_contiguous(S), Q = empty(S, shape_of(S)), info = empty(S, batch, TorchType::Int);
    with_accumulator(S, [&](auto zero) {
      using T = decltype(zero);
      Backend(S).orthonormalize(batch_size(S, 2), m, n, data<T>(in), mutable_data<T>(Q), mutable_data<int32_t>(info));
    });
    return {Q, info};
  }

  // Everything above, in the block of one device.
  template <class Library>
  static void register_in(Library& m) {
    m.impl("update_eigenbasis", TORCH_BOX(&BasisOps::update_eigenbasis));
    m.impl("foreach_update_eigenbasis", TORCH_BOX(&BasisOps::foreach_update_eigenbasis));
    m.impl("eigh", TORCH_BOX(&BasisOps::eigh));
    m.impl("foreach_eigh", TORCH_BOX(&BasisOps::foreach_eigh));
    m.impl("off_diagonal_ratio", TORCH_BOX(&BasisOps::off_diagonal_ratio));
    m.impl("orthonormalize", TORCH_BOX(&BasisOps::orthonormalize));
  }
};

}  // namespace kronla::bindings
