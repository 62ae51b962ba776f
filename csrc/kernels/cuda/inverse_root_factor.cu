// The Cholesky factor L of large matrices D in float64, by columns of tiles, left-looking; and L⁻¹ by rows of tiles beside
// it, in the same launches: ‖L⁻¹‖_F gives the bound on the spectrum where the chain of polynomials is entered.
#include "kernels/cuda/device/block_cholesky.cuh"
#include "kernels/cuda/inverse_root_tiles.h"

namespace kronla::cuda {
namespace {

struct ColumnSettings {
  int column;  // of tiles
};
using ColumnList = TaskList<LargeRootTask, ColumnSettings, kSmallParameterBytes>;

struct PlanSettings {
  RootPlan plan;
  bool wide;
};
using PlanList = TaskList<LargeRootTask, PlanSettings, kSmallParameterBytes>;

constexpr int kTileBlocks = kTile / kSide;
constexpr size_t kFactorShared = tile_shared_bytes<Fp64>() >
                                         (2 * elements_of_triangle(kTileBlocks) + 1) * sizeof(double)
                                     ? tile_shared_bytes<Fp64>()
                                     : (2 * elements_of_triangle(kTileBlocks) + 1) * sizeof(double);

// L_kk and its inverse from the tile D_kk − Σ L_km L_kmᵀ in shared memory, by all threads of a block.
__device__ __forceinline__ void finish_diagonal(const LargeRootTask& task, int entry, int k0, double* tile) {
  double* inverse = tile + elements_of_triangle(kTileBlocks);
  int* failed = reinterpret_cast<int*>(inverse + elements_of_triangle(kTileBlocks));
  __syncthreads();
  if (!factor_triangle(tile, kTileBlocks, failed)) {
    if (threadIdx.x == 0) task.states[entry].info = kNotPositiveDefinite;
    return;
  }
  invert_triangle(tile, inverse, kTileBlocks);
  double* L = slot_of<double>(task, entry, kSlotL);
  double* inverse_L = slot_of<double>(task, entry, kSlotInverse);
  for (int e = static_cast<int>(threadIdx.x); e < kTile * kTile; e += kThreads) {
    const int i = e / kTile, j = e % kTile;
    if (k0 + i >= task.n || k0 + j >= task.n) continue;
    const int64_t at = int64_t{k0 + i} * task.ld + k0 + j;
    L[at] = i >= j ? tile[place_of<double>(i, j)] : 0.0;
    inverse_L[at] = i >= j ? inverse[place_of<double>(i, j)] : 0.0;
  }
}

// Block t of a matrix: t ≥ column: tile (t, column) of D − Σ L Lᵀ, into L, and on the diagonal its factor and inverse;
// t < column: Σ L_km L⁻¹_mt, of row k = column.
__global__ void __launch_bounds__(kThreads, Fp64::kBlocks) column_kernel(KRONLA_PARAMETER(ColumnList) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int at = static_cast<int>(blockIdx.x), k = list.settings.column, k0 = k * kTile;
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const int n = task.n, ld = task.ld, along = (n + kTile - 1) / kTile;
  const int entry = (at - task.first_tile) / along, t = (at - task.first_tile) % along, t0 = t * kTile;
  if (task.states[entry].info != kGood) return;
  double* L = slot_of<double>(task, entry, kSlotL);
  double* inverse = slot_of<double>(task, entry, kSlotInverse);
  double total[2][4][4] = {};
  if (t < k) {
    const Operand left = workspace_operand(L + t0, ScalarType::Float64, ld, n, k0 - t0);
    const Operand right = workspace_operand(inverse + int64_t{t0} * ld, ScalarType::Float64, ld, n, k0 - t0);
    tile_product<Fp64, Layout::RowMajor, Layout::ColumnMajor>(left, k0, right, t0, false, false, shared, total);
    double* product = slot_of<double>(task, entry, kSlotProduct);
    for_each_in_tile(total, [&](int r, int c, double sum) {
      if (k0 + r < n && t0 + c < n) product[int64_t{k0 + r} * ld + t0 + c] = sum;
    });
    return;
  }
  if (k > 0) {
    const Operand rows = workspace_operand(L, ScalarType::Float64, ld, n, k0);
    tile_product<Fp64, Layout::RowMajor, Layout::RowMajor>(rows, t0, rows, k0, t == k, false, shared, total);
  }
  __syncthreads();
  const double* D = slot_of<double>(task, entry, kSlotD);
  double* tile = reinterpret_cast<double*>(shared);
  for_each_in_tile(total, [&](int r, int c, double sum) {
    const bool exists = t0 + r < n && k0 + c < n;
    const int64_t place = int64_t{t0 + r} * ld + k0 + c;
    const double value = exists ? D[place] - sum : r == c ? 1.0 : 0.0;
    if (t > k) {
      if (exists) L[place] = value;
    } else if (r >= c) {
      tile[place_of<double>(r, c)] = value;
      if (r / kSide == c / kSide)
        tile[place_of_block(r / kSide, r / kSide) + place_in_block<double>(c % kSide, r % kSide)] = value;
    }
  });
  if (t == k) finish_diagonal(task, entry, k0, tile);
}

// Block t of a matrix: t > column: L_tk ← L_tk L_kk⁻ᵀ; t < column: L⁻¹_kt = −L⁻¹_kk (Σ L_km L⁻¹_mt).
__global__ void __launch_bounds__(kThreads, Fp64::kBlocks) panel_kernel(KRONLA_PARAMETER(ColumnList) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int at = static_cast<int>(blockIdx.x), k = list.settings.column, k0 = k * kTile;
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const int n = task.n, ld = task.ld, along = (n + kTile - 1) / kTile;
  const int entry = (at - task.first_tile) / along, t = (at - task.first_tile) % along, t0 = t * kTile;
  if (t == k || task.states[entry].info != kGood) return;
  if (t < k) {
    const int depth = n - k0 < kTile ? n - k0 : kTile;
    double* inverse = slot_of<double>(task, entry, kSlotInverse);
    const double* product = slot_of<double>(task, entry, kSlotProduct);
    const Operand left = workspace_operand(inverse + k0, ScalarType::Float64, ld, n, depth);
    const Operand right = workspace_operand(product + int64_t{k0} * ld, ScalarType::Float64, ld, n, depth);
    double total[2][4][4] = {};
    tile_product<Fp64, Layout::RowMajor, Layout::ColumnMajor>(left, k0, right, t0, false, false, shared, total);
    for_each_in_tile(total, [&](int r, int c, double sum) {
      if (k0 + r < n && t0 + c < n) inverse[int64_t{k0 + r} * ld + t0 + c] = -sum;
    });
    return;
  }
  // Both tiles whole, in 16 × 16 blocks: a row of four blocks is a warp's.
  double* diagonal = reinterpret_cast<double*>(shared);
  double* panel = diagonal + kTileBlocks * kTileBlocks * kBlockElements;
  const auto block_of = [](double* tile, int i, int j) { return tile + (i * kTileBlocks + j) * kBlockElements; };
  double* L = slot_of<double>(task, entry, kSlotL);
  for (int e = static_cast<int>(threadIdx.x); e < kTile * kTile; e += kThreads) {
    const int i = e / kTile, j = e % kTile, place = place_in_block<double>(i % kSide, j % kSide);
    block_of(diagonal, i / kSide, j / kSide)[place] = L[int64_t{k0 + i} * ld + k0 + j];  // all its rows exist: t > k
    block_of(panel, i / kSide, j / kSide)[place] = t0 + i < n ? L[int64_t{t0 + i} * ld + k0 + j] : 0.0;
  }
  __syncthreads();
  const int row = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int c = 0; c < kTileBlocks; ++c) {
    double* block = block_of(panel, row, c);
    double sum[2][4] = {};
    for (int m = 0; m < c; ++m)
      multiply_blocks<double>(sum, {block_of(panel, row, m), false}, {block_of(diagonal, c, m), false});
    subtract_block(block, sum);
    __syncwarp();
    if (lane < kSide) solve_row(block, lane, block_of(diagonal, c, c));
    __syncwarp();
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < kTile * kTile; e += kThreads) {
    const int i = e / kTile, j = e % kTile;
    if (t0 + i < n)
      L[int64_t{t0 + i} * ld + k0 + j] =
          block_of(panel, i / kSide, j / kSide)[place_in_block<double>(i % kSide, j % kSide)];
  }
}

// λmin(D) ≥ 1/tr(D⁻¹) = 1/‖L⁻¹‖_F², and the schedule; a block a matrix.
__global__ void schedule_kernel(KRONLA_PARAMETER(PlanList) list) {
  KRONLA_SHARED(double, sums);
  const int at = static_cast<int>(blockIdx.x);
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const int entry = at - task.first_tile;
  RootState& state = task.states[entry];
  if (state.info != kGood) return;
  const double* inverse = slot_of<double>(task, entry, kSlotInverse);
  double squares = 0.0;
  for (int i = static_cast<int>(threadIdx.x) / 32; i < task.n; i += static_cast<int>(blockDim.x) / 32)
    for (int j = static_cast<int>(threadIdx.x) % 32; j <= i; j += 32) {
      const double l = inverse[int64_t{i} * task.ld + j];
      squares += l * l;
    }
  squares = block_sum(squares, sums);
  if (threadIdx.x != 0) return;
  const RootSchedule schedule = schedule_of(list.settings.plan, 1.0 / squares, state.norm, list.settings.wide);
  state.first = schedule.first;
  state.stop = schedule.stop;
  state.scale = schedule.scale;
}

}  // namespace

void factor_large_roots(const std::vector<LargeRootTask>& tasks, const RootPlan& plan, bool wide,
                        const Stream& stream) {
  int64_t columns = 0;
  for (const LargeRootTask& task : tasks) columns = std::max(columns, tiles_along(task.n));
  for (int column = 0; column < columns; ++column) {
    const auto tiles_of = [&](const LargeRootTask& task) {
      return column < tiles_along(task.n) ? task.batch * tiles_along(task.n) : int64_t{0};
    };
    fill_lists<ColumnList>(tasks, ColumnSettings{column}, tiles_of, [&](const ColumnList& list, unsigned tiles) {
      launch("inverse_root, Cholesky", column_kernel, dim3(tiles), kThreads, kFactorShared, stream.handle, list);
      launch("inverse_root, Cholesky", panel_kernel, dim3(tiles), kThreads, tile_shared_bytes<Fp64>(), stream.handle,
             list);
    });
  }
  fill_lists<PlanList>(
      tasks, PlanSettings{plan, wide}, [](const LargeRootTask& task) { return int64_t{task.batch}; },
      [&](const PlanList& list, unsigned matrices) {
        launch("inverse_root, schedule", schedule_kernel, dim3(matrices), 512, kReduceRoom * sizeof(double),
               stream.handle, list);
      });
}

}  // namespace kronla::cuda
