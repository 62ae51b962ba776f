// Runs independent matrices over the injected threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/cpu/threads.h"
#include "kernels/cpu/worker.h"

namespace kronla {

// The threads, unless the work is so little that waking them costs more: about 10^5 multiplications or elements read.
inline Parallel worth(const Parallel& parallel, double work) { return work < 1.5e5 ? Parallel{} : parallel; }

// Calls body(i, worker) for each i in [0, count).
template <class Body>
void for_each(const Parallel& parallel, int64_t count, Body&& body) {
  if (count <= 0) return;
  run_workers(parallel, count, [&](auto&& take) {
    Worker worker;
    for (int64_t i; (i = take()) >= 0;) {
      worker.reset();
      body(i, worker);
    }
  });
}

// How many of the dearest pieces all threads should do together, one after the other, so that the rest can be dealt out
// evenly; costs descend. Only a matter of time: a matrix has the same bits either way.
inline int64_t to_do_together(const std::vector<double>& costs, int64_t threads) {
  constexpr double kEven = 1.15;    // the longest of the threads' turns over their mean
  constexpr double kWorthIt = 4e6;  // multiplications, below which help costs more than it gives
  double rest = std::accumulate(costs.begin(), costs.end(), 0.0);
  std::vector<double> load(threads);
  for (size_t first = 0; first < costs.size() && costs[first] > kWorthIt; rest -= costs[first++]) {
    std::fill(load.begin(), load.end(), 0.0);
    for (size_t k = first; k < costs.size() && costs[k] > kWorthIt; ++k)
      *std::min_element(load.begin(), load.end()) += costs[k];
    if (*std::max_element(load.begin(), load.end()) <= kEven * rest / static_cast<double>(threads))
      return static_cast<int64_t>(first);
    if (first + 1 == costs.size() || costs[first + 1] <= kWorthIt) return static_cast<int64_t>(first) + 1;
  }
  return 0;
}

// Calls body(group, index, worker) for each matrix of a ragged list of batches, the dearest first, so that a large one
// does not come last and alone; small ones are dealt out by the bundle. cost(group) is the multiplications of one matrix.
// A matrix that would leave the other threads idle is done by all of them (worker.team).
template <class Group, class Cost, class Body>
void for_each_matrix(const Parallel& threads, const std::vector<Group>& groups, Cost&& cost, Body&& body) {
  constexpr int64_t kBundle = 500000;  // multiplications, 5 to 10 microseconds
  std::vector<size_t> order(groups.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return cost(groups[a]) > cost(groups[b]); });
  std::vector<int64_t> bundle(order.size()), first(order.size() + 1, 0);  // of each group in that order
  std::vector<double> costs;                                              // of each piece
  for (size_t k = 0; k < order.size(); ++k) {
    const Group& group = groups[order[k]];
    bundle[k] = std::max<int64_t>(1, kBundle / std::max<int64_t>(1, cost(group)));
    first[k + 1] = first[k] + (group.batch + bundle[k] - 1) / bundle[k];
    costs.insert(costs.end(), first[k + 1] - first[k],
                 static_cast<double>(cost(group) * std::min(bundle[k], std::max<int64_t>(1, group.batch))));
  }
  const auto run = [&](int64_t piece, Worker& worker) {
    const size_t k = std::upper_bound(first.begin(), first.end(), piece) - first.begin() - 1;
    const Group& group = groups[order[k]];
    const int64_t begin = (piece - first[k]) * bundle[k], end = std::min(begin + bundle[k], group.batch);
    for (int64_t i = begin; i < end; ++i) {
      worker.reset();
      body(group, i, worker);
    }
  };
  const Parallel parallel = worth(threads, std::accumulate(costs.begin(), costs.end(), 0.0));
  const bool threaded = parallel.threads > 1 && parallel.launch != nullptr;
  const int64_t together = threaded ? to_do_together(costs, parallel.threads) : 0;
  for_each({}, together, [&](int64_t i, Worker& worker) {
    worker.team = parallel;
    run(i, worker);
  });
  for_each(parallel, first.back() - together, [&](int64_t i, Worker& worker) { run(together + i, worker); });
}

// The same for a batch of one shape: body(index, worker).
template <class Body>
void for_each_of_one_size(const Parallel& parallel, int64_t batch, int64_t cost, Body&& body) {
  struct Batch {
    int64_t batch;
  };
  for_each_matrix(
      parallel, std::vector<Batch>{{batch}}, [&](const Batch&) { return cost; },
      [&](const Batch&, int64_t index, Worker& worker) { body(index, worker); });
}

}  // namespace kronla
