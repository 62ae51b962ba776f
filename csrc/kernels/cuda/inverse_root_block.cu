// inverse_root for n ≤ 128: one block a matrix, everything in shared memory.
#include <algorithm>

#include "kernels/cuda/device/block_cholesky.cuh"
#include "kernels/cuda/device/limits.cuh"
#include "kernels/cuda/device/root_iterates.cuh"
#include "kernels/cuda/device/root_matrix.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/probe_signs.h"

namespace kronla::cuda {
namespace {

struct RootTask {
  const void* A;
  const void* fallback;
  void* X;
  void* residual;
  int32_t* steps;
  int32_t* info;
  int n, batch;
  int first_tile;
};

using RootList = TaskList<RootTask, RootPlan, kSmallParameterBytes>;

// The blocks of a symmetric matrix from value(row, column), the identity beyond n; by all threads.
template <class E, int kBlocks, class Value>
__device__ __forceinline__ void fill_blocks(int n, E* matrix, Value&& value) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = warp; i < kBlocks * kSide; i += RootShape<kBlocks>::kWarps) {
    for (int j = lane; j <= i; j += 32) {
      const E x = i < n ? value(i, j) : i == j ? E(1) : E(0);
      matrix[place_of<E>(i, j)] = x;
      if (i / kSide == j / kSide)
        matrix[place_of_block(i / kSide, i / kSide) + place_in_block<E>(j % kSide, i % kSide)] = x;
    }
  }
}

template <class T, class E>
__device__ __forceinline__ void write_out(int n, const E* blocks, double factor, T* X) {
  const int warps = static_cast<int>(blockDim.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = static_cast<int>(threadIdx.x) / 32; i < n; i += warps)
    for (int j = lane; j < n; j += 32)
      X[int64_t{i} * n + j] = static_cast<T>(static_cast<double>(blocks[place_of<E>(i, j)]) * factor);
}

// ‖X^⌊k/2⌋ D X^⌈k/2⌉ − I‖_F/√n in float64, X and D read from global memory; n ≤ 64.
template <class T, int kBlocks>
__device__ __noinline__ double exact_residual(int n, const T* X, double divide, const T* A, const Damping& damping,
                                              int k, double* shared, double* sums) {
  constexpr int kTiles = (kBlocks * kBlocks + RootShape<kBlocks>::kWarps - 1) / RootShape<kBlocks>::kWarps;
  const RootIterates<double, kBlocks> it(shared);
  fill_blocks<double, kBlocks>(n, it.X, [&](int i, int j) { return static_cast<double>(X[i * n + j]) / divide; });
  __syncthreads();
  // Integers k = r/s and r are 1, 2, 3, 4, 6 or 8.
  const double* right = it.X;
  if (k == 3) {
    it.multiply(it.W, it.X, it.X);
    right = it.W;
  } else if (k == 6) {
    it.multiply(it.W, it.X, it.X);
    it.multiply(it.X, it.X, it.W);
  } else if (k >= 4) {
    it.multiply(it.X, it.X, it.X);
    if (k == 8) it.multiply(it.X, it.X, it.X);
  }
  fill_blocks<double, kBlocks>(n, it.M, [&](int i, int j) { return damping(A[i * n + j], i == j); });
  __syncthreads();

  // B = D right is not symmetric: all its blocks, row by row, where D and W were.
  const WarpTiles<kTiles> tiles = rectangle_tiles<kTiles>(kBlocks, kBlocks);
  double sum[kTiles][2][4];
  multiply_tiles(tiles, kBlocks, SymmetricRows<double>{it.M}, SymmetricRows<double>{right}, sum);
  __syncthreads();
  double* B = it.M;
#pragma unroll
  for (int q = 0; q < kTiles; ++q) {
    if (tiles.row[q] < 0) continue;
    double* block = B + (tiles.row[q] * kBlocks + tiles.column[q]) * kBlockElements;
    for_each_in_block(sum[q], [&](int row, int column, double& b) { block[place_in_block<double>(row, column)] = b; });
  }
  __syncthreads();
  if (k > 1) {
    const auto columns = [&](Fragment<double>& fragment, int j, int depth, int step) {
      const BlockView<double> block{B + (depth * kBlocks + j) * kBlockElements, true};
      fill_fragment(fragment, step, [&](int row, int at) { return element_of(block, row, at); });
    };
    multiply_tiles(tiles, kBlocks, SymmetricRows<double>{it.X}, columns, sum);
  }
  double squares = 0.0;
  for_each_in_tiles(tiles, sum, [&](int row, int column, double& e) {
    const double error = e - (row == column ? 1.0 : 0.0);
    if (row < n && column < n) squares += error * error;
  });
  return sqrt(block_sum(squares, sums) / n);
}

// The same by fixed ±1 vectors: the mean of ‖Ev‖².
template <class T, int kBlocks>
__device__ __noinline__ double estimated_residual(int n, const T* X, double divide, const T* A, const Damping& damping,
                                                  int k, double* shared, double* sums) {
  static_assert(kProbes == 2 * kSide, "two blocks of vectors");
  constexpr int kTiles = (kBlocks * 2 + RootShape<kBlocks>::kWarps - 1) / RootShape<kBlocks>::kWarps;
  const RootIterates<double, kBlocks> it(shared);
  fill_blocks<double, kBlocks>(n, it.X, [&](int i, int j) { return static_cast<double>(X[i * n + j]) / divide; });
  fill_blocks<double, kBlocks>(n, it.M, [&](int i, int j) { return damping(A[i * n + j], i == j); });
  double* V = it.W;  // blocks (row, 0) and (row, 1)
  const auto block_of = [&](int i, int j) { return V + (2 * i + j) * kBlockElements; };
  for (int e = static_cast<int>(threadIdx.x); e < kBlocks * kSide * 2 * kSide; e += static_cast<int>(blockDim.x)) {
    const int i = e / (2 * kSide), j = e % (2 * kSide);
    block_of(i / kSide, j / kSide)[place_in_block<double>(i % kSide, j % kSide)] = i < n ? probe_sign(i, j) : 0.0;
  }
  __syncthreads();
  const WarpTiles<kTiles> tiles = rectangle_tiles<kTiles>(kBlocks, 2);
  const auto columns = [&](Fragment<double>& fragment, int j, int depth, int step) {
    const BlockView<double> block{block_of(depth, j), true};
    fill_fragment(fragment, step, [&](int row, int at) { return element_of(block, row, at); });
  };
  double sum[kTiles][2][4];
#pragma unroll 1
  for (int factor = 0; factor <= k; ++factor) {  // the right ones first
    const double* F = factor == (k + 1) / 2 ? it.M : it.X;
    multiply_tiles(tiles, kBlocks, SymmetricRows<double>{F}, columns, sum);
    __syncthreads();
#pragma unroll
    for (int q = 0; q < kTiles; ++q) {
      if (tiles.row[q] < 0) continue;
      double* block = block_of(tiles.row[q], tiles.column[q]);
      for_each_in_block(sum[q],
                        [&](int row, int column, double& v) { block[place_in_block<double>(row, column)] = v; });
    }
    __syncthreads();
  }
  double squares = 0.0;
  for_each_in_tiles(tiles, sum, [&](int row, int column, double& v) {
    const double error = row < n ? v - probe_sign(row, column) : 0.0;
    squares += error * error;
  });
  return sqrt(block_sum(squares, sums) / static_cast<double>(kProbes) / n);
}

// Y = D^(-1/r) rounded to T, in the blocks of X; how many steps. M of the schedule is D scale.
template <class T, int kBlocks>
__device__ __forceinline__ int iterate(const RootPlan& plan, const RootSchedule& schedule, double* shared) {
  constexpr bool kAllWide = sizeof(T) == 8 || kBlocks * kSide <= kFloat64Size;
  const RootIterates<double, kBlocks> wide(shared);
  const int switch_at = kAllWide || schedule.stop < plan.wide ? schedule.stop : plan.wide;
  int k = schedule.first;
#pragma unroll 1
  for (; k < switch_at; ++k) wide.advance(plan.steps[k], plan.r, k == schedule.first, k + 1 == schedule.stop);
  const double back = pow(schedule.scale, 1.0 / plan.r);
  const bool finished = k == schedule.stop;
  const RootIterates<T, kBlocks> it(shared);
  convert<double, T, kBlocks>(shared, finished ? back : 1.0);
  if (finished) return schedule.stop - schedule.first;
  if constexpr (!kAllWide) {
#pragma unroll 1
    for (; k < schedule.stop; ++k) it.advance(plan.steps[k], plan.r, k == schedule.first, k + 1 == schedule.stop);
    for (int e = static_cast<int>(threadIdx.x); e < RootShape<kBlocks>::kElements; e += static_cast<int>(blockDim.x))
      it.X[e] = static_cast<T>(static_cast<double>(it.X[e]) * back);
    __syncthreads();
  }
  return schedule.stop - schedule.first;
}

// By all threads of the block. Fills X; the other figures are the return value.
struct Figures {
  double residual;
  int steps, info;
};

template <class T, int kBlocks>
__device__ __forceinline__ Figures root_of_one(int n, const T* A, T* X, const RootPlan& plan, double* shared) {
  double* sums = shared + 3 * RootShape<kBlocks>::kElements;
  int* failed = reinterpret_cast<int*>(sums + kReduceRoom);
  Damping damping;
  if (!find_damping(n, A, plan, sums, damping)) return {0.0, 0, kNonFinite};

  const RootIterates<double, kBlocks> wide(shared);
  const RootIterates<T, kBlocks> it(shared);
  double squares = 0.0;
  fill_blocks<double, kBlocks>(n, wide.W, [&](int i, int j) {
    const double d = damping(A[i * n + j], i == j);
    squares += (i == j ? 1.0 : 2.0) * d * d;
    return d;
  });
  const double norm = sqrt(block_sum(squares, sums)) * kNormSlack;  // ≥ λmax
  if (!factor_triangle(wide.W, kBlocks, failed)) return {0.0, 0, kNotPositiveDefinite};
  const double back = pow(damping.unit(), -1.0 / plan.p);
  int steps = 1;
  if (n == 1) {
    if (threadIdx.x == 0) X[0] = static_cast<T>(pow(damping(A[0], true) * damping.unit(), -1.0 / plan.p));
    __syncthreads();
    if (!plan.integer) return {0.0, 1, kGood};
  } else {
    // λmin(D) ≥ 1/tr(D⁻¹) = 1/‖L⁻¹‖_F².
    invert_triangle(wide.W, wide.X, kBlocks);
    double trace = 0.0;
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    for (int i = warp; i < n; i += RootShape<kBlocks>::kWarps)
      for (int j = lane; j <= i; j += 32) {
        const double l = wide.X[place_of<double>(i, j)];
        trace += l * l;
      }
    const double smallest = 1.0 / block_sum(trace, sums);
    const bool all_wide = sizeof(T) == 8;
    const RootSchedule schedule = schedule_of(plan, smallest, norm, all_wide);
    fill_blocks<double, kBlocks>(n, wide.M,
                                 [&](int i, int j) { return damping(A[i * n + j], i == j) * schedule.scale; });
    __syncthreads();
    steps = iterate<T, kBlocks>(plan, schedule, shared);
  }

  const auto residual_of = [&](int k, double divide) {
    if constexpr (kBlocks * kSide <= kExactResidual) {
      return exact_residual<T, kBlocks>(n, X, divide, A, damping, k, shared, sums);
    } else {
      return estimated_residual<T, kBlocks>(n, X, divide, A, damping, k, shared, sums);
    }
  };
  double residual = 0.0;
  if (n > 1) {
    if (!plan.integer) {  // taken on Y, which X holds meanwhile
      write_out(n, it.X, 1.0, X);
      __syncthreads();
      residual = residual_of(plan.r, 1.0);
      __syncthreads();
      fill_blocks<T, kBlocks>(n, it.X, [&](int i, int j) { return X[i * n + j]; });
      __syncthreads();
    }
    it.power(plan.s);
    write_out(n, it.X, back, X);
    __syncthreads();
  }
  if (plan.integer) residual = residual_of(static_cast<int>(plan.p), back);
  return {residual, steps, residual <= plan.rtol ? kGood : kNotConverged};
}

template <class T, int kBlocks>
__global__ void __launch_bounds__(RootShape<kBlocks>::kThreads, RootShape<kBlocks>::kTogether)
    root_kernel(KRONLA_PARAMETER(RootList) list) {
  KRONLA_SHARED(double, shared);
  const int tile = static_cast<int>(blockIdx.x);
  const RootTask& task = list.tasks[task_of_tile(list, tile)];
  const int entry = tile - task.first_tile, n = task.n;
  const int64_t offset = int64_t{entry} * n * n;
  T* X = static_cast<T*>(task.X) + offset;
  Figures figures{0.0, 0, kGood};
  if (n > 0) figures = root_of_one<T, kBlocks>(n, static_cast<const T*>(task.A) + offset, X, list.settings, shared);
  const bool bad = figures.info >= kNotPositiveDefinite;
  if (bad) {
    const T* fallback = static_cast<const T*>(task.fallback);
    for (int e = static_cast<int>(threadIdx.x); e < n * n; e += static_cast<int>(blockDim.x))
      X[e] = fallback != nullptr ? fallback[offset + e] : not_a_number<T>();
  }
  if (threadIdx.x == 0) {
    static_cast<T*>(task.residual)[entry] = bad ? not_a_number<T>() : static_cast<T>(figures.residual);
    task.steps[entry] = figures.steps;
    task.info[entry] = figures.info;
  }
}

template <class T, int kBlocks>
void launch_size(const std::vector<RootTask>& tasks, const RootPlan& plan, const Stream& stream) {
  std::vector<RootTask> mine;
  for (const RootTask& task : tasks) {
    constexpr int kBelow = (kBlocks == 1 ? -1 : kBlocks <= 4 ? kBlocks - 1 : kBlocks - 2) * kSide;
    if (task.n > kBelow && task.n <= kBlocks * kSide) mine.push_back(task);
  }
  fill_lists<RootList>(
      mine, plan, [](const RootTask& task) { return int64_t{task.batch}; },
      [&](const RootList& list, unsigned matrices) {
        launch("inverse_root", root_kernel<T, kBlocks>, dim3(matrices), RootShape<kBlocks>::kThreads,
               RootShape<kBlocks>::kShared, stream.handle, list);
      });
}

}  // namespace

int largest_in_block() {
  const size_t shared = largest_shared_memory();
  return shared >= RootShape<8>::kShared   ? 128
         : shared >= RootShape<6>::kShared ? 96
         : shared >= RootShape<4>::kShared ? 64
                                           : 48;
}

template <class T>
void roots_in_blocks(const std::vector<RootGroup<T>>& groups, const RootPlan& plan, const Stream& stream) {
  std::vector<RootTask> tasks;
  for (const RootGroup<T>& group : groups) {
    tasks.push_back({group.A, group.fallback, group.X, group.residual, group.steps, group.info, checked_int(group.n),
                     checked_int(group.batch), 0});
  }
  // The large ones first, so that none of them begins last.
  launch_size<T, 8>(tasks, plan, stream);
  launch_size<T, 6>(tasks, plan, stream);
  launch_size<T, 4>(tasks, plan, stream);
  launch_size<T, 3>(tasks, plan, stream);
  launch_size<T, 2>(tasks, plan, stream);
  launch_size<T, 1>(tasks, plan, stream);
}

template void roots_in_blocks<float>(const std::vector<RootGroup<float>>&, const RootPlan&, const Stream&);
template void roots_in_blocks<double>(const std::vector<RootGroup<double>>&, const RootPlan&, const Stream&);

}  // namespace kronla::cuda
