#include "kernels/cuda/orthonormalize_passes.h"

#include <algorithm>

#include "kernels/cuda/device/limits.cuh"
#include "kernels/cuda/device/qr_work.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/device/tile_product.cuh"

namespace kronla::cuda {
namespace {

struct PassSettings {
  int pass, panel;
  int at;  // of the pass among all runs: for qr_work
};

constexpr int kSolveBlocks = 3;  // that share a multiprocessor

__host__ __device__ constexpr int tiles_along(int size) { return (size + kTile - 1) / kTile; }
__host__ __device__ constexpr int lower_tiles(int size) { return tiles_along(size) * (tiles_along(size) + 1) / 2; }

// One matrix of a group.
struct QrMatrix {
  double *W, *G, *sine, *next, *scale, *gaps;
  QrState* state;
  __device__ __forceinline__ QrMatrix(const QrGroup& group, int entry)
      : W(group.W + int64_t{entry} * group.m * group.ld),
        G(group.G + int64_t{entry} * group.n * group.ld),
        sine(group.columns + int64_t{entry} * 3 * group.n),
        next(sine + group.n),
        scale(next + group.n),
        gaps(group.gaps + int64_t{entry} * lower_tiles(group.n)),
        state(group.state + entry) {}
};

__device__ __forceinline__ Operand operand_of(const double* data, int ld, int rows, int depth) {
  return {data, ld, 0, rows, depth, depth, Copy::Vectors, ScalarType::Float64};
}

// G = WᵀW, the lower triangle, and how far each tile is from the identity.
template <class List>
__global__ void __launch_bounds__(kThreads, Fp64::kBlocks) gram_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  KRONLA_SHARED_ARRAY(double, reduce, kReduceRoom);
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const auto work = [&](const QrGroup& group) { return qr_work(group, list.settings.at, QrStage::Gram); };
  const auto tiles = [](const QrGroup& group) { return lower_tiles(group.n); };
  for_each_tile(list, first, work, tiles, [&](const QrGroup& group, int entry, int tile) {
    const QrMatrix matrix(group, entry);
    int row, column;
    triangular_tile(tile, row, column);
    const bool diagonal = row == column;
    double total[2][4][4] = {};
    const Operand W = operand_of(matrix.W, group.ld, group.n, group.m);
    tile_product<Fp64, Layout::ColumnMajor, Layout::ColumnMajor>(W, row * kTile, W, column * kTile, diagonal,
                                                                 diagonal && threadIdx.x / 32 == 1, shared, total);
    double gap = 0.0;
    for_each_in_tile(total, [&](int r, int c, double sum) {
      const int i = row * kTile + r, j = column * kTile + c;
      if (i >= group.n || j > i) return;
      matrix.G[int64_t{i} * group.ld + j] = sum;
      const double rest = i == j ? sum - 1.0 : sum;
      gap += (i == j ? 1.0 : 2.0) * rest * rest;
    });
    gap = block_sum(gap, reduce);
    if (threadIdx.x == 0) matrix.gaps[tile] = gap;
  });
}

// Whether the pass is needed; the scales of the columns, and what is known of their rank.
template <class T, class List>
__global__ void __launch_bounds__(kThreads) scale_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED_ARRAY(double, reduce, kReduceRoom);
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const int pass = list.settings.pass;
  const auto work = [&](const QrGroup& group) { return qr_work(group, list.settings.at, QrStage::Gram); };
  for_each_tile(
      list, first, work, [](const QrGroup&) { return 1; },
      [&](const QrGroup& group, int entry, int) {
        const QrMatrix matrix(group, entry);
        double gap = 0.0;
        for (int tile = threadIdx.x; tile < lower_tiles(group.n); tile += kThreads) gap += matrix.gaps[tile];
        gap = block_sum(gap, reduce);
        if (pass > 0 && sqrt(gap / group.n) <= good_gap<T>()) return;
        for (int j = threadIdx.x; j < group.n; j += kThreads) {
          const double square = matrix.G[int64_t{j} * group.ld + j];
          double sine = 1.0;
          // The first pass measures angles; later ones also what is left of a column that was held.
          if (pass > 0) sine = matrix.next[j] < 0.0 ? kRankGone : matrix.next[j] * sqrt(square);
          matrix.sine[j] = sine;
          matrix.scale[j] = square > 0.0 ? rsqrt(square) : 0.0;
        }
        if (threadIdx.x != 0) return;
        matrix.state->gap = gap;
        matrix.state->again = 0;
        append(qr_work(group, list.settings.at, QrStage::Panels), entry);
      });
}

// The tile of the running column panel that a block works on: of G at or below `first`, then of W.
struct PanelTile {
  double* rows;  // the first row of the tile
  int row, count, limit;
  bool of_G;
  __device__ __forceinline__ PanelTile(const QrGroup& group, const QrMatrix& matrix, int first, int index) {
    const int of_first = tiles_along(group.n) - first;
    of_G = index < of_first;
    row = of_G ? first + index : index - of_first;
    limit = of_G ? group.n : group.m;
    count = limit - row * kTile < kTile ? limit - row * kTile : kTile;
    rows = (of_G ? matrix.G : matrix.W) + int64_t{row} * kTile * group.ld;
  }
};

__host__ __device__ constexpr int panel_tiles(const QrGroup& group, int first) {
  return tiles_along(group.n) - first + tiles_along(group.m);
}

// Columns of panel k: scaled, less what the panels before take from them. (Left-looking: each tile is written once.)
template <class List>
__global__ void __launch_bounds__(kThreads, Fp64::kBlocks) update_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const int panel = list.settings.panel, c0 = panel * kTile;
  const auto work = [&](const QrGroup& group) { return qr_work(group, list.settings.at, QrStage::Panels); };
  const auto tiles = [&](const QrGroup& group) { return c0 < group.n ? panel_tiles(group, panel) : 0; };
  for_each_tile(list, first, work, tiles, [&](const QrGroup& group, int entry, int index) {
    const QrMatrix matrix(group, entry);
    const PanelTile tile(group, matrix, panel, index);
    const bool diagonal = tile.of_G && tile.row == panel;
    double total[2][4][4] = {};
    const Operand left = operand_of(tile.of_G ? matrix.G : matrix.W, group.ld, tile.limit, c0);
    const Operand right = operand_of(matrix.G, group.ld, group.n, c0);
    tile_product<Fp64, Layout::RowMajor, Layout::RowMajor>(left, tile.row * kTile, right, c0, diagonal,
                                                           diagonal && threadIdx.x / 32 == 1, shared, total);
    for_each_in_tile(total, [&](int r, int c, double sum) {
      if (r >= tile.count || c0 + c >= group.n || (diagonal && c > r)) return;
      double* at = tile.rows + int64_t{r} * group.ld + c0 + c;
      const double left_scale = tile.of_G ? matrix.scale[tile.row * kTile + r] : 1.0;
      *at = *at * (left_scale * matrix.scale[c0 + c]) - sum;
    });
  });
}

size_t panel_shared_bytes() { return 2 * kTile * block_step_of(kTile) * sizeof(double); }

// Panel k: every block factors the tile on the diagonal for itself and solves its own rows; no launch waits for one block.
template <class T, class List>
__global__ void __launch_bounds__(kThreads, kSolveBlocks) solve_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(double, M);
  KRONLA_SHARED_ARRAY(double, sine, kTile);
  KRONLA_SHARED_ARRAY(double, next, kTile);
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const int thread = static_cast<int>(threadIdx.x);
  const int panel = list.settings.panel, pass = list.settings.pass, c0 = panel * kTile;
  const auto work = [&](const QrGroup& group) { return qr_work(group, list.settings.at, QrStage::Panels); };
  const auto tiles = [&](const QrGroup& group) { return c0 < group.n ? panel_tiles(group, panel + 1) : 0; };
  for_each_tile(list, first, work, tiles, [&](const QrGroup& group, int entry, int index) {
    const QrMatrix matrix(group, entry);
    const PanelTile tile(group, matrix, panel + 1, index);
    const int width = group.n - c0 < kTile ? group.n - c0 : kTile, N = block_size_of(width), ld = block_step_of(N);

    if (thread < N) sine[thread] = thread < width ? matrix.sine[c0 + thread] : 1.0;
    for (int index_M = thread; index_M < (N + kTile) * N; index_M += kThreads) {
      const int i = index_M / N, j = index_M % N;
      double value = i == j ? 1.0 : 0.0;
      if (i < N) {
        if (i < width && j <= i) value = matrix.G[int64_t{c0 + i} * group.ld + c0 + j];
      } else {
        value = i - N < tile.count && j < width ? tile.rows[int64_t{i - N} * group.ld + c0 + j] : 0.0;
      }
      M[i * ld + j] = value;
    }
    __syncthreads();
    const RankTest test = rank_test<T>(group.m, pass);
    const bool again = eliminate_panel<kThreads>(StackedPanel{M, N, ld}, kTile, test, sine, next);
    for (int index_M = thread; index_M < tile.count * width; index_M += kThreads) {
      const int i = index_M / width, j = index_M % width;
      tile.rows[int64_t{i} * group.ld + c0 + j] = !tile.of_G && next[j] == kReplaceNow
                                                      ? replacement(tile.row * kTile + i, c0 + j, group.n, pass)
                                                      : M[(N + i) * ld + j];
    }
    if (tile.of_G || tile.row != 0) return;  // one block speaks for all
    if (thread < width) matrix.next[c0 + thread] = next[thread];
    if (thread != 0) return;
    QrState& state = *matrix.state;
    if (again) state.again = 1;
    for (int j = 0; j < width; ++j)
      if (!(next[j] > test.tolerance)) state.deficient = 1;
    if (c0 + width < group.n || pass + 1 == qr_passes<T>()) return;
    if (state.again != 0 || state.gap >= kSettledGap)
      append(qr_work(group, list.settings.at + 1, QrStage::Gram), entry);
  });
}

}  // namespace

template <class T>
QrGroup qr_group(int64_t batch, int64_t m, int64_t n, int64_t runs, const Stream& stream) {
  const int64_t ld = qr_step(n);
  checked_int(m * ld);
  QrGroup group{};
  group.batch = checked_int(batch);
  group.m = checked_int(m);
  group.n = checked_int(n);
  group.ld = checked_int(ld);
  group.W = stream.take<double>(batch * m * ld);
  group.G = stream.take<double>(batch * n * ld);
  group.columns = stream.take<double>(batch * 3 * n);
  group.gaps = stream.take<double>(batch * lower_tiles(group.n));
  group.state = stream.take<QrState>(batch);
  group.counts = stream.take<int32_t>(qr_counts<T>(runs));
  group.entries = stream.take<int32_t>(2 * batch);
  return group;
}

template <class T>
void orthonormalize_passes(const std::vector<QrGroup>& groups, int64_t run, const Stream& stream) {
  int panels = 0;
  for (const QrGroup& group : groups)
    if (group.batch > 0) panels = std::max(panels, tiles_along(group.n));
  const auto matrices = [](const QrGroup& group) { return int64_t{group.n > 0 ? group.batch : 0}; };
  for (int pass = 0; panels > 0 && pass < qr_passes<T>(); ++pass) {
    const int at = checked_int(run * qr_passes<T>() + pass);
    for_each_launch(
        groups, PassSettings{pass, 0, at},
        [](const QrGroup& group) { return int64_t{group.batch} * lower_tiles(group.n); },
        [&](const auto& list, unsigned blocks) {
          launch("orthonormalize: Gram matrices", gram_kernel<std::decay_t<decltype(list)>>,
                 dim3(std::min(blocks, resident_blocks(Fp64::kBlocks))), kThreads, tile_shared_bytes<Fp64>(),
                 stream.handle, list);
        });
    for_each_launch(groups, PassSettings{pass, 0, at}, matrices, [&](const auto& list, unsigned blocks) {
      launch("orthonormalize: scales", scale_kernel<T, std::decay_t<decltype(list)>>,
             dim3(std::min(blocks, resident_blocks(8))), kThreads, 0, stream.handle, list);
    });
    for (int panel = 0; panel < panels; ++panel) {
      const auto tiles = [&](int first) {
        return [panel, first](const QrGroup& group) {
          return panel < tiles_along(group.n) ? int64_t{group.batch} * panel_tiles(group, first) : int64_t{0};
        };
      };
      for_each_launch(groups, PassSettings{pass, panel, at}, tiles(panel), [&](const auto& list, unsigned blocks) {
        launch("orthonormalize: update", update_kernel<std::decay_t<decltype(list)>>,
               dim3(std::min(blocks, resident_blocks(Fp64::kBlocks))), kThreads, tile_shared_bytes<Fp64>(),
               stream.handle, list);
      });
      for_each_launch(groups, PassSettings{pass, panel, at}, tiles(panel + 1), [&](const auto& list, unsigned blocks) {
        launch("orthonormalize: solve", solve_kernel<T, std::decay_t<decltype(list)>>,
               dim3(std::min(blocks, resident_blocks(kSolveBlocks))), kThreads, panel_shared_bytes(), stream.handle,
               list);
      });
    }
  }
}

template QrGroup qr_group<float>(int64_t, int64_t, int64_t, int64_t, const Stream&);
template QrGroup qr_group<double>(int64_t, int64_t, int64_t, int64_t, const Stream&);
template void orthonormalize_passes<float>(const std::vector<QrGroup>&, int64_t, const Stream&);
template void orthonormalize_passes<double>(const std::vector<QrGroup>&, int64_t, const Stream&);

}  // namespace kronla::cuda
