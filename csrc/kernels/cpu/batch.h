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

// Calls body(i, room) for each i in [0, count), `room` of so many elements of T, for pieces of one matrix: of about `work`
// multiplications together, on the threads that help the worker.
template <class T, class Body>
void share_with_room(Worker& worker, int64_t count, int64_t elements, double work, Body&& body) {
  const Parallel team = worth(worker.team, work);
  if (count <= 1 || team.threads <= 1) {
    const Worker::Scope scope(worker);
    T* room = worker.take<T>(elements);
    for (int64_t i = 0; i < count; ++i) body(i, room);
    return;
  }
  run_workers(team, count, [&](auto&& take) {
    Worker own;
    T* room = own.take<T>(elements);
    for (int64_t i; (i = take()) >= 0;) body(i, room);
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

// A matrix of a ragged list of batches; of none, group is nullptr.
template <class Group>
struct Matrix {
  const Group* group = nullptr;
  int64_t index = 0;
};

// The matrices of a ragged list, the dearest first, so that a large one does not come last and alone; cut into pieces of
// neighbours, each for one thread at a time. cost(group) is the multiplications of one matrix.
template <class Group>
class Pieces {
 public:
  template <class Cost>
  Pieces(const std::vector<Group>& groups, const Cost& cost, int64_t threads) {
    for (const Group& group : groups)
      if (group.batch > 0) groups_.push_back({&group, static_cast<double>(std::max<int64_t>(1, cost(group)))});
    std::stable_sort(groups_.begin(), groups_.end(), [](const Priced& a, const Priced& b) { return a.cost > b.cost; });
    for (const Priced& group : groups_) work_ += group.cost * static_cast<double>(group.group->batch);
    cut(threads);
  }

  double work() const { return work_; }
  const std::vector<double>& costs() const { return costs_; }

  // Calls body(matrix, next, worker) for each matrix of a piece; the last one's next is the first of the piece `then`.
  template <class Body>
  void run(int64_t piece, int64_t then, Worker& worker, const Body& body) const {
    auto [group, index, count] = pieces_[piece];
    for (int64_t c = 0; c < count; ++c) {
      const Matrix<Group> matrix{groups_[group].group, index};
      if (++index == matrix.group->batch) ++group, index = 0;
      Matrix<Group> next;
      if (c + 1 < count) next = {groups_[group].group, index};
      if (c + 1 == count && then >= 0) next = {groups_[pieces_[then].group].group, pieces_[then].index};
      worker.reset();
      body(matrix, next, worker);
    }
  }

 private:
  struct Priced {
    const Group* group;
    double cost;
  };
  struct Piece {
    size_t group;  // of the first matrix
    int64_t index, count;
  };

  // Small matrices by the bundle: one of 5 to 10 microseconds at first; at the end, where a thread waits for the others, less.
  void cut(int64_t threads) {
    constexpr double kMost = 5e5, kLeast = 1e5;  // multiplications
    const double turns = 4.0 * static_cast<double>(threads);
    size_t group = 0;
    int64_t index = 0;
    for (double left = work_; group < groups_.size(); left -= costs_.back()) {
      const double size = std::clamp(left / turns, kLeast, kMost);
      Piece piece{group, index, 0};
      double cost = 0.0;
      while (group < groups_.size()) {
        const auto fits = static_cast<int64_t>(std::max(0.0, (size - cost) / groups_[group].cost));
        const int64_t taken = std::min(groups_[group].group->batch - index, std::max<int64_t>(piece.count == 0, fits));
        piece.count += taken;
        cost += groups_[group].cost * static_cast<double>(taken);
        index += taken;
        if (index < groups_[group].group->batch) break;
        ++group, index = 0;
      }
      pieces_.push_back(piece);
      costs_.push_back(cost);
    }
  }

  std::vector<Priced> groups_;
  std::vector<Piece> pieces_;
  std::vector<double> costs_;
  double work_ = 0.0;
};

// Calls body(matrix, next, worker) for each matrix of a ragged list of batches. `next` is the one that this thread does then,
// if that is known: pieces of a cost below `early` are taken while the one before is being done. A matrix that would leave
// the other threads idle is done by all of them (worker.team).
template <class Group, class Cost, class Body>
void for_each_matrix_and_next(const Parallel& threads, const std::vector<Group>& groups, const Cost& cost, double early,
                              const Body& body) {
  const Pieces<Group> pieces(groups, cost, threads.threads);
  const std::vector<double>& costs = pieces.costs();
  const Parallel parallel = worth(threads, pieces.work());
  const bool threaded = parallel.threads > 1 && parallel.launch != nullptr;
  const int64_t together = threaded ? to_do_together(costs, parallel.threads) : 0;
  for_each({}, together, [&](int64_t i, Worker& worker) {
    worker.team = parallel;
    pieces.run(i, -1, worker, body);
  });
  run_workers(parallel, static_cast<int64_t>(costs.size()) - together, [&](auto&& take) {
    Worker worker;
    for (int64_t i = take(), then; i >= 0; i = then) {
      const bool known = costs[together + i] < early;
      then = known ? take() : -1;
      pieces.run(together + i, then < 0 ? -1 : together + then, worker, body);
      if (!known) then = take();
    }
  });
}

// The same without regard to what is next: body(group, index, worker).
template <class Group, class Cost, class Body>
void for_each_matrix(const Parallel& threads, const std::vector<Group>& groups, const Cost& cost, const Body& body) {
  for_each_matrix_and_next(threads, groups, cost, 0.0,
                           [&](const Matrix<Group>& matrix, const Matrix<Group>&, Worker& worker) {
                             body(*matrix.group, matrix.index, worker);
                           });
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
