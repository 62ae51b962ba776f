// What a kernel has while it works on a matrix: scratch memory, taken piece by piece and given back all at once, and the
// threads that may help it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "kernels/parallel.h"

namespace kronla {

class Worker {
 public:
  Parallel team;  // none unless said otherwise: then the other threads have matrices of their own

  // `count` uninitialised elements, aligned to a cache line, valid until the next `reset`.
  template <class T>
  T* take(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    if (blocks_.empty() || used_ + bytes > blocks_.back().size) {
      const size_t size = bytes > kBlock ? bytes : kBlock;
      void* memory = std::aligned_alloc(kAlign, size);
      if (memory == nullptr) throw std::bad_alloc();
      blocks_.push_back({std::unique_ptr<void, Free>(memory), size});
      used_ = 0;
    }
    void* piece = static_cast<char*>(blocks_.back().memory.get()) + used_;
    used_ += bytes;
    return static_cast<T*>(piece);
  }

  // Keeps the largest block: after the first matrix of a size there is nothing left to allocate.
  void reset() {
    used_ = 0;
    if (blocks_.size() < 2) return;
    size_t total = 0;
    for (const Block& block : blocks_) total += block.size;
    blocks_.clear();
    void* memory = std::aligned_alloc(kAlign, total);
    if (memory == nullptr) throw std::bad_alloc();
    blocks_.push_back({std::unique_ptr<void, Free>(memory), total});
  }

 private:
  static constexpr size_t kAlign = 64;
  static constexpr size_t kBlock = size_t{1} << 16;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  struct Block {
    std::unique_ptr<void, Free> memory;
    size_t size;
  };
  std::vector<Block> blocks_;
  size_t used_ = 0;
};

}  // namespace kronla
