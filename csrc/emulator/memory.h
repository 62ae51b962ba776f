// The memory of emulated threads: their stacks, and what a block shares.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "emulator/sanitizers.h"

namespace kronla::emulator {

// A stack that ends in a page without access: a kernel that overflows it stops there.
class Stack {
 public:
  static constexpr size_t kBytes = 128 * 1024;
  Stack() : base_(mmap(nullptr, kPage + kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (base_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(base_, kPage, PROT_NONE);
  }
  ~Stack() {
    unpoison(begin(), kBytes);
    munmap(base_, kPage + kBytes);
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  char* begin() const { return static_cast<char*>(base_) + kPage; }

 private:
  static constexpr size_t kPage = 4096;
  void* base_;
};

// Exactly the bytes asked for, of no better alignment than asked for, filled with a byte; between two zones that must not
// be touched: AddressSanitizer stops who reads or writes there, and without it the next look finds what was written.
class SharedMemory {
 public:
  SharedMemory(size_t bytes, size_t alignment, unsigned char fill)
      : bytes_(bytes), all_bytes_(bytes + 2 * kZone + 4 * alignment) {
    const UncheckedAccess unchecked;  // the memory of a block is not ordered after that of another one
    all_.reset(static_cast<unsigned char*>(std::malloc(all_bytes_)));
    if (!all_) throw std::bad_alloc();
    const auto first = reinterpret_cast<uintptr_t>(all_.get()) + kZone;
    begin_ = all_.get() + kZone + (2 * alignment - first % (2 * alignment)) + alignment;
    std::memset(all_.get(), kZoneByte, all_bytes_);
    std::memset(begin_, fill, bytes);
    poison(all_.get(), static_cast<size_t>(begin_ - all_.get()));
    poison(begin_ + bytes, all_bytes_ - bytes - static_cast<size_t>(begin_ - all_.get()));
  }
  ~SharedMemory() {
    const UncheckedAccess unchecked;
    unpoison(all_.get(), all_bytes_);
    all_.reset();
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  unsigned char* begin() const { return begin_; }
  size_t bytes() const { return bytes_; }
  bool holds(const void* pointer, size_t count) const {
    const auto* p = static_cast<const unsigned char*>(pointer);
    return p >= begin_ && p + count <= begin_ + bytes_;
  }
  bool zones_untouched() const {
    if (kAddressSanitizer) return true;
    const auto untouched = [](unsigned char byte) { return byte == kZoneByte; };
    return std::all_of(all_.get(), begin_, untouched) &&
           std::all_of(begin_ + bytes_, all_.get() + all_bytes_, untouched);
  }

 private:
  // Wide under AddressSanitizer, for a wrong index may be far off; elsewhere every block pays for a look.
  static constexpr size_t kZone = kAddressSanitizer ? 32768 : 256;
  static constexpr unsigned char kZoneByte = 0xFF;  // NaN in every floating-point format, -1 as an integer
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  size_t bytes_, all_bytes_;
  std::unique_ptr<unsigned char, Free> all_;
  unsigned char* begin_;
};

}  // namespace kronla::emulator
