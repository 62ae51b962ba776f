#include "kernels/eigenbasis.h"

#include "bindings/tensors.h"

namespace kronla::bindings {
namespace {

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
    STD_TORCH_CHECK(method >= 0 && method <= 3, "kronla: a method that does not exist");
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

  FieldLists fields() const { return {Q, eigenvalues, ratio, steps, info}; }
};

FieldLists foreach_update_eigenbasis(Tensors As, Tensors Qs, std::vector<int64_t> methods, double tol,
                                     int64_t max_steps) {
  STD_TORCH_CHECK(As.size() == Qs.size() && As.size() == methods.size(), "kronla: lists of different lengths");
  FieldLists fields;
  if (As.empty()) return fields;
  with_accumulator(As[0], [&](auto zero) {
    Bases<decltype(zero)> bases;
    for (size_t i = 0; i < As.size(); ++i) bases.add(As[i], &Qs[i], methods[i], As[0].scalar_type());
    kronla::update_eigenbasis(bases.groups, tol, max_steps, torch_threads());
    fields = bases.fields();
  });
  return fields;
}

FieldLists foreach_eigh(Tensors As) {
  FieldLists fields;
  if (As.empty()) return fields;
  with_accumulator(As[0], [&](auto zero) {
    Bases<decltype(zero)> bases;
    for (const Tensor& A : As) bases.add(A, nullptr, 0, As[0].scalar_type());
    kronla::eigh(bases.groups, torch_threads());
    fields = bases.fields();
  });
  return fields;
}

Fields first(const FieldLists& lists) {
  return {std::get<0>(lists)[0], std::get<1>(lists)[0], std::get<2>(lists)[0], std::get<3>(lists)[0],
          std::get<4>(lists)[0]};
}

Fields update_eigenbasis(Tensor A, Tensor Q, int64_t method, double tol, int64_t max_steps) {
  return first(foreach_update_eigenbasis({A}, {Q}, {method}, tol, max_steps));
}

Fields eigh(Tensor A) { return first(foreach_eigh({A})); }

Tensor off_diagonal_ratio(Tensor A, Tensor Q) {
  const Shape batch = batch_shape(A, 2);
  const int64_t n = A.size(-1);
  const Tensor A_in = input(A, joined(batch, {n, n})), Q_in = input(Q, joined(batch, {n, n}), A.scalar_type());
  const Tensor ratio = empty(A, batch);
  with_accumulator(A, [&](auto zero) {
    using T = decltype(zero);
    kronla::off_diagonal_ratio(batch_size(A, 2), n, data<T>(A_in), data<T>(Q_in), mutable_data<T>(ratio),
                               torch_threads());
  });
  return ratio;
}

std::tuple<Tensor, Tensor> orthonormalize(Tensor S) {
  const Shape batch = batch_shape(S, 2);
  const int64_t m = S.size(-2), n = S.size(-1);
  STD_TORCH_CHECK(m >= n, "kronla: more columns than rows");
  const Tensor in = torch::stable::contiguous(S), Q = empty(S, shape_of(S)), info = empty(S, batch, TorchType::Int);
  with_accumulator(S, [&](auto zero) {
    using T = decltype(zero);
    kronla::orthonormalize(batch_size(S, 2), m, n, data<T>(in), mutable_data<T>(Q), mutable_data<int32_t>(info),
                           torch_threads());
  });
  return {Q, info};
}

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

STABLE_TORCH_LIBRARY_IMPL(kronla, CPU, m) {
  m.impl("update_eigenbasis", TORCH_BOX(&update_eigenbasis));
  m.impl("foreach_update_eigenbasis", TORCH_BOX(&foreach_update_eigenbasis));
  m.impl("eigh", TORCH_BOX(&eigh));
  m.impl("foreach_eigh", TORCH_BOX(&foreach_eigh));
  m.impl("off_diagonal_ratio", TORCH_BOX(&off_diagonal_ratio));
  m.impl("orthonormalize", TORCH_BOX(&orthonormalize));
}

}  // namespace kronla::bindings
