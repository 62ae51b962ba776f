// Device memory and streams for tests that run on a GPU and, compiled as plain C++, on the emulator.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kernels/cuda/device/platform.cuh"
#include "kernels/cuda/stream.h"

namespace kronla::testing {

#if defined(__CUDACC__)
inline void* device_allocate(size_t bytes) {
  void* memory = nullptr;
  cuda::check(cudaMalloc(&memory, bytes), "cudaMalloc");
  return memory;
}
inline void device_free(void* memory) { cudaFree(memory); }
inline void to_device(void* target, const void* source, size_t bytes) {
  cuda::check(cudaMemcpy(target, source, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  // The last of it may still be on its way, and a stream that does not wait for the default one would overtake it.
  cuda::check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
}
inline void to_host(void* target, const void* source, size_t bytes) {
  cuda::check(cudaMemcpy(target, source, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
}
inline void in_every_order(const std::function<void()>& body) { body(); }
inline void limit_shared_memory(size_t) {}  // a device has what it has

// What body() enqueues on a stream of its own, captured once and replayed; waits for the device.
class Graph {
 public:
  Graph() { cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
  ~Graph() {
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
    cudaStreamDestroy(stream_);
  }
  void* stream() const { return stream_; }
  template <class Body>
  void capture(Body&& body) {
    cudaGraph_t captured = nullptr;
    synchronize();  // copies to the device, on the default stream, come before
    cuda::check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
    body();
    cuda::check(cudaStreamEndCapture(stream_, &captured), "cudaStreamEndCapture");
    cuda::check(cudaGraphInstantiate(&graph_, captured, 0), "cudaGraphInstantiate");
    cuda::check(cudaGraphDestroy(captured), "cudaGraphDestroy");
  }
  void replay() const {
    synchronize();
    cuda::check(cudaGraphLaunch(graph_, stream_), "cudaGraphLaunch");
    synchronize();
  }
  static void synchronize() { cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize"); }

 private:
  cudaStream_t stream_ = nullptr;
  cudaGraphExec_t graph_ = nullptr;
};
#else
// Exactly the bytes asked for, so that AddressSanitizer sees an access beyond them.
inline void* device_allocate(size_t bytes) { return ::operator new(bytes); }
inline void device_free(void* memory) { ::operator delete(memory); }
inline void to_device(void* target, const void* source, size_t bytes) { std::memcpy(target, source, bytes); }
inline void to_host(void* target, const void* source, size_t bytes) { std::memcpy(target, source, bytes); }
inline void in_every_order(const std::function<void()>& body) {
  using emulator::Order;
  for (const Order order : {Order::Forward, Order::Reverse, Order::Shuffled}) {
    emulator::settings().order = order;
    body();
  }
  emulator::settings() = {};
}
inline void limit_shared_memory(size_t bytes) { emulator::settings().shared_limit = bytes; }

class Graph : public emulator::Graph {
 public:
  void* stream() const { return nullptr; }
  static void synchronize() {}
};
#endif

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : count_(values.size()) {
    if (count_ == 0) return;
    memory_.reset(device_allocate(count_ * sizeof(T)));
    to_device(memory_.get(), values.data(), count_ * sizeof(T));
  }
  T* data() const { return static_cast<T*>(memory_.get()); }
  size_t size() const { return count_; }
  void assign(const std::vector<T>& values) {
    if (values.size() != count_) throw std::length_error("an array keeps its size");
    if (count_ > 0) to_device(memory_.get(), values.data(), count_ * sizeof(T));
  }
  std::vector<T> values() const {
    std::vector<T> result(count_);
    if (count_ > 0) to_host(result.data(), memory_.get(), count_ * sizeof(T));
    return result;
  }

 private:
  struct Free {
    void operator()(void* memory) const { device_free(memory); }
  };
  size_t count_;
  std::unique_ptr<void, Free> memory_;
};

// A stream, the default one if none is given, and scratch memory that lasts as long as this. Scratch is filled with NaN.
class TestStream {
 public:
  explicit TestStream(void* handle = nullptr) : handle_(handle) {}
  operator cuda::Stream() { return {handle_, &allocate, this}; }
  // The next calls get the same memory in the same order, with what it holds: nothing is allocated within a capture.
  void rewind() { next_ = 0; }

 private:
  using Scratch = DeviceArray<unsigned char>;
  static void* allocate(void* context, size_t bytes) {
    auto* stream = static_cast<TestStream*>(context);
    auto& arrays = stream->scratch_;
    if (stream->next_ == arrays.size())
      arrays.push_back(std::make_unique<Scratch>(std::vector<unsigned char>(bytes, 0xFF)));
    const Scratch& scratch = *arrays[stream->next_++];
    if (scratch.size() != bytes) throw std::length_error("the scratch memory of a call changes from call to call");
    return scratch.data();
  }
  void* handle_;
  size_t next_ = 0;
  std::vector<std::unique_ptr<Scratch>> scratch_;
};

}  // namespace kronla::testing
