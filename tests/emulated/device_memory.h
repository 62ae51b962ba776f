// Device memory for the emulated kernels: copies of NumPy arrays, each in an allocation of its own. With AddressSanitizer
// an access beyond it ends the process; without, zones of NaN on both sides show a write beyond it, and spoil what was
// read there.
#pragma once

#include <pybind11/numpy.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "emulator/sanitizers.h"
#include "kernels/cuda/stream.h"

namespace kronla::emulated {

class DeviceMemory {
 public:
  // What is written to `result`, if given, goes back to it in `finish`; without, it must not be written at all.
  DeviceMemory(const void* source, size_t bytes, void* result = nullptr) : bytes_(bytes), result_(result) {
    const size_t zone = emulator::kAddressSanitizer ? 0 : kZone;
    // Aligned as torch aligns on the device.
    memory_.reset(
        static_cast<unsigned char*>(std::aligned_alloc(kAlign, (bytes + 2 * zone + kAlign - 1) / kAlign * kAlign)));
    if (emulator::kAddressSanitizer)
      memory_.reset(static_cast<unsigned char*>(std::malloc(std::max<size_t>(bytes, 1))));
    if (!memory_) throw std::bad_alloc();
    begin_ = memory_.get() + zone;
    std::memset(memory_.get(), kPoison, bytes + 2 * zone);
    if (source != nullptr && bytes > 0) std::memcpy(begin_, source, bytes);
    if (source != nullptr && result == nullptr) original_.assign(begin_, begin_ + bytes);
  }
  void* data() const { return begin_; }

  void finish() const {
    if (!original_.empty() && std::memcmp(original_.data(), begin_, bytes_) != 0)
      throw std::runtime_error("an input was written.");
    const auto poisoned = [](unsigned char byte) { return byte == kPoison; };
    if (!emulator::kAddressSanitizer && !(std::all_of(memory_.get(), begin_, poisoned) &&
                                          std::all_of(begin_ + bytes_, begin_ + bytes_ + kZone, poisoned)))
      throw std::runtime_error("device memory was written outside an array.");
    if (result_ != nullptr && bytes_ > 0) std::memcpy(result_, begin_, bytes_);
  }

 private:
  static constexpr size_t kZone = 512, kAlign = 256;
  static constexpr unsigned char kPoison = 0xFF;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  size_t bytes_;
  void* result_;
  std::unique_ptr<unsigned char, Free> memory_;
  unsigned char* begin_;
  std::vector<unsigned char> original_;
};

// The memory of one call, and a stream whose scratch memory lasts as long.
class Device {
 public:
  const void* input(const pybind11::array& array) { return add(array.data(), array.nbytes(), nullptr); }
  const void* input(const pybind11::object& array) {
    return array.is_none() ? nullptr : input(pybind11::cast<pybind11::array>(array));
  }
  void* in_place(pybind11::array& array) { return add(array.data(), array.nbytes(), array.mutable_data()); }
  // Filled with NaN beforehand.
  void* output(pybind11::array& array) { return add(nullptr, array.nbytes(), array.mutable_data()); }
  cuda::Stream stream() {
    return {nullptr,
            [](void* context, size_t bytes) { return static_cast<Device*>(context)->add(nullptr, bytes, nullptr); },
            this};
  }
  void finish() const {
    for (const auto& memory : all_) memory->finish();
  }

 private:
  void* add(const void* source, size_t bytes, void* result) {
    all_.push_back(std::make_unique<DeviceMemory>(source, bytes, result));
    return all_.back()->data();
  }
  std::vector<std::unique_ptr<DeviceMemory>> all_;
};

}  // namespace kronla::emulated
