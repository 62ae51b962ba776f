// Runs independent pieces of work over the injected threads. Which thread takes which piece is left to chance, so a piece
// must depend on nothing but its own data: that is what makes the bits the same alone, in any batch and with any number
// of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

#include "kernels/parallel.h"

namespace kronla {

// Calls worker(take) on each of the threads, where take() hands out the pieces 0, 1, … count - 1, each once, and then -1.
// The first exception ends the handing out and is rethrown at the end.
template <class Worker>
void run_workers(const Parallel& parallel, int64_t count, Worker&& worker) {
  struct Shared {
    alignas(64) std::atomic<int64_t> next{0};  // a cache line of its own: every take writes it
    alignas(64) std::exception_ptr failure;
    std::mutex mutex;
    int64_t count;
    Worker* worker;
  } shared;
  shared.count = count;
  shared.worker = &worker;
  const auto work = [](void* context, int64_t) {
    auto& s = *static_cast<Shared*>(context);
    try {
      (*s.worker)([&s] {
        const int64_t i = s.next.fetch_add(1, std::memory_order_relaxed);
        return i < s.count ? i : -1;
      });
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

// Calls body(i) for each i in [0, count).
template <class Body>
void share(const Parallel& parallel, int64_t count, Body&& body) {
  if (count <= 0) return;
  if (count == 1 || parallel.threads <= 1 || parallel.launch == nullptr) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  run_workers(parallel, count, [&](auto&& take) {
    for (int64_t i; (i = take()) >= 0;) body(i);
  });
}

inline constexpr int64_t kRowsShared = 64;  // of a matrix that passes go over: cut the same way for any team

inline int64_t pieces_of(int64_t m) { return (m + kRowsShared - 1) / kRowsShared; }

// Calls body(piece, first row, rows) for the pieces of a matrix of m rows and n columns.
template <class Body>
void share_rows(const Parallel& team, int64_t m, int64_t n, Body&& body) {
  constexpr int64_t kWorthSharing = 100000;  // elements
  share(m * n < kWorthSharing ? Parallel{} : team, pieces_of(m),
        [&](int64_t i) { body(i, i * kRowsShared, std::min(kRowsShared, m - i * kRowsShared)); });
}

}  // namespace kronla
