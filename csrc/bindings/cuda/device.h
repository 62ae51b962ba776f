// The device, the current stream and scratch memory of one call, as torch has them.
#pragma once

#include <torch/csrc/stable/accelerator.h>

#include "bindings/tensors.h"
#include "kernels/cuda/stream.h"

namespace kronla::bindings {

// Makes the device of a tensor current as long as it lives. Scratch memory comes from torch's caching allocator: given
// back at the end of the call, it is used again only by work that is enqueued behind this on the same stream.
class CudaCall {
 public:
  explicit CudaCall(const Tensor& tensor) : like_(tensor), guard_(tensor.get_device_index()) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &handle_));
  }
  CudaCall(const CudaCall&) = delete;
  CudaCall& operator=(const CudaCall&) = delete;

  cuda::Stream stream() { return {handle_, &allocate, this}; }

 private:
  static void* allocate(void* context, size_t bytes) {
    auto* call = static_cast<CudaCall*>(context);
    call->scratch_.push_back(empty(call->like_, {static_cast<int64_t>(bytes)}, TorchType::Byte));
    return call->scratch_.back().mutable_data_ptr();
  }

  Tensor like_;
  torch::stable::accelerator::DeviceGuard guard_;
  void* handle_ = nullptr;
  std::vector<Tensor> scratch_;
};

}  // namespace kronla::bindings
