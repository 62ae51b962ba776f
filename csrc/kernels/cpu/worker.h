// What a kernel has while it works on a matrix: scratch memory, taken piece by piece and given back all at once, and the
// threads that may help it.
#pragma once

#include <algorithm>
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

  // `count` uninitialised elements, aligned to a cache line, valid until the next `reset` or the end of a `Scope`.
  template <class T>
  T* take(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    if (blocks_.empty() || used_ + bytes > blocks_[current_].size) enter_block(bytes);
    void* piece = static_cast<char*>(blocks_[current_].memory.get()) + used_;
    used_ += bytes;
    peak_ = std::max(peak_, before_ + used_);
    return static_cast<T*>(piece);
  }

  // What is taken as long as it lives is given back at its end: for the turns of a loop.
  class Scope {
   public:
    explicit Scope(Worker& worker)
        : worker_(worker), current_(worker.current_), used_(worker.used_), before_(worker.before_) {}
    ~Scope() {
      worker_.current_ = current_;
      worker_.used_ = used_;
      worker_.before_ = before_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Worker& worker_;
    size_t current_, used_, before_;
  };

  // Gives all back, and keeps one block for as much as was ever in use: after the first matrix of a size nothing is
  // allocated.
  void reset() {
    current_ = used_ = before_ = 0;
    if (blocks_.size() < 2) return;
    blocks_.clear();
    blocks_.emplace_back(peak_);
  }

  // Bytes that it holds, in use or not.
  size_t held() const {
    size_t bytes = 0;
    for (const Block& block : blocks_) bytes += block.size;
    return bytes;
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
    explicit Block(size_t bytes) : memory(std::aligned_alloc(kAlign, bytes)), size(bytes) {
      if (memory == nullptr) throw std::bad_alloc();
    }
  };

  // The next block, of at least so many bytes. All behind what is in use are free: those that are too small make room.
  void enter_block(size_t bytes) {
    if (used_ > 0) before_ += blocks_[current_++].size;
    while (current_ < blocks_.size() && blocks_[current_].size < bytes) blocks_.erase(blocks_.begin() + current_);
    if (current_ == blocks_.size()) blocks_.emplace_back(std::max(bytes, kBlock));
    used_ = 0;
  }

  std::vector<Block> blocks_;
  size_t current_ = 0, used_ = 0;  // the block that is taken from, and how much of it is
  size_t before_ = 0;              // bytes of the blocks before it
  size_t peak_ = 0;                // the most that was ever in use, gaps at the ends of blocks included
};

}  // namespace kronla
