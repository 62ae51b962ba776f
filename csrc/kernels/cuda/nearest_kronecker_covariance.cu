#include "kernels/cuda/nearest_kronecker_covariance.h"

#include <algorithm>

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/device/tile_product.cuh"

namespace kronla::cuda {
namespace {

constexpr int kTileElements = kTile * kTile;
// Tiles in pieces until a matrix gives two blocks to each multiprocessor of the largest cards, but none of less depth.
constexpr int64_t kWantedBlocks = 264;
constexpr int64_t kLeastDepth = 256;

struct Covariance {
  const void* X;
  int samples, size;
  bool by_samples;  // the Gram matrix of the samples
  int rows, depth;  // of the operand of that matrix
  int tiles, pieces, piece_depth;
  Copy copy;
  ScalarType type;
  void* parts;      // [batch, tiles, pieces, kTileElements] where there are several pieces
  double* squares;  // [batch, tiles]
};

// What element (i, j) adds to ‖·‖_F², twice below the diagonal for its mirror image.
template <class Sum>
__device__ __forceinline__ double weighted_square(int i, int j, int rows, Sum sum) {
  if (i >= rows || j > i) return 0.0;
  const double value = static_cast<double>(sum);
  return (j < i ? 2.0 : 1.0) * value * value;
}

template <class Math>
__global__ void __launch_bounds__(kThreads, Math::kBlocks) tiles_kernel(KRONLA_PARAMETER(Covariance) task) {
  using Sum = typename Math::Sum;
  KRONLA_SHARED(unsigned char, shared);
  const int block = static_cast<int>(blockIdx.x), piece = block % task.pieces, tile = block / task.pieces % task.tiles;
  const int64_t b = block / task.pieces / task.tiles;
  int row, column;
  triangular_tile(tile, row, column);

  const int k0 = piece * task.piece_depth;
  Operand operand;
  operand.data = static_cast<const Sum*>(task.X) + b * task.samples * task.size +
                 (task.by_samples ? k0 : static_cast<int64_t>(k0) * task.size);
  operand.ld = task.size;
  operand.slab = 0;
  operand.rows = task.rows;
  operand.depth = operand.inner = task.depth - k0 < task.piece_depth ? task.depth - k0 : task.piece_depth;
  operand.copy = task.copy;
  operand.type = task.type;
  const bool diagonal = row == column, idle = diagonal && threadIdx.x / 32 == 1;  // that warp's part lies above
  Sum total[2][4][4] = {};
  if (task.by_samples) {
    tile_product<Math, Layout::RowMajor, Layout::RowMajor>(operand, row * kTile, operand, column * kTile, diagonal,
                                                           idle, shared, total);
  } else {
    tile_product<Math, Layout::ColumnMajor, Layout::ColumnMajor>(operand, row * kTile, operand, column * kTile,
                                                                 diagonal, idle, shared, total);
  }

  if (task.pieces > 1) {
    Sum* part = static_cast<Sum*>(task.parts) + static_cast<int64_t>(block) * kTileElements;
    for_each_in_tile(total, [&](int r, int c, Sum sum) { part[r * kTile + c] = sum; });
    return;
  }
  KRONLA_SHARED_ARRAY(double, sums, kReduceRoom);
  double squares = 0.0;
  for_each_in_tile(total, [&](int r, int c, Sum sum) {
    squares += weighted_square(row * kTile + r, column * kTile + c, task.rows, sum);
  });
  squares = block_sum(squares, sums);
  if (threadIdx.x == 0) task.squares[b * task.tiles + tile] = squares;
}

template <class Sum>
__global__ void __launch_bounds__(kThreads) squares_kernel(KRONLA_PARAMETER(Covariance) task) {
  KRONLA_SHARED_ARRAY(double, sums, kReduceRoom);
  const int64_t tile_of_all = blockIdx.x;
  int row, column;
  triangular_tile(static_cast<int>(tile_of_all % task.tiles), row, column);
  const Sum* parts = static_cast<const Sum*>(task.parts) + tile_of_all * task.pieces * kTileElements;
  double squares = 0.0;
  for (int element = static_cast<int>(threadIdx.x); element < kTileElements; element += kThreads) {
    double sum = 0.0;
    for (int piece = 0; piece < task.pieces; ++piece)
      sum += static_cast<double>(parts[piece * kTileElements + element]);
    squares += weighted_square(row * kTile + element / kTile, column * kTile + element % kTile, task.rows, sum);
  }
  squares = block_sum(squares, sums);
  if (threadIdx.x == 0) task.squares[tile_of_all] = squares;
}

__global__ void __launch_bounds__(kThreads) norm_kernel(KRONLA_PARAMETER(Covariance) task, double* norm) {
  KRONLA_SHARED_ARRAY(double, sums, kReduceRoom);
  const double* squares = task.squares + static_cast<int64_t>(blockIdx.x) * task.tiles;
  double sum = 0.0;
  for (int tile = static_cast<int>(threadIdx.x); tile < task.tiles; tile += kThreads) sum += squares[tile];
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) norm[blockIdx.x] = sqrt(sum) / static_cast<double>(task.samples);
}

}  // namespace

template <class T>
void covariance_norm(int64_t batch, int64_t samples, int64_t size, const T* X, double* norm, const Stream& stream) {
  if (batch == 0) return;
  checked_int(samples * size);
  Covariance task{};
  task.X = X;
  task.samples = checked_int(samples);
  task.size = checked_int(size);
  task.by_samples = samples <= size;
  task.rows = std::min(task.samples, task.size);
  task.depth = std::max(task.samples, task.size);
  const int64_t side = (int64_t{task.rows} + kTile - 1) / kTile;
  task.tiles = checked_int(side * (side + 1) / 2);
  if (task.tiles > 0) {
    task.pieces = static_cast<int>(
        std::max<int64_t>(1, std::min(kWantedBlocks / task.tiles, static_cast<int64_t>(task.depth) / kLeastDepth)));
    // Whole panels of either type.
    task.piece_depth = ((task.depth + task.pieces - 1) / task.pieces + 31) / 32 * 32;
    task.pieces = (task.depth + task.piece_depth - 1) / task.piece_depth;
    task.type = scalar_type_of<T>();
    task.copy = copy_for<T>(X, size, 0, samples * size, true);
    task.squares = stream.take<double>(batch * task.tiles);
    if (task.pieces > 1) task.parts = stream.take<T>(batch * task.tiles * task.pieces * kTileElements);
    using Math = std::conditional_t<std::is_same_v<T, double>, Fp64, Tf32x3>;
    const unsigned blocks = static_cast<unsigned>(checked_int(batch * task.tiles * task.pieces));
    launch("covariance tiles", tiles_kernel<Math>, dim3(blocks), kThreads, tile_shared_bytes<Math>(), stream.handle,
           task);
    if (task.pieces > 1)
      launch("covariance squares", squares_kernel<T>, dim3(static_cast<unsigned>(batch * task.tiles)), kThreads, 0,
             stream.handle, task);
  }
  launch("covariance norm", norm_kernel, dim3(static_cast<unsigned>(checked_int(batch))), kThreads, 0, stream.handle,
         task, norm);
}

template void covariance_norm<float>(int64_t, int64_t, int64_t, const float*, double*, const Stream&);
template void covariance_norm<double>(int64_t, int64_t, int64_t, const double*, double*, const Stream&);

}  // namespace kronla::cuda
