#include "kernels/cuda/eigenbasis_tiled.h"

#include <algorithm>
#include <map>

#include "kernels/cuda/device/limits.cuh"
#include "kernels/cuda/eigenbasis_solved.cuh"
#include "kernels/cuda/eigenbasis_tiles.cuh"
#include "kernels/cuda/orthonormalize_passes.h"

namespace kronla::cuda {
namespace {

template <class Reference>
using ListOf = std::decay_t<Reference>;

// The launches of one call, in their order.
template <class T>
class Launches {
 public:
  Launches(Purpose what, std::vector<BasisGroup<T>> groups, double tol, int64_t steps, const Stream& stream,
           Solver<T> solver)
      : stream_(stream), solver_(solver), settings_{tol, 0, checked_int(steps), what} {
    // The long sums first, so that none of them begins last.
    std::stable_sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.n > b.n; });
    if (what != Purpose::Step) {
      for (const BasisGroup<T>& group : groups) problems_[group.n].batch += group.batch;
      for (auto& [n, problem] : problems_) {
        problem.n = n;
        problem.ld = step_of(n);
        problem.V = stream.take<T>(problem.batch * n * problem.ld);
        problem.values = stream.take<T>(problem.batch * n);
        problem.failed = stream.take<int32_t>(problem.batch);
      }
    }
    std::map<int64_t, int64_t> before;  // matrices of that size
    for (const BasisGroup<T>& group : groups) {
      if (group.batch == 0) continue;
      add(group, before[group.n]);
      before[group.n] += group.batch;
    }
  }

  void run() {
    chunks("measure", [](const auto& list) { return measure_kernel<T, ListOf<decltype(list)>>; });
    chunks("load", [](const auto& list) { return load_kernel<T, ListOf<decltype(list)>>; });
    if (settings_.what == Purpose::Eigh) {
      solve();
      each(
          "eigh: ascending", [](const auto& list) { return ascending_kernel<T, ListOf<decltype(list)>>; }, kThreads, 0,
          columns, 0);
    } else {
      for (; settings_.step < settings_.steps; ++settings_.step) take_step();
    }
    evaluate();
    chunks("store", [](const auto& list) { return store_kernel<T, ListOf<decltype(list)>>; });
  }

 private:
  static int64_t step_of(int64_t n) {
    const int64_t per = 16 / static_cast<int64_t>(sizeof(T));
    return (n + per - 1) / per * per;
  }
  static int64_t lower(const TiledTask<T>& task) { return int64_t{task.batch} * lower_tiles(task.n); }
  static int64_t full(const TiledTask<T>& task) {
    return int64_t{task.batch} * tiles_along(task.n) * tiles_along(task.n);
  }
  static int64_t columns(const TiledTask<T>& task) { return int64_t{task.batch} * tiles_along(task.n); }
  static int64_t matrices(const TiledTask<T>& task) { return int64_t{task.batch}; }

  // `before`: how many matrices of that size the solver has from other groups.
  void add(const BasisGroup<T>& group, int64_t before) {
    const int64_t batch = group.batch, n = group.n, ld = step_of(n), elements = batch * n * ld;
    TiledTask<T> task{};
    checked_int(n * ld);
    task.A_in = group.A;
    task.Q_old = settings_.what == Purpose::Eigh ? nullptr : group.Q_old;
    task.Q_out = group.Q;
    task.eigenvalues = group.eigenvalues;
    task.ratio = group.ratio;
    task.steps = group.steps;
    task.info = group.info;
    task.n = checked_int(n);
    task.batch = checked_int(batch);
    task.ld = static_cast<int>(ld);
    task.method = group.method;
    task.A = stream_.take<T>(elements);
    task.Q = stream_.take<T>(elements);
    task.largest = stream_.take<T>(batch * 2 * chunks_of(task.n));
    task.squares = stream_.take<double>(batch * (chunks_of(task.n) + lower_tiles(task.n)));
    task.quotients = stream_.take<double>(batch * n);
    task.rank = stream_.take<int32_t>(batch * n);
    task.state = stream_.take<BasisState>(batch);
    task.counts = stream_.take<int32_t>(size_t{2} + settings_.steps);
    task.entries = stream_.take<int32_t>(2 * batch);
    if (settings_.what == Purpose::Eigh) {
      task.ld_W = static_cast<int>(qr_step(n));
      task.G = stream_.take<double>(batch * n * task.ld_W);  // for B
    } else {
      const QrGroup qr = qr_group<T>(batch, n, n, settings_.steps, stream_);
      task.W = qr.W;
      task.G = qr.G;
      task.passes = qr.state;
      task.qr_counts = qr.counts;
      task.qr_entries = qr.entries;
      task.ld_W = qr.ld;
      groups_.push_back(qr);
    }
    if (settings_.what == Purpose::Step) {
      task.P = stream_.take<T>(elements);
    } else {
      const SolverBatch<T>& problem = problems_[n];
      task.P = problem.V + before * n * ld;
      task.values = problem.values + before * n;
      task.failed = problem.failed + before;
    }
    tasks_.push_back(task);
  }

  void evaluate() {
    int largest = 0;
    for (const TiledTask<T>& task : tasks_) largest = std::max(largest, task.n);
    tiles("product", [](const auto& list) { return product_kernel<T, ListOf<decltype(list)>>; }, full);
    tiles("rayleigh", [](const auto& list) { return rayleigh_kernel<T, ListOf<decltype(list)>>; }, lower);
    each(
        "update_eigenbasis: decide", [](const auto& list) { return decide_kernel<T, ListOf<decltype(list)>>; },
        kDecideThreads, largest * sizeof(double), matrices, 4);
  }

  void take_step() {
    evaluate();
    if (settings_.what == Purpose::SolvedStep) {
      solve();
      each(
          "null space", [](const auto& list) { return project_kernel<T, ListOf<decltype(list)>>; }, kThreads,
          tile_shared_bytes<MathOf<T>>(), full, 0);
      each(
          "eigenvectors", [](const auto& list) { return form_solved_kernel<T, ListOf<decltype(list)>>; }, kThreads,
          tile_shared_bytes<MathOf<T>>(), full, 0);
    } else {
      each(
          "update_eigenbasis: rotation", [](const auto& list) { return rotation_kernel<T, ListOf<decltype(list)>>; },
          kThreads, 0, lower, 8);
      tiles("next basis", [](const auto& list) { return form_kernel<T, ListOf<decltype(list)>>; }, full);
    }
    orthonormalize_passes<T>(groups_, settings_.step, stream_);
    each(
        "update_eigenbasis: columns", [](const auto& list) { return columns_kernel<T, ListOf<decltype(list)>>; },
        kThreads, 0, columns, 8);
  }

  void solve() {
    chunks("solver's input", [](const auto& list) { return prepare_kernel<T, ListOf<decltype(list)>>; });
    for (const auto& size_and_problem : problems_) solver_(size_and_problem.second, stream_);
    each(
        "update_eigenbasis: accept", [](const auto& list) { return accept_kernel<T, ListOf<decltype(list)>>; },
        kDecideThreads, 0, matrices, 0);
  }

  // By chunks, one block each: of all matrices.
  template <class KernelFor>
  void chunks(const char* name, KernelFor&& kernel_for) {
    each(
        name, kernel_for, kChunkThreads, 0,
        [](const TiledTask<T>& task) { return int64_t{task.batch} * chunks_of(task.n); }, 0);
  }

  // By products of tiles: of the matrices on a list.
  template <class KernelFor, class TilesOf>
  void tiles(const char* name, KernelFor&& kernel_for, TilesOf&& tiles_of) {
    each(name, kernel_for, kThreads, tile_shared_bytes<MathOf<T>>(), tiles_of, MathOf<T>::kBlocks);
  }

  // kernel_for(list) is the kernel for a list of that size; `resident`: how many of its blocks share a multiprocessor, for
  // those that go round, 0 for one block a tile.
  template <class KernelFor, class TilesOf>
  void each(const char* name, KernelFor&& kernel_for, int threads, size_t shared_bytes, TilesOf&& tiles_of,
            int resident) {
    for_each_launch(tasks_, settings_, tiles_of, [&](const auto& list, unsigned blocks) {
      const unsigned grid = resident > 0 ? std::min(blocks, resident_blocks(resident)) : blocks;
      launch(name, kernel_for(list), dim3(grid), threads, shared_bytes, stream_.handle, list);
    });
  }

  const Stream& stream_;
  Solver<T> solver_;
  TiledSettings settings_;
  std::vector<TiledTask<T>> tasks_;
  std::vector<QrGroup> groups_;
  std::map<int64_t, SolverBatch<T>> problems_;  // by size
};

}  // namespace

template <class T>
void update_by_tiles(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps, const Stream& stream,
                     Solver<T> solver) {
  std::vector<BasisGroup<T>> stepped, solved;
  for (const BasisGroup<T>& group : groups)
    (group.method == BasisMethod::Eigh && max_steps > 0 ? solved : stepped).push_back(group);
  if (!stepped.empty()) Launches<T>(Purpose::Step, stepped, tol, max_steps, stream, solver).run();
  if (!solved.empty()) Launches<T>(Purpose::SolvedStep, solved, tol, 1, stream, solver).run();
}

template <class T>
void eigh_by_solver(const std::vector<BasisGroup<T>>& groups, const Stream& stream, Solver<T> solver) {
  if (!groups.empty()) Launches<T>(Purpose::Eigh, groups, 0.0, 0, stream, solver).run();
}

template void update_by_tiles<float>(const std::vector<BasisGroup<float>>&, double, int64_t, const Stream&,
                                     Solver<float>);
template void update_by_tiles<double>(const std::vector<BasisGroup<double>>&, double, int64_t, const Stream&,
                                      Solver<double>);
template void eigh_by_solver<float>(const std::vector<BasisGroup<float>>&, const Stream&, Solver<float>);
template void eigh_by_solver<double>(const std::vector<BasisGroup<double>>&, const Stream&, Solver<double>);

}  // namespace kronla::cuda
