// The Cholesky factor L of D in float64 by columns of 64 × 64 tiles, left-looking, one launch a column; and L⁻¹ by rows of
// tiles in the same launches: ‖L⁻¹‖_F gives the bound on the spectrum where the chain of polynomials is entered.
//
// The launch of column k finds L_kk and its inverse done. The block that makes L_(k+1)k goes on with the diagonal tile
// below it, which needs nothing else of this launch: so there is no launch for the diagonal, but the first.
#include "kernels/cuda/device/block_cholesky.cuh"
#include "kernels/cuda/inverse_root_tiles.h"

namespace kronla::cuda {
namespace {

struct ColumnSettings {
  int column;  // of tiles; -1: the first tile on the diagonal alone
  bool inverse;
};
using ColumnList = TaskList<LargeRootTask, ColumnSettings, kSmallParameterBytes>;

// In a launch: the tiles below the diagonal, the one that goes on first, and the row of L⁻¹.
__host__ __device__ constexpr int blocks_in_column(int n, const ColumnSettings& settings) {
  const int along = tiles_along(n), k = settings.column;
  if (k < 0) return 1;
  return k >= along ? 0 : along - k - 1 + (settings.inverse ? k : 0);
}

constexpr int kTileBlocks = kTile / kSide;
constexpr size_t kRoom = kReduceRoom * sizeof(double);
constexpr size_t kTilesShared = 2 * kTileBlocks * kTileBlocks * kBlockElements * sizeof(double) + kRoom;
constexpr size_t kFactorShared =
    tile_shared_bytes<Fp64>() > kTilesShared ? tile_shared_bytes<Fp64>() : kTilesShared;  // 82 KB: two blocks on sm_90

// L_kk and its inverse, by all threads of a block; rows and columns of L left of it are done.
__device__ __forceinline__ void factor_diagonal(const LargeRootTask& task, int entry, int k, unsigned char* shared) {
  const int n = task.n, ld = task.ld, k0 = k * kTile;
  double* L = slot_of<double>(task, entry, kSlotL);
  double total[2][4][4] = {};
  if (k > 0) {
    const Operand rows = workspace_operand(L, ScalarType::Float64, ld, n, k0);
    tile_product<Fp64, Layout::RowMajor, Layout::RowMajor>(rows, k0, rows, k0, true, threadIdx.x / 32 == 1, shared,
                                                           total);
  }
  __syncthreads();
  const double* D = slot_of<double>(task, entry, kSlotD);
  double* tile = reinterpret_cast<double*>(shared);
  for_each_in_tile(total, [&](int r, int c, double sum) {
    if (r < c) return;
    const double value = k0 + r < n ? D[int64_t{k0 + r} * ld + k0 + c] - sum : r == c ? 1.0 : 0.0;
    tile[place_of<double>(r, c)] = value;
    if (r / kSide == c / kSide)
      tile[place_of_block(r / kSide, r / kSide) + place_in_block<double>(c % kSide, r % kSide)] = value;
  });
  double* inverse = tile + elements_of_triangle(kTileBlocks);
  double* room = inverse + elements_of_triangle(kTileBlocks);
  __syncthreads();
  if (!factor_triangle(tile, kTileBlocks, reinterpret_cast<int*>(room))) {
    if (threadIdx.x == 0) task.states[entry].info = kNotPositiveDefinite;
    return;
  }
  invert_triangle(tile, inverse, kTileBlocks);
  double* inverse_L = slot_of<double>(task, entry, kSlotInverse);
  double squares = 0.0;
  for (int e = static_cast<int>(threadIdx.x); e < kTile * kTile; e += kThreads) {
    const int i = e / kTile, j = e % kTile;
    if (k0 + i >= n || k0 + j >= n) continue;
    const int64_t at = int64_t{k0 + i} * ld + k0 + j;
    const double l = i >= j ? inverse[place_of<double>(i, j)] : 0.0;
    L[at] = i >= j ? tile[place_of<double>(i, j)] : 0.0;
    inverse_L[at] = l;
    squares += l * l;
  }
  squares = block_sum(squares, room);
  if (threadIdx.x == 0) figures_of(task, entry)[lower_tiles_of(k0) + k].inverse = squares;
}

// L_tk = (D_tk − Σ L_tm L_kmᵀ) L_kk⁻ᵀ.
__device__ __forceinline__ void factor_tile(const LargeRootTask& task, int entry, int k, int t, unsigned char* shared) {
  const int n = task.n, ld = task.ld, k0 = k * kTile, t0 = t * kTile;
  double* L = slot_of<double>(task, entry, kSlotL);
  double total[2][4][4] = {};
  if (k > 0) {
    const Operand rows = workspace_operand(L, ScalarType::Float64, ld, n, k0);
    tile_product<Fp64, Layout::RowMajor, Layout::RowMajor>(rows, t0, rows, k0, false, false, shared, total);
  }
  __syncthreads();
  // Both tiles whole, in 16 × 16 blocks: a row of four blocks is a warp's.
  double* diagonal = reinterpret_cast<double*>(shared);
  double* panel = diagonal + kTileBlocks * kTileBlocks * kBlockElements;
  const auto block_of = [](double* tile, int i, int j) { return tile + (i * kTileBlocks + j) * kBlockElements; };
  const auto place = [&](double* tile, int i, int j) {
    return block_of(tile, i / kSide, j / kSide) + place_in_block<double>(i % kSide, j % kSide);
  };
  const double* D = slot_of<double>(task, entry, kSlotD);
  for_each_in_tile(total, [&](int r, int c, double sum) {
    *place(panel, r, c) = t0 + r < n ? D[int64_t{t0 + r} * ld + k0 + c] - sum : 0.0;
  });
  for (int e = static_cast<int>(threadIdx.x); e < kTile * kTile; e += kThreads)  // all its rows exist: t > k
    *place(diagonal, e / kTile, e % kTile) = L[int64_t{k0 + e / kTile} * ld + k0 + e % kTile];
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
  for (int e = static_cast<int>(threadIdx.x); e < kTile * kTile; e += kThreads)
    if (t0 + e / kTile < n) L[int64_t{t0 + e / kTile} * ld + k0 + e % kTile] = *place(panel, e / kTile, e % kTile);
  __syncthreads();  // the block may go on with what it wrote
}

// L⁻¹_kt = −L⁻¹_kk Σ_{t ≤ m < k} L_km L⁻¹_mt.
__device__ __forceinline__ void invert_tile(const LargeRootTask& task, int entry, int k, int t, unsigned char* shared) {
  const int n = task.n, ld = task.ld, k0 = k * kTile, t0 = t * kTile;
  const double* L = slot_of<double>(task, entry, kSlotL);
  double* inverse = slot_of<double>(task, entry, kSlotInverse);
  double* product = slot_of<double>(task, entry, kSlotProduct);
  {
    const Operand left = workspace_operand(L + t0, ScalarType::Float64, ld, n, k0 - t0);
    const Operand right = workspace_operand(inverse + int64_t{t0} * ld, ScalarType::Float64, ld, n, k0 - t0);
    double total[2][4][4] = {};
    tile_product<Fp64, Layout::RowMajor, Layout::ColumnMajor>(left, k0, right, t0, false, false, shared, total);
    for_each_in_tile(total, [&](int r, int c, double sum) {
      if (k0 + r < n) product[int64_t{k0 + r} * ld + t0 + c] = sum;
    });
  }
  __syncthreads();
  const int depth = n - k0 < kTile ? n - k0 : kTile;
  const Operand left = workspace_operand(inverse + k0, ScalarType::Float64, ld, n, depth);
  const Operand right = workspace_operand(product + int64_t{k0} * ld, ScalarType::Float64, ld, n, depth);
  double total[2][4][4] = {};
  tile_product<Fp64, Layout::RowMajor, Layout::ColumnMajor>(left, k0, right, t0, false, false, shared, total);
  double squares = 0.0;
  for_each_in_tile(total, [&](int r, int c, double sum) {
    if (k0 + r >= n) return;
    inverse[int64_t{k0 + r} * ld + t0 + c] = -sum;
    squares += sum * sum;
  });
  squares = block_sum(squares, reinterpret_cast<double*>(shared));
  if (threadIdx.x == 0) figures_of(task, entry)[lower_tiles_of(k0) + t].inverse = squares;
}

__global__ void __launch_bounds__(kThreads, Fp64::kBlocks) column_kernel(KRONLA_PARAMETER(ColumnList) list) {
  KRONLA_SHARED(unsigned char, shared);
  const LargeRootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const ColumnSettings& settings = list.settings;
  const auto [entry, index] = block_place(task, blocks_in_column(task.n, settings));
  // Another block of this launch may be finding out that there is no root: all threads of this one must agree.
  if (__syncthreads_or(task.states[entry].info != kGood)) return;
  const int k = settings.column, below = k < 0 ? 0 : tiles_along(task.n) - k - 1;
  if (index < below) factor_tile(task, entry, k, k + 1 + index, shared);
  if (index == 0 && k + 1 < tiles_along(task.n)) {
    factor_diagonal(task, entry, k + 1, shared);
  } else if (index >= below) {
    invert_tile(task, entry, k, index - below, shared);
  }
}

}  // namespace

void factor_large_roots(const LargeRoots& tasks, bool inverse, const Stream& stream) {
  int columns = 0;
  for (const LargeRootTask& task : tasks) columns = std::max(columns, tiles_along(task.n));
  for (int column = -1; column < columns; ++column) {
    const ColumnSettings settings{column, inverse};
    launch_large<ColumnList>(
        "inverse_root, Cholesky", tasks, settings,
        [&](const LargeRootTask& task) { return blocks_in_column(task.n, settings); }, column_kernel, kThreads,
        kFactorShared, stream);
  }
}

}  // namespace kronla::cuda
