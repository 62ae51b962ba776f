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
}
inline void to_host(void* target, const void* source, size_t bytes) {
  cuda::check(cudaMemcpy(target, source, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
}
inline void in_every_order(const std::function<void()>& body) { body(); }
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

// The default stream, and scratch memory that lasts as long as this. Scratch is filled with NaN.
class TestStream {
 public:
  operator cuda::Stream() { return {nullptr, &allocate, this}; }

 private:
  static void* allocate(void* context, size_t bytes) {
    auto& arrays = static_cast<TestStream*>(context)->scratch_;
    arrays.push_back(std::make_unique<DeviceArray<unsigned char>>(std::vector<unsigned char>(bytes, 0xFF)));
    return arrays.back()->data();
  }
  std::vector<std::unique_ptr<DeviceArray<unsigned char>>> scratch_;
};

}  // namespace kronla::testing
