// The ops of family `rearrangement` for any backend: what they are given becomes the calls of kernels/rearrangement.h.
//
// A Backend is made for the device of a tensor and has the functions of that header, without their last argument.
#pragma once

#include "bindings/tensors.h"
#include "kernels/rearrangement.h"

namespace kronla::bindings {

template <class Backend>
class RearrangementOps {
  using Nearest = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

  // The start, copied to where the result will be, and room for the figures.
  static Nearest start_at(const Tensor& L, const Tensor& R, const Shape& batch, int64_t m, int64_t n) {
    const Shape L_shape = joined(batch, {m, m}), R_shape = joined(batch, {n, n});
    expect(L, L_shape);
    expect(R, R_shape, L.scalar_type());
    const Tensor L_out = empty(L, L_shape), R_out = empty(R, R_shape);
    copy(L, L_out);
    copy(R, R_out);
    return {L_out, R_out, empty(L, batch), empty(L, batch), empty(L, batch, TorchType::Int)};
  }

  template <class T>
  static NearestKronecker<T> kernel_view(const Nearest& result, const Shape& batch, int64_t m, int64_t n) {
    const auto& [L, R, sigma, cosine, info] = result;
    return {product(batch, 0, batch.size()),
            m,
            n,
            mutable_data<T>(L),
            mutable_data<T>(R),
            mutable_data<T>(sigma),
            mutable_data<T>(cosine),
            mutable_data<int32_t>(info)};
  }

 public:
  static Tensor rearrange(const Tensor& H, int64_t m, int64_t n) {
    const Shape batch = batch_shape(H, 2);
    const Tensor in = input(H, joined(batch, {m * n, m * n})), out = empty(H, joined(batch, {m * m, n * n}));
    with_accumulator(H, [&](auto zero) {
      using T = decltype(zero);
      Backend(H).rearrange(batch_size(H, 2), m, n, data<T>(in), mutable_data<T>(out));
    });
    return out;
  }

  static Tensor unrearrange(const Tensor& M, int64_t m, int64_t n) {
    const Shape batch = batch_shape(M, 2);
    const Tensor in = input(M, joined(batch, {m * m, n * n})), out = empty(M, joined(batch, {m * n, m * n}));
    with_accumulator(M, [&](auto zero) {
      using T = decltype(zero);
      Backend(M).unrearrange(batch_size(M, 2), m, n, data<T>(in), mutable_data<T>(out));
    });
    return out;
  }

  static Tensor rearranged_matvec(const Tensor& H, const Tensor& R, int64_t m) {
    const Shape batch = batch_shape(H, 2);
    const int64_t n = R.size(-1);
    const Tensor H_in = input(H, joined(batch, {m * n, m * n}));
    const Tensor R_in = input(R, joined(batch, {n, n}), H.scalar_type()), out = empty(H, joined(batch, {m, m}));
    with_accumulator(H, [&](auto zero) {
      using T = decltype(zero);
      Backend(H).rearranged_matvec(batch_size(H, 2), m, n, data<T>(H_in), data<T>(R_in), mutable_data<T>(out));
    });
    return out;
  }

  static Tensor rearranged_rmatvec(const Tensor& H, const Tensor& L, int64_t n) {
    const Shape batch = batch_shape(H, 2);
    const int64_t m = L.size(-1);
    const Tensor H_in = input(H, joined(batch, {m * n, m * n}));
    const Tensor L_in = input(L, joined(batch, {m, m}), H.scalar_type()), out = empty(H, joined(batch, {n, n}));
    with_accumulator(H, [&](auto zero) {
      using T = decltype(zero);
      Backend(H).rearranged_rmatvec(batch_size(H, 2), m, n, data<T>(H_in), data<T>(L_in), mutable_data<T>(out));
    });
    return out;
  }

  static Nearest nearest_kronecker(const Tensor& H, const Tensor& L, const Tensor& R, int64_t steps) {
    const Shape batch = batch_shape(H, 2);
    const int64_t m = L.size(-1), n = R.size(-1);
    const Tensor H_in = input(H, joined(batch, {m * n, m * n}), L.scalar_type());
    const Nearest result = start_at(L, R, batch, m, n);
    with_accumulator(H, [&](auto zero) {
      using T = decltype(zero);
      Backend(H).nearest_kronecker(kernel_view<T>(result, batch, m, n), data<T>(H_in), steps);
    });
    return result;
  }

  static Nearest nearest_kronecker_from_gradients(const Tensor& G, const Tensor& L, const Tensor& R, int64_t steps) {
    const Shape batch = batch_shape(G, 3);
    const int64_t samples = G.size(-3), m = G.size(-2), n = G.size(-1);
    STD_TORCH_CHECK(samples >= 1, "kronla: at least one sample");
    const Tensor G_in = as_contiguous(G);
    const Nearest result = start_at(L, R, batch, m, n);
    with_accumulator(L, [&](auto zero) {
      using T = decltype(zero);
      Backend(G).nearest_kronecker_from_gradients(kernel_view<T>(result, batch, m, n), samples, G_in.const_data_ptr(),
                                                  gradient_type(G), steps);
    });
    return result;
  }

  // Everything above, in the block of one device.
  template <class Library>
  static void register_in(Library& m) {
    m.impl("rearrange", TORCH_BOX(&RearrangementOps::rearrange));
    m.impl("unrearrange", TORCH_BOX(&RearrangementOps::unrearrange));
    m.impl("rearranged_matvec", TORCH_BOX(&RearrangementOps::rearranged_matvec));
    m.impl("rearranged_rmatvec", TORCH_BOX(&RearrangementOps::rearranged_rmatvec));
    m.impl("nearest_kronecker", TORCH_BOX(&RearrangementOps::nearest_kronecker));
    m.impl("nearest_kronecker_from_gradients", TORCH_BOX(&RearrangementOps::nearest_kronecker_from_gradients));
  }
};

}  // namespace kronla::bindings
