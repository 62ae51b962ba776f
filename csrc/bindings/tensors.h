// What every binding needs of torch, through its stable ABI: threads, types, shapes, and the checks that protect
// memory. The checks that speak to users are in Python (kronla/ops); a failed one here is a RuntimeError.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/scalar_type.h"

namespace kronla::bindings {

using torch::stable::Tensor;
using TorchType = torch::headeronly::ScalarType;
using Shape = std::vector<int64_t>;

// torch's own threads: torch.set_num_threads is obeyed, and there is no second pool.
inline Parallel torch_threads() {
  return {static_cast<int64_t>(torch::stable::get_num_threads()),
          [](int64_t workers, Parallel::Work work, void* context) {
            torch::stable::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
              for (int64_t w = begin; w < end; ++w) work(context, w);
            });
          }};
}

// Calls f(T{}) with the accumulator's type.
template <class F>
void with_accumulator(const Tensor& tensor, F&& f) {
  if (tensor.scalar_type() == TorchType::Float) return f(float{});
  if (tensor.scalar_type() == TorchType::Double) return f(double{});
  STD_TORCH_CHECK(false, "kronla: an accumulator must be float32 or float64");
}

inline ScalarType gradient_type(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case TorchType::Double:
      return ScalarType::Float64;
    case TorchType::Float:
      return ScalarType::Float32;
    case TorchType::BFloat16:
      return ScalarType::BFloat16;
    case TorchType::Half:
      return ScalarType::Float16;
    default:
      STD_TORCH_CHECK(false, "kronla: a gradient must be float64, float32, bfloat16 or float16");
  }
  return ScalarType::Float32;
}

inline Shape shape_of(const Tensor& tensor) {
  const auto sizes = tensor.sizes();
  return Shape(sizes.begin(), sizes.end());
}

inline int64_t product(const Shape& shape, size_t begin, size_t end) {
  int64_t count = 1;
  for (size_t i = begin; i < end; ++i) count *= shape[i];
  return count;
}

// The leading dimensions, all but the last `kept`, and how many matrices they hold.
inline Shape batch_shape(const Tensor& tensor, int64_t kept) {
  Shape shape = shape_of(tensor);
  STD_TORCH_CHECK(static_cast<int64_t>(shape.size()) >= kept, "kronla: a tensor has too few dimensions");
  shape.resize(shape.size() - kept);
  return shape;
}
inline int64_t batch_size(const Tensor& tensor, int64_t kept) {
  const Shape batch = batch_shape(tensor, kept);
  return product(batch, 0, batch.size());
}

inline Shape joined(const Shape& batch, std::initializer_list<int64_t> last) {
  Shape shape;
  shape.reserve(batch.size() + last.size());
  shape.assign(batch.begin(), batch.end());
  shape.insert(shape.end(), last);
  return shape;
}
inline bool has_shape(const Tensor& tensor, const Shape& shape) {
  const auto sizes = tensor.sizes();
  return std::equal(sizes.begin(), sizes.end(), shape.begin(), shape.end());
}

// What follows calls torch by its C functions: those of torch::stable look an operator up by name and box what it is
// given, which takes a microsecond, and an op has up to five results.

// Contiguous, uninitialised.
inline Tensor empty(const Tensor& like, const Shape& shape, std::optional<TorchType> type = std::nullopt) {
  Shape strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0; stride *= std::max<int64_t>(1, shape[i])) strides[i] = stride;
  int32_t dtype, device, index;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  if (type) dtype = torch::stable::detail::to<int32_t>(torch::stable::detail::from(*type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &index));
  AtenTensorHandle made;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(shape.size()), shape.data(), strides.data(),
                                                  dtype, device, index, &made));
  return Tensor(made);
}

// Itself where it is contiguous (what torch would also find, but by way of its dispatcher), else a copy.
inline Tensor as_contiguous(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

inline void copy(const Tensor& from, const Tensor& to) {
  TORCH_ERROR_CODE_CHECK(aoti_torch_copy_(to.get(), from.get(), /*non_blocking=*/0));
}

// Raises unless a tensor has the shape and (if given) the type it must have.
inline void expect(const Tensor& tensor, const Shape& shape, std::optional<TorchType> type = std::nullopt) {
  STD_TORCH_CHECK(has_shape(tensor, shape), "kronla: a tensor does not have the shape its companions ask for");
  STD_TORCH_CHECK(!type || tensor.scalar_type() == *type, "kronla: tensors of different dtypes");
}

// As expected, and contiguous; kept alive by the caller.
inline Tensor input(const Tensor& tensor, const Shape& shape, std::optional<TorchType> type = std::nullopt) {
  expect(tensor, shape, type);
  return as_contiguous(tensor);
}

template <class T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <class T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// A tensor that is updated in place: itself if contiguous, else a copy that `write_back` copies home.
class InPlace {
 public:
  explicit InPlace(const Tensor& tensor) : home_(tensor), work_(as_contiguous(tensor)) {}
  const Tensor& work() const { return work_; }
  void write_back() {
    if (!home_.is_contiguous()) copy(work_, home_);
  }

 private:
  Tensor home_, work_;
};

}  // namespace kronla::bindings
