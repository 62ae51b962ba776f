// D of inverse_root on matrices in global memory, and its figures, by a block for each tile on or below the diagonal: one
// large matrix does not wait for one of them. What they say of their tiles is put together by each block that needs it, in
// an order that the matrix alone decides.
#include <algorithm>

#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/inverse_root_tiles.h"

namespace kronla::cuda {
namespace {

constexpr int kEach = kTile * kTile / kPassThreads;  // elements of a tile for one thread

// `largest`, `squares`, `diagonal` of each tile.
template <class T>
__global__ void __launch_bounds__(kPassThreads) survey_kernel(KRONLA_PARAMETER(PassList) list) {
  KRONLA_SHARED(double, room);
  const LargeRootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const int n = task.n, thread = static_cast<int>(threadIdx.x);
  const auto [entry, index] = block_place(task, lower_tiles_of(n));
  int row, column;
  triangular_tile(index, row, column);
  const T* A = static_cast<const T*>(task.A) + int64_t{entry} * n * n;
  double x[kEach], largest = 0.0, diagonal = -Limits<double>::kInfinity, squares = 0.0;
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int at = e * kPassThreads + thread, r = at / kTile, c = at % kTile;
    const int i = row * kTile + r, j = column * kTile + c;
    const T a = i < n && j < n ? A[int64_t{i} * n + j] : T(0);
    const int mirrored_i = column * kTile + r, mirrored_j = row * kTile + c;
    const T b = mirrored_j < n && mirrored_i < n ? A[int64_t{mirrored_i} * n + mirrored_j] : T(0);
    x[e] = j <= i ? static_cast<double>(a) : 0.0;
    const double size = static_cast<double>(magnitude(a)), other = static_cast<double>(magnitude(b));
    largest = size > largest ? size : largest;
    largest = other > largest ? other : largest;
    if (i == j && i < n && x[e] > diagonal) diagonal = x[e];
  }
  largest = block_max(largest, room);
  diagonal = block_max(diagonal, room);
  const double scale = power_of_two_scale(largest, Limits<T>::kMinExponent);
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int at = e * kPassThreads + thread, i = row * kTile + at / kTile, j = column * kTile + at % kTile;
    squares += (i == j ? 1.0 : 2.0) * (x[e] * scale) * (x[e] * scale);
  }
  squares = block_sum(squares, room);
  if (thread != 0) return;
  TileFigures& figures = figures_of(task, entry)[index];
  figures.largest = largest;
  figures.squares = squares;
  figures.diagonal = diagonal;
}

// The damping from the figures of all tiles; false, for all threads, where A has an element that is not finite.
template <class T>
__device__ __forceinline__ bool damping_of(const LargeRootTask& task, int entry, const RootPlan& plan, double* room,
                                           Damping& damping) {
  double largest = 0.0, diagonal = -Limits<double>::kInfinity, squares = 0.0;
  for_each_figures(task, entry, [&](const TileFigures& tile) {
    largest = tile.largest > largest ? tile.largest : largest;
    diagonal = tile.diagonal > diagonal ? tile.diagonal : diagonal;
  });
  largest = block_max(largest, room);
  diagonal = block_max(diagonal, room);
  if (!(largest <= static_cast<double>(Limits<T>::kMax))) return false;
  damping.scale = power_of_two_scale(largest > plan.damping ? largest : plan.damping, Limits<T>::kMinExponent);
  if (plan.relative_damping != 0.0) {
    for_each_figures(task, entry, [&](const TileFigures& tile) {
      const double ratio = damping.scale / power_of_two_scale(tile.largest, Limits<T>::kMinExponent);  // at most 1
      squares += tile.squares * ratio * ratio;
    });
    squares = block_sum(squares, room);
  }
  damping.shift = plan.damping * damping.scale + plan.relative_damping * sqrt(squares);
  diagonal = diagonal * damping.scale + damping.shift;
  largest *= damping.scale;
  damping.again = power_of_two_scale(diagonal > largest ? diagonal : largest, -1021);
  return true;
}

constexpr int kTransposeStep = kTile + 1;  // odd: a column of a tile meets no bank twice
constexpr size_t kDampBytes = kReduceBytes + kTile * kTransposeStep * sizeof(double);

// D, `norm` of each tile, and the vectors of the residual.
template <class T>
__global__ void __launch_bounds__(kPassThreads) damp_kernel(KRONLA_PARAMETER(PassList) list) {
  KRONLA_SHARED(double, room);
  const LargeRootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const int n = task.n, thread = static_cast<int>(threadIdx.x);
  const auto [entry, index] = block_place(task, lower_tiles_of(n));
  int row, column;
  triangular_tile(index, row, column);
  RootState state{};
  state.info = damping_of<T>(task, entry, list.settings.plan, room, state.damping) ? kGood : kNonFinite;
  if (index == 0 && thread == 0) {
    state.back = pow(state.damping.unit(), -1.0 / list.settings.plan.p);
    task.states[entry] = state;
  }
  if (state.info != kGood) return;

  const T* A = static_cast<const T*>(task.A) + int64_t{entry} * n * n;
  double* D = slot_of<double>(task, entry, kSlotD);
  double* tile = room + kReduceRoom;
  double squares = 0.0;
  for (int e = thread; e < kTile * kTile; e += kPassThreads) {
    const int r = e / kTile, c = e % kTile, i = row * kTile + r, j = column * kTile + c;
    if (i >= n || j > i) continue;
    const double d = state.damping(A[int64_t{i} * n + j], i == j);
    squares += (i == j ? 1.0 : 2.0) * d * d;
    D[int64_t{i} * task.ld + j] = d;
    tile[r * kTransposeStep + c] = d;
  }
  __syncthreads();
  for (int e = thread; e < kTile * kTile; e += kPassThreads) {
    const int r = e % kTile, c = e / kTile, i = row * kTile + r, j = column * kTile + c;
    if (i < n && j < i) D[int64_t{j} * task.ld + i] = tile[r * kTransposeStep + c];
  }
  squares = block_sum(squares, room);
  if (thread == 0) figures_of(task, entry)[index].norm = squares;

  if (column != 0) return;
  const int vectors = probes_for(n);
  double* V = probes_of(task, entry, 0);
  for (int e = thread; e < kTile * vectors; e += kPassThreads) {
    const int i = row * kTile + e / vectors, v = e % vectors;
    if (i < n) V[i * vectors + v] = n <= kExactResidual ? (i == v ? 1.0 : 0.0) : probe_sign(i, v);
  }
}

template <class Kernel>
void over_tiles(const char* name, const LargeRoots& tasks, const RootPlan& plan, Kernel kernel, size_t shared_bytes,
                const Stream& stream) {
  launch_large<PassList>(
      name, tasks, PassSettings{plan, 0, 0}, [](const LargeRootTask& task) { return lower_tiles_of(task.n); }, kernel,
      kPassThreads, shared_bytes, stream);
}
}  // namespace

template <class T>
LargeRoots large_roots(const std::vector<RootGroup<T>>& groups, const Stream& stream) {
  LargeRoots tasks;
  for (const RootGroup<T>& group : groups) {
    if (group.batch == 0) continue;
    LargeRootTask task{};
    task.A = group.A;
    task.fallback = group.fallback;
    task.X = group.X;
    task.residual = group.residual;
    task.steps = group.steps;
    task.info = group.info;
    task.n = checked_int(group.n);
    task.ld = (task.n + 3) / 4 * 4;  // rows aligned to 16 bytes in either type
    task.batch = checked_int(group.batch);
    checked_int(int64_t{task.n} * task.ld);
    task.work = stream.take<double>(static_cast<size_t>(task.batch * root_work(task.n, task.ld)));
    task.states = stream.take<RootState>(static_cast<size_t>(task.batch));
    tasks.push_back(task);
  }
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const LargeRootTask& a, const LargeRootTask& b) { return a.n > b.n; });
  return tasks;
}

template <class T>
void damp_large_roots(const LargeRoots& tasks, const RootPlan& plan, const Stream& stream) {
  over_tiles("inverse_root, survey", tasks, plan, survey_kernel<T>, kReduceBytes, stream);
  over_tiles("inverse_root, D", tasks, plan, damp_kernel<T>, kDampBytes, stream);
}

#define KRONLA_FOR(T)                                                                  \
  template LargeRoots large_roots<T>(const std::vector<RootGroup<T>>&, const Stream&); \
  template void damp_large_roots<T>(const LargeRoots&, const RootPlan&, const Stream&);
KRONLA_FOR(float)
KRONLA_FOR(double)
#undef KRONLA_FOR

}  // namespace kronla::cuda
