// Memory that is read next: a product brings it nearer while it computes.
#pragma once

#include <cstdint>

namespace kronla {

struct Memory {
  const void* begin = nullptr;
  int64_t bytes = 0;
};

inline constexpr int kAhead = 3;  // pieces of memory at a time

}  // namespace kronla
