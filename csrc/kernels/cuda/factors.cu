#include "kernels/cuda/factors.h"

#include <algorithm>

#include "kernels/cuda/device/average.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/device/tile_product.cuh"
#include "kernels/cuda/factors_pair.h"

namespace kronla::cuda {
namespace {

// F ← beta F + alpha · scale · A Bᵀ with a symmetric A Bᵀ; A and B are the same gradient where it has no weight, or A is
// the weighted one. Both are seen as [outer, dim, inner].
struct GramTask {
  void* F;
  const void* A;
  const void* B;
  const double* scale;  // [batch], or nullptr for 1
  void* parts;          // [batch, tiles, pieces, side²] where there are several pieces
  int batch, outer, dim, inner;
  int pieces, piece_depth;  // the depth is cut, and a second kernel adds up the pieces in order
  int first_tile;
  ScalarType type_A, type_B;
  Copy copy_A, copy_B;
};

struct GramSettings {
  double beta, alpha;
};

template <size_t kBytes>
using GramList = TaskList<GramTask, GramSettings, kBytes>;

// Factors that fit one warp's tile: several of them share a block.
__host__ __device__ constexpr bool is_small(int dim) { return dim <= WarpTile::kSide; }

__host__ __device__ constexpr int lower_tiles(int dim, int tile) {
  return (dim + tile - 1) / tile * ((dim + tile - 1) / tile + 1) / 2;
}

// Tiles of all matrices, each for all its pieces or for each of them.
int64_t all_tiles(const GramTask& task) {
  return int64_t{task.batch} * lower_tiles(task.dim, is_small(task.dim) ? WarpTile::kSide : kTile);
}
int64_t blocks_for(const GramTask& task, int64_t tiles) {
  return is_small(task.dim) ? (tiles + kWarpTiles - 1) / kWarpTiles : tiles;
}

__device__ __forceinline__ bool is_column_major(const GramTask& task) { return task.inner == 1 && task.outer > 1; }

// One gradient as rows [dim, outer · inner], up to depth `end`.
__device__ __forceinline__ Operand operand_of(const GramTask& task, const void* data, ScalarType type, Copy copy,
                                              int64_t entry, int end) {
  const int slab = task.dim * task.inner;
  Operand operand;
  operand.data = static_cast<const char*>(data) + entry * (task.outer * slab) * bytes_of(type);
  operand.ld = is_column_major(task) ? task.dim : task.inner;
  operand.slab = slab;
  operand.rows = task.dim;
  operand.depth = end;
  operand.inner = task.inner;
  operand.copy = copy;
  operand.type = type;
  return operand;
}

// Which tile a block or a warp works on: the index-th of its task.
template <class Tile>
struct Place {
  int index, entry, row, column;
  bool exists;
  __device__ __forceinline__ Place(const GramTask& task, int pieces) {
    const int block = static_cast<int>(blockIdx.x) - task.first_tile;
    index = Tile::kMembers == 32 ? block * kWarpTiles + static_cast<int>(threadIdx.x) / 32 : block;
    const int tiles = lower_tiles(task.dim, Tile::kSide), tile = index / pieces;
    entry = tile / tiles;
    exists = entry < task.batch;
    triangular_tile(tile % tiles, row, column);
  }
};

template <class Tile, class Sum>
__device__ __forceinline__ void average_tile(const GramSettings& settings, const GramTask& task, const Place<Tile>& at,
                                             const Sum (&total)[2][4][4]) {
  Sum alpha = static_cast<Sum>(settings.alpha);
  if (task.scale != nullptr) alpha *= static_cast<Sum>(task.scale[at.entry]);
  average<Tile>(static_cast<Sum*>(task.F) + int64_t{at.entry} * task.dim * task.dim, task.dim,
                static_cast<Sum>(settings.beta), alpha, at.row * Tile::kSide, at.column * Tile::kSide, total);
}

template <class Math, class Tile>
__device__ __forceinline__ void gram_tile(const GramSettings& settings, const GramTask& task, unsigned char* shared) {
  using Sum = typename Math::Sum;
  const Place<Tile> at(task, task.pieces);
  if (!at.exists) return;  // a warp without a tile, which no other one waits for
  Sum total[2][4][4] = {};
  if (task.outer > 0) {
    const int depth = task.outer * task.inner, begin = at.index % task.pieces * task.piece_depth;
    const int end = depth - begin < task.piece_depth ? depth : begin + task.piece_depth;
    const Operand A = operand_of(task, task.A, task.type_A, task.copy_A, at.entry, end);
    const Operand B = operand_of(task, task.B, task.type_B, task.copy_B, at.entry, end);
    const bool diagonal = at.row == at.column, one_panel = diagonal && task.A == task.B;
    // On the diagonal the second warp's part lies above it.
    const bool idle = Tile::kSide == kTile && diagonal && threadIdx.x / 32 == 1;
    const int i0 = at.row * Tile::kSide, j0 = at.column * Tile::kSide;
    if (is_column_major(task)) {
      tile_product<Math, Layout::ColumnMajor, Layout::ColumnMajor, Tile>(A, i0, B, j0, one_panel, idle, shared, total,
                                                                         begin);
    } else {
      tile_product<Math, Layout::RowMajor, Layout::RowMajor, Tile>(A, i0, B, j0, one_panel, idle, shared, total, begin);
    }
  }
  if (task.pieces > 1) {
    store_part<Tile>(total, static_cast<Sum*>(task.parts) + int64_t{at.index} * (Tile::kSide * Tile::kSide));
  } else {
    average_tile<Tile>(settings, task, at, total);
  }
}

template <class Math>
__host__ __device__ constexpr size_t warp_bytes(bool one_panel) {
  return tile_shared_bytes<Math, WarpTile>(one_panel ? 1 : 2);
}

template <class Math, size_t kBytes>
__global__ void __launch_bounds__(kThreads, Math::kBlocks) gram_kernel(KRONLA_PARAMETER(GramList<kBytes>) list) {
  KRONLA_SHARED(unsigned char, shared);
  const GramTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  if (is_small(task.dim)) {
    gram_tile<Math, WarpTile>(list.settings, task, shared + threadIdx.x / 32 * warp_bytes<Math>(task.A == task.B));
  } else {
    gram_tile<Math, BlockTile>(list.settings, task, shared);
  }
}

template <class Tile, class Sum>
__device__ __forceinline__ void finish_tile(const GramSettings& settings, const GramTask& task) {
  const Place<Tile> at(task, 1);
  if (!at.exists) return;
  constexpr int kElements = Tile::kSide * Tile::kSide;
  Sum total[2][4][4];
  add_parts<Tile>(static_cast<const Sum*>(task.parts) + int64_t{at.index} * task.pieces * kElements, task.pieces,
                  total);
  average_tile<Tile>(settings, task, at, total);
}

template <class Sum, size_t kBytes>
__global__ void __launch_bounds__(kThreads) finish_kernel(KRONLA_PARAMETER(GramList<kBytes>) list) {
  const GramTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  if (is_small(task.dim)) {
    finish_tile<WarpTile, Sum>(list.settings, task);
  } else {
    finish_tile<BlockTile, Sum>(list.settings, task);
  }
}

template <class Math>
void launch_grams(const std::vector<GramTask>& tasks, const GramSettings& settings, const Stream& stream) {
  const auto blocks_of = [](const GramTask& task) { return blocks_for(task, all_tiles(task) * task.pieces); };
  for_each_sized_launch(tasks, settings, blocks_of, [&](const auto& list, unsigned blocks) {
    constexpr size_t kBytes = std::decay_t<decltype(list)>::kParameterSize;
    size_t bytes = 0;
    for (int i = 0; i < list.count; ++i) {
      const GramTask& task = list.tasks[i];
      bytes = std::max(bytes, is_small(task.dim) ? kWarpTiles * warp_bytes<Math>(task.A == task.B)
                                                 : tile_shared_bytes<Math, BlockTile>());
    }
    launch("update_factors", gram_kernel<Math, kBytes>, dim3(blocks), kThreads, bytes, stream.handle, list);
  });
  std::vector<GramTask> cut;
  for (const GramTask& task : tasks)
    if (task.pieces > 1) cut.push_back(task);
  for_each_sized_launch(
      cut, settings, [](const GramTask& task) { return blocks_for(task, all_tiles(task)); },
      [&](const auto& list, unsigned blocks) {
        constexpr size_t kBytes = std::decay_t<decltype(list)>::kParameterSize;
        launch("update_factors, pieces", finish_kernel<typename Math::Sum, kBytes>, dim3(blocks), kThreads, 0,
               stream.handle, list);
      });
}

// Long sums are cut where there are few tiles, until a matrix gives two blocks to each multiprocessor of the largest cards;
// a piece costs what 128 of its depth cost to read. Whole stages of every arithmetic.
constexpr int64_t kWantedTiles = 264, kLeastPiece = 1024;
void cut_depth(GramTask& task) {
  const int64_t depth = int64_t{task.outer} * task.inner;
  const int64_t tiles = std::max(lower_tiles(task.dim, is_small(task.dim) ? WarpTile::kSide : kTile), 1);
  const int64_t pieces = std::max<int64_t>(1, std::min(kWantedTiles / tiles, depth / kLeastPiece));
  task.piece_depth = static_cast<int>(((depth + pieces - 1) / pieces + 63) / 64 * 64);
  task.pieces = depth == 0 ? 1 : static_cast<int>((depth + task.piece_depth - 1) / task.piece_depth);
}

// The tasks of one call by the arithmetic they want.
template <class T>
class Grams {
 public:
  Grams(const Stream& stream, Float32Method method) : stream_(stream), method_(method) {}

  // `weighted`, if any, is of type T and stands for the first G.
  void add(const FactorGroup<T>& group, bool reads_G, const T* weighted, const double* scale) {
    GramTask task{};
    task.F = group.F;
    task.A = weighted != nullptr ? weighted : group.G;
    task.B = group.G;
    task.scale = scale;
    task.batch = checked_int(group.batch);
    task.dim = checked_int(group.dim);
    task.inner = checked_int(group.inner);
    checked_int(group.outer * group.dim * group.inner);
    checked_int(group.outer * group.inner);
    task.outer = reads_G && group.inner > 0 ? checked_int(group.outer) : 0;
    task.type_A = weighted != nullptr ? scalar_type_of<T>() : group.G_type;
    task.type_B = group.G_type;
    cut_depth(task);
    checked_int(all_tiles(task) * task.pieces);
    if (task.pieces > 1) {
      const int64_t side = is_small(task.dim) ? WarpTile::kSide : kTile;
      task.parts = stream_.take<T>(all_tiles(task) * task.pieces * side * side);
    }
    const bool sixteen = std::is_same_v<T, float> && element_size(group.G_type) == 2;
    const bool mixed = sixteen && weighted != nullptr && method_ == Float32Method::Tf32x3;
    const auto copy = [&](const void* data, ScalarType type) {
      const bool column = group.inner == 1 && group.outer > 1;
      const int64_t slab = group.dim * group.inner, ld = column ? group.dim : group.inner, step = slab * group.outer;
      return element_size(type) == 2 && (mixed || weighted == nullptr)
                 ? copy_for<uint16_t>(data, ld, slab, step, sixteen)
                 : copy_for<T>(data, ld, slab, step, type == scalar_type_of<T>());
    };
    task.copy_A = copy(task.A, task.type_A);
    task.copy_B = copy(task.B, task.type_B);
    (mixed                                  ? mixed_
     : !sixteen || weighted != nullptr      ? plain_
     : group.G_type == ScalarType::BFloat16 ? bf16_
                                            : fp16_)
        .push_back(task);
  }

  void run(double beta, double alpha) {
    const GramSettings settings{beta, alpha};
    for (std::vector<GramTask>* tasks : {&plain_, &bf16_, &fp16_, &mixed_}) {
      // The long sums first, so that none of them begins last; by the larger side, so that the two factors of a gradient
      // stay together and the second finds it in the L2 cache.
      std::stable_sort(tasks->begin(), tasks->end(), [](const GramTask& a, const GramTask& b) {
        const auto length = [](const GramTask& x) { return std::max<int64_t>(int64_t{x.outer} * x.inner, x.dim); };
        return length(a) > length(b);
      });
    }
    if constexpr (std::is_same_v<T, double>) {
      launch_grams<Fp64>(plain_, settings, stream_);
    } else {
      if (method_ == Float32Method::Tf32x3) {
        launch_grams<Tf32x3>(plain_, settings, stream_);
      } else {
        launch_grams<Fp32>(plain_, settings, stream_);
      }
      launch_grams<Bf16>(bf16_, settings, stream_);
      launch_grams<Fp16>(fp16_, settings, stream_);
      launch_grams<Tf32<float, uint16_t>>(mixed_, settings, stream_);
    }
  }

 private:
  Stream stream_;
  Float32Method method_;
  std::vector<GramTask> plain_, bf16_, fp16_, mixed_;
};

// G W (a left factor, outer 1) or W G (a right one, inner 1), into `weighted`. W is symmetric: its rows are read.
template <class T>
Product<T> weighted_gradient(const FactorGroup<T>& group, T* weighted) {
  const int64_t slab = group.outer * group.dim * group.inner, w = group.outer * group.inner;
  const ProductInput W{group.W, scalar_type_of<T>(), false, w * w};
  if (group.outer == 1) {
    return {group.batch, group.dim, group.inner, group.inner, {group.G, group.G_type, false, slab}, W, weighted};
  }
  return {group.batch, group.outer, group.dim, group.outer, W, {group.G, group.G_type, true, slab}, weighted};
}

}  // namespace

template <class T>
void update_factors(const std::vector<FactorGroup<T>>& groups, double beta, double alpha, const Stream& stream,
                    Float32Method method) {
  const bool reads_G = static_cast<T>(alpha) != T(0);
  Grams<T> grams(stream, method);
  std::vector<Product<T>> weightings;
  std::vector<FactorPair> pairs;
  for (size_t i = 0; i < groups.size(); ++i) {
    const FactorGroup<T>& group = groups[i];
    if constexpr (std::is_same_v<T, float>) {
      if (reads_G && method == Float32Method::Tf32x3 && i + 1 < groups.size() && are_pair(group, groups[i + 1])) {
        pairs.push_back({group.F, groups[++i].F, group.G, group.G_type, group.batch, group.dim, group.inner});
        continue;
      }
    }
    const int64_t slab = group.outer * group.dim * group.inner;
    T* weighted = nullptr;
    if (group.W != nullptr && reads_G && slab > 0 && group.batch > 0) {
      weighted = stream.take<T>(group.batch * slab);
      weightings.push_back(weighted_gradient(group, weighted));
    }
    grams.add(group, reads_G, weighted, nullptr);
  }
  update_factor_pairs(pairs, beta, alpha, stream);
  multiply(weightings, stream, method);
  grams.run(beta, alpha);
}

template <class T>
void kron_power_step(const PowerStep<T>& step, const Stream& stream, Float32Method method) {
  const int64_t m = step.m, n = step.n, samples = step.samples, all = samples * m * n;
  std::vector<Product<T>> weightings;
  Grams<T> grams(stream, method);
  const auto add = [&](FactorGroup<T> group, const Product<T>& weighting) {
    if (step.batch * all > 0) weightings.push_back(weighting);
    grams.add(group, true, weighting.C, step.scale);
  };
  // The scale is taken once on the way to the weighted gradient and once after the sum, so that neither overflows.
  if (step.L_next != nullptr) {
    T* weighted = stream.take<T>(step.batch * all);  // all samples' rows below each other, times R
    add({step.batch, samples, m, n, step.L_next, step.G, step.G_type, nullptr},
        {step.batch,
         samples * m,
         n,
         n,
         {step.G, step.G_type, false, all},
         {step.R, scalar_type_of<T>(), false, n * n},
         weighted,
         step.scale});
  }
  if (step.R_next != nullptr) {
    T* weighted = stream.take<T>(step.batch * all);
    add({step.batch, samples * m, n, 1, step.R_next, step.G, step.G_type, nullptr},
        {step.batch,
         m,
         samples * n,
         m,
         {step.L, scalar_type_of<T>(), false, m * m},
         {step.G, step.G_type, true, all},
         weighted,
         step.scale,
         n});
  }
  multiply(weightings, stream, method);
  grams.run(0.0, 1.0 / static_cast<double>(samples));
}

template void update_factors<float>(const std::vector<FactorGroup<float>>&, double, double, const Stream&,
                                    Float32Method);
template void update_factors<double>(const std::vector<FactorGroup<double>>&, double, double, const Stream&,
                                     Float32Method);
template void kron_power_step<float>(const PowerStep<float>&, const Stream&, Float32Method);
template void kron_power_step<double>(const PowerStep<double>&, const Stream&, Float32Method);

}  // namespace kronla::cuda
