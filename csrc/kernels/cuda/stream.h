// What a CUDA launcher asks of its caller: a stream, and scratch memory on its device. No CUDA or torch header.
#pragma once

#include <cstddef>

namespace kronla::cuda {

// Launchers only enqueue work on `handle`: they never wait for the device, so they may be captured in a CUDA graph.
// `allocate(context, bytes)` gives device memory, aligned to 256 bytes and good for all work enqueued on this stream
// before the caller gets it back; it throws where there is none.
struct Stream {
  void* handle = nullptr;  // a cudaStream_t of the current device
  void* (*allocate)(void* context, size_t bytes) = nullptr;
  void* context = nullptr;

  template <class T>
  T* take(size_t count) const {
    return count == 0 ? nullptr : static_cast<T*>(allocate(context, count * sizeof(T)));
  }
};

}  // namespace kronla::cuda
