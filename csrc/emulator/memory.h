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

// Exactly the bytes asked for, poisoned.
class SharedMemory {
 public:
  explicit SharedMemory(size_t bytes) : bytes_(bytes) {
    const size_t zone = kAddressSanitizer ? 0 : kRedZone;
    all_.reset(static_cast<unsigned char*>(std::malloc(std::max<size_t>(bytes + 2 * zone, 1))));
    if (!all_) throw std::bad_alloc();
    std::memset(all_.get(), kPoison, bytes + 2 * zone);
    begin_ = all_.get() + zone;
  }
  unsigned char* begin() const { return begin_; }
  size_t bytes() const { return bytes_; }
  bool holds(const void* pointer, size_t count) const {
    const auto* p = static_cast<const unsigned char*>(pointer);
    return p >= begin_ && p + count <= begin_ + bytes_;
  }
  bool zones_untouched() const {
    if (kAddressSanitizer) return true;
    const auto poisoned = [](unsigned char byte) { return byte == kPoison; };
    return std::all_of(all_.get(), begin_, poisoned) &&
           std::all_of(begin_ + bytes_, begin_ + bytes_ + kRedZone, poisoned);
  }

 private:
  static constexpr size_t kRedZone = 256;         // on both sides where AddressSanitizer does not watch
  static constexpr unsigned char kPoison = 0xFF;  // a NaN in every floating-point format, -1 as an integer
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  size_t bytes_;
  std::unique_ptr<unsigned char, Free> all_;
  unsigned char* begin_;
};

}  // namespace kronla::emulator
