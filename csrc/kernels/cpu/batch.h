// Runs independent pieces of work over the injected threads. Which thread takes which piece is left to
// chance, so a piece must depend on nothing but its own matrix: that is what makes the bits the same
// alone, in any batch and with any number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/cpu/blas.h"
#include "kernels/cpu/scratch.h"
#include "kernels/parallel.h"

namespace kronla {

// Calls body(i, scratch) for each i in [0, count). The first exception is rethrown at the end.
template <class Body>
void for_each(const Parallel& parallel, int64_t count, Body&& body) {
  if (count <= 0) return;
  blas::use_one_thread();
  struct Shared {
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex mutex;
    int64_t count;
    Body* body;
  } shared;
  shared.count = count;
  shared.body = &body;
  const auto work = [](void* context, int64_t) {
    auto& s = *static_cast<Shared*>(context);
    try {
      Scratch scratch;
      for (int64_t i; (i = s.next.fetch_add(1, std::memory_order_relaxed)) < s.count;) {
        scratch.reset();
        (*s.body)(i, scratch);
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(s.mutex);
      if (!s.failure) s.failure = std::current_exception();
      s.next.store(s.count, std::memory_order_relaxed);
    }
  };
  const int64_t workers = std::min(parallel.threads, count);
  if (workers <= 1 || parallel.launch == nullptr) {
    work(&shared, 0);
  } else {
    parallel.launch(workers, work, &shared);
  }
  if (shared.failure) std::rethrow_exception(shared.failure);
}

// Calls body(group, index, scratch) for each matrix of a ragged list of batches, the dearest first, so
// that a large one does not come last and alone. cost(group) is the flops of one matrix, in any unit.
template <class Group, class Cost, class Body>
void for_each_matrix(const Parallel& parallel, const std::vector<Group>& groups, Cost&& cost, Body&& body) {
  std::vector<size_t> order(groups.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return cost(groups[a]) > cost(groups[b]); });
  std::vector<int64_t> first(groups.size() + 1, 0);  // of each group in that order: its first piece
  for (size_t k = 0; k < order.size(); ++k) first[k + 1] = first[k] + groups[order[k]].batch;
  for_each(parallel, first.back(), [&](int64_t i, Scratch& scratch) {
    const size_t k = std::upper_bound(first.begin(), first.end(), i) - first.begin() - 1;
    body(groups[order[k]], i - first[k], scratch);
  });
}

}  // namespace kronla
