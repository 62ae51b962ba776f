// How a kernel asks its caller for threads: kernels own no pool and include no torch header.
#pragma once

#include <cstdint>

namespace kronla {

// `launch(workers, work, context)` calls `work(context, w)` once for each w in [0, workers), on any
// threads, in any order, possibly one after the other, and returns when all have returned.
// `threads` is how many workers are worth launching. `work` never throws.
struct Parallel {
  using Work = void (*)(void* context, int64_t worker);
  int64_t threads = 1;
  void (*launch)(int64_t workers, Work work, void* context) = nullptr;  // nullptr: run in the caller
};

}  // namespace kronla
