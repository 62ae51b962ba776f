// inverse_root for n ≤ 128: one block a matrix, everything in shared memory.
#include <algorithm>

#include "kernels/cuda/device/block_cholesky.cuh"
#include "kernels/cuda/device/limits.cuh"
#include "kernels/cuda/device/magnitude.cuh"
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
  const int thread = unhoisted(static_cast<int>(threadIdx.x)), warp = thread / 32, lane = thread % 32;
  for (int i = warp; i < kBlocks * kSide; i += RootShape<kBlocks>::kWarps) {
    for (int j = lane; j <= i; j += 32) {
      const E x = i < n ? value(i, j) : i == j ? E(1) : E(0);
      matrix[place_of<E>(i, j)] = x;
      if (i / kSide == j / kSide)
        matrix[place_of_block(i / kSide, i / kSide) + place_in_block<E>(j % kSide, i % kSide)] = x;
    }
  }
}

// X ← blocks · factor; ‖·‖ says nothing of an X that left the range of T where p is no integer: false for one.
template <class T, class E>
__device__ __forceinline__ bool write_out(int n, const E* blocks, double factor, T* X) {
  const int thread = unhoisted(static_cast<int>(threadIdx.x)), warps = static_cast<int>(blockDim.x) / 32;
  const int lane = thread % 32;
  bool finite = true, zero = true;
  for (int i = thread / 32; i < n; i += warps)
    for (int j = lane; j < n; j += 32) {
      const T x = static_cast<T>(static_cast<double>(blocks[place_of<E>(i, j)]) * factor);
      finite = finite && magnitude(x) <= Limits<T>::kMax;
      zero = zero && x == T(0);
      X[int64_t{i} * n + j] = x;
    }
  return __syncthreads_and(finite) && !__syncthreads_and(zero);
}

// What is known of a matrix beside its iterates: in shared memory, for kept in registers it would be spilled at every call.
struct RootRoom {
  double sums[kReduceRoom];
  const void* A;  // of this matrix
  void* X;
  int n;
  Damping damping;
  RootSchedule schedule;
  double norm;        // ≥ λmax(D)
  double scale_root;  // of the schedule's scale, the r-th: Y is the last X times this
  double back;        // X is Yˢ times this
  int failed;

  template <class T>
  __device__ __forceinline__ const T* source() const {
    return static_cast<const T*>(A);
  }
  template <class T>
  __device__ __forceinline__ T* target() const {
    return static_cast<T*>(X);
  }
};

template <int kBlocks>
__device__ __forceinline__ RootRoom& room_of(double* shared) {
  return *reinterpret_cast<RootRoom*>(shared + 3 * RootShape<kBlocks>::kElements);
}

// D in W, and its norm; false, for all threads, where A has an element that is not finite.
template <class T, int kBlocks>
__device__ __forceinline__ bool prepare(const RootPlan& plan, double* shared) {
  RootRoom& room = room_of<kBlocks>(shared);
  const int n = room.n;
  const T* A = room.source<T>();
  Damping damping;
  if (!find_damping(n, A, plan, room.sums, damping)) return false;
  double squares = 0.0;
  fill_blocks<double, kBlocks>(n, RootIterates<double, kBlocks>(shared).W, [&](int i, int j) {
    const double d = damping(A[i * n + j], i == j);
    squares += (i == j ? 1.0 : 2.0) * d * d;
    return d;
  });
  const double norm = sqrt(block_sum(squares, room.sums)) * kNormSlack;
  if (threadIdx.x == 0) {
    room.damping = damping;
    room.norm = norm;
    room.back = pow(damping.unit(), -1.0 / plan.p);
  }
  __syncthreads();
  return true;
}

// The schedule for λmin(D) ≥ 1/tr(D⁻¹) = 1/‖L⁻¹‖_F², L in W, and M.
template <class T, int kBlocks>
__device__ __forceinline__ void begin(const RootPlan& plan, double* shared) {
  RootRoom& room = room_of<kBlocks>(shared);
  const int n = room.n;
  const T* A = room.source<T>();
  const RootIterates<double, kBlocks> wide(shared);
  invert_triangle(wide.W, wide.X, kBlocks);
  double trace = 0.0;
  const int thread = unhoisted(static_cast<int>(threadIdx.x)), warp = thread / 32, lane = thread % 32;
  for (int i = warp; i < n; i += RootShape<kBlocks>::kWarps)
    for (int j = lane; j <= i; j += 32) {
      const double l = wide.X[place_of<double>(i, j)];
      trace += l * l;
    }
  const RootSchedule schedule = schedule_of(plan, 1.0 / block_sum(trace, room.sums), room.norm, sizeof(T) == 8);
  if (threadIdx.x == 0) {
    room.schedule = schedule;
    room.scale_root = pow(schedule.scale, 1.0 / plan.r);
  }
  const Damping damping = room.damping;
  fill_blocks<double, kBlocks>(n, wide.M, [&](int i, int j) { return damping(A[i * n + j], i == j) * schedule.scale; });
  __syncthreads();
}

// Y = D^(-1/r) rounded to T, in the blocks of X. M of the schedule is D scale.
template <class T, int kBlocks>
__device__ __forceinline__ void iterate(const RootPlan& plan, double* shared) {
  constexpr bool kAllWide = sizeof(T) == 8 || kBlocks * kSide <= kFloat64Size;
  const RootRoom& room = room_of<kBlocks>(shared);
  const RootIterates<double, kBlocks> wide(shared);
  const RootIterates<T, kBlocks> it(shared);
  const int first = room.schedule.first, stop = room.schedule.stop,
            narrow = kAllWide || stop < plan.wide ? stop : plan.wide;
  int k = first;
#pragma unroll 1
  for (; k < narrow; ++k) wide.advance(plan.steps[k], plan.r, k == first, k + 1 == stop);
  convert<double, T, kBlocks>(shared, k == stop ? room.scale_root : 1.0);
  if constexpr (!kAllWide) {
    if (k == stop) return;
#pragma unroll 1
    for (; k < stop; ++k) it.advance(plan.steps[k], plan.r, k == first, k + 1 == stop);
    const double factor = room.scale_root;
    for (int e = unhoisted(static_cast<int>(threadIdx.x)); e < RootShape<kBlocks>::kElements;
         e += static_cast<int>(blockDim.x))
      it.X[e] = static_cast<T>(static_cast<double>(it.X[e]) * factor);
    __syncthreads();
  }
}

// ‖X^⌊k/2⌋ D X^⌈k/2⌉ − I‖_F/√n in float64, X / divide and D read from global memory. Up to n = 64 a panel of columns after
// the other; above, 32 fixed ±1 vectors take the place of the unit vectors, and it is the mean of ‖Ev‖².
template <class T, int kBlocks>
__device__ __forceinline__ double residual_of(double divide, int k, double* shared) {
  constexpr bool kExact = kBlocks * kSide <= kExactResidual;
  constexpr int kPanel = kBlocks <= 2 ? 1 : 2;  // blocks across; the panel is where W was
  constexpr int kTiles = (kBlocks * kPanel + RootShape<kBlocks>::kWarps - 1) / RootShape<kBlocks>::kWarps;
  static_assert(kBlocks * kPanel <= kBlocks * (kBlocks + 1) / 2, "the panel must fit");
  static_assert(kExact || kProbes == kPanel * kSide, "a panel of vectors");
  RootRoom& room = room_of<kBlocks>(shared);
  const int n = room.n;
  const T *A = room.source<T>(), *X = room.target<T>();
  const RootIterates<double, kBlocks> it(shared);
  fill_blocks<double, kBlocks>(n, it.X, [&](int i, int j) { return static_cast<double>(X[i * n + j]) / divide; });
  const Damping damping = room.damping;
  fill_blocks<double, kBlocks>(n, it.M, [&](int i, int j) { return damping(A[i * n + j], i == j); });
  __syncthreads();
  if (kExact && k % 2 == 0) {  // X^(k/2), k = 2, 4, 6, 8, and k is 2 from here on
    const int products = k == 2 ? 0 : k == 4 ? 1 : 2;
#pragma unroll 1
    for (int i = 0; i < products; ++i) {  // 4: X²; 6: W = X², X W; 8: X², (X²)²
      double* target = k == 6 && i == 0 ? it.W : it.X;
      it.multiply(target, it.X, k == 6 && i == 1 ? it.W : it.X);
    }
    k = 2;
  }
  double* V = it.W;
  const auto block_of = [&](int i, int j) { return V + (kPanel * i + j) * kBlockElements; };
  const WarpTiles<kTiles> tiles = rectangle_tiles<kTiles>(kBlocks, kPanel);
  const auto columns = [&](Fragment<double>& fragment, int j, int depth, int step) {
    load_fragment(fragment, BlockView<double>{block_of(depth, j), true}, step);
  };
  double squares = 0.0;
#pragma unroll 1
  for (int panel = 0; panel < (kExact ? kBlocks : kPanel); panel += kPanel) {
    for (int e = static_cast<int>(threadIdx.x); e < kBlocks * kSide * kPanel * kSide;
         e += static_cast<int>(blockDim.x)) {
      const int i = e / (kPanel * kSide), j = e % (kPanel * kSide), column = panel * kSide + j;
      double v = 0.0;  // of X already, where the vectors are the unit vectors
      if (kExact) {
        v = column < kBlocks * kSide ? it.X[place_of<double>(i, column)] : 0.0;
      } else if (i < n) {
        v = probe_sign(i, j);
      }
      block_of(i / kSide, j / kSide)[place_in_block<double>(i % kSide, j % kSide)] = v;
    }
    __syncthreads();
    double sum[kTiles][2][4];
#pragma unroll 1
    for (int factor = kExact ? 1 : 0; factor <= k; ++factor) {  // the right ones first
      multiply_tiles(tiles, kBlocks, SymmetricRows<double>{factor == (k + 1) / 2 ? it.M : it.X}, columns, sum);
      __syncthreads();
      if (factor == k) break;
#pragma unroll
      for (int q = 0; q < kTiles; ++q) {
        if (tiles.row[q] < 0) continue;
        double* block = block_of(tiles.row[q], tiles.column[q]);
        for_each_in_block(sum[q],
                          [&](int row, int column, double& v) { block[place_in_block<double>(row, column)] = v; });
      }
      __syncthreads();
    }
    for_each_in_tiles(tiles, sum, [&](int row, int column, double& v) {
      const double one = !kExact ? probe_sign(row, column) : row == panel * kSide + column ? 1.0 : 0.0;
      const double error = v - one;
      if (row < n && (!kExact || panel * kSide + column < n)) squares += error * error;
    });
  }
  return sqrt(block_sum(squares, room.sums) / (kExact ? 1.0 : static_cast<double>(kProbes)) / n);
}

// By all threads of the block. Fills X; the other figures are the return value.
struct Figures {
  double residual;
  int steps, info;
};

template <class T, int kBlocks>
__device__ __forceinline__ Figures root_of_one(const RootPlan& plan, double* shared) {
  if (!prepare<T, kBlocks>(plan, shared)) return {0.0, 0, kNonFinite};
  RootRoom& room = room_of<kBlocks>(shared);
  const RootIterates<T, kBlocks> it(shared);
  if (!factor_triangle(RootIterates<double, kBlocks>(shared).W, kBlocks, &room.failed))
    return {0.0, 0, kNotPositiveDefinite};
  double residual = 0.0;
  bool in_range;
  if (room.n == 1) {
    if (threadIdx.x == 0)
      it.X[0] = static_cast<T>(pow(room.damping(*room.source<T>(), true) * room.damping.unit(), -1.0 / plan.p));
    __syncthreads();
    in_range = write_out(1, it.X, 1.0, room.target<T>());
  } else {
    begin<T, kBlocks>(plan, shared);
    iterate<T, kBlocks>(plan, shared);
    if (!plan.integer) {  // taken on Y, which X holds meanwhile
      write_out(room.n, it.X, 1.0, room.target<T>());
      residual = residual_of<T, kBlocks>(1.0, plan.r, shared);
      __syncthreads();
      const int n = room.n;
      const T* Y = room.target<T>();
      fill_blocks<T, kBlocks>(n, it.X, [&](int i, int j) { return Y[i * n + j]; });
      __syncthreads();
    }
    it.power(plan.s);
    in_range = write_out(room.n, it.X, room.back, room.target<T>());
  }
  const int steps = room.n == 1 ? 1 : room.schedule.stop - room.schedule.first;
  if (plan.integer) residual = residual_of<T, kBlocks>(room.back, static_cast<int>(plan.p), shared);
  if (!in_range) residual = Limits<double>::kInfinity;
  return {residual, steps, residual <= plan.rtol ? kGood : kNotConverged};
}

template <class T, int kBlocks>
__global__ void __launch_bounds__(RootShape<kBlocks>::kThreads, RootShape<kBlocks>::kTogether)
    root_kernel(KRONLA_PARAMETER(RootList) list) {
  KRONLA_SHARED(double, shared);
  RootRoom& room = room_of<kBlocks>(shared);
  if (threadIdx.x == 0) {
    const RootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
    const int64_t offset = int64_t{static_cast<int>(blockIdx.x) - task.first_tile} * task.n * task.n;
    room.n = task.n;
    room.A = static_cast<const T*>(task.A) + offset;
    room.X = static_cast<T*>(task.X) + offset;
  }
  __syncthreads();
  Figures figures{0.0, 0, kGood};
  if (room.n > 0) figures = root_of_one<T, kBlocks>(list.settings, shared);

  const int tile = unhoisted(static_cast<int>(blockIdx.x));  // looked up again: kept, all this would be spilled
  const RootTask& task = list.tasks[task_of_tile(list, tile)];
  const int entry = tile - task.first_tile, size = task.n * task.n;
  const bool bad = figures.info >= kNotPositiveDefinite;
  if (bad) {
    const T* fallback = static_cast<const T*>(task.fallback);
    T* X = room.target<T>();
    for (int e = static_cast<int>(threadIdx.x); e < size; e += static_cast<int>(blockDim.x))
      X[e] = fallback != nullptr ? fallback[int64_t{entry} * size + e] : not_a_number<T>();
  }
  if (threadIdx.x == 0) {
    static_cast<T*>(task.residual)[entry] = bad ? not_a_number<T>() : static_cast<T>(figures.residual);
    task.steps[entry] = figures.steps;
    task.info[entry] = figures.info;
  }
}

constexpr size_t kRoomBytes = (sizeof(RootRoom) + 7) / 8 * 8;

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
               RootShape<kBlocks>::kMatrices + kRoomBytes, stream.handle, list);
      });
}

}  // namespace

int largest_in_block() {
  const size_t shared = largest_shared_memory();
  return shared >= RootShape<8>::kMatrices + kRoomBytes   ? 128
         : shared >= RootShape<6>::kMatrices + kRoomBytes ? 96
         : shared >= RootShape<4>::kMatrices + kRoomBytes ? 64
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
