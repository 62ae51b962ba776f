// A panel: the rows of a tile of an operand, over the depth of a stage, in shared memory; and how it gets there.
//
// An operand is a matrix [rows, depth] whose rows are multiplied with those of another. Two layouts, in global and in
// shared memory alike:
//
//   RowMajor      (i, k) at (k / inner) slab + i ld + k % inner: the depth is contiguous, possibly cut into slabs (a mode
//                 of a tensor that is neither the first nor the last)
//   ColumnMajor   (i, k) at (i / row_inner) slab + k ld + i % row_inner: the rows are contiguous, possibly cut into slabs
//                 (the slices of a tensor side by side); row_inner 0: in one piece
//
// Each is padded so that the loads of the products meet no bank twice: RowMajor rows are an odd multiple of 4 words apart
// for ldmatrix (eight rows of 16 bytes in 32 banks); ColumnMajor ones 8 or 24 words for single words (8t + g), or again an
// odd multiple of 4 for ldmatrix; doubles move in half-warps and want 8 banks between rows (g) or depths (t). Where a tile
// of one warp would need more room for that, two lanes may meet.
#pragma once

#include "kernels/cuda/device/async_copy.cuh"
#include "kernels/cuda/device/convert.cuh"

namespace kronla::cuda {

inline constexpr int kTile = 64;      // rows and columns of a block's tile
inline constexpr int kThreads = 128;  // of the blocks that use them

// A tile of 64 × 64 that a block works on, or one of 32 × 32 for each warp: small matrices then share a block, and wait for
// nobody but themselves. `kStages` panels are on their way or in use; with these a block has the same shared memory, 72 KB,
// either way, and three of them fit a multiprocessor of sm_90.
struct BlockTile {
  static constexpr int kSide = kTile;
  static constexpr int kMembers = kThreads;
  static constexpr int kStages = 4;
  static __device__ __forceinline__ void barrier() { __syncthreads(); }
};
struct WarpTile {
  static constexpr int kSide = 32;
  static constexpr int kMembers = 32;
  static constexpr int kStages = 2;
  static __device__ __forceinline__ void barrier() { __syncwarp(); }
};
inline constexpr int kWarpTiles = kThreads / 32;  // in a block

// A whole matrix of at most `kMost` rows and columns in one panel, read by rows and by columns: of a warp or of a block.
template <int kMost>
struct WholeTile {
  static constexpr int kSide = kMost;
  static constexpr int kMembers = kMost == kTile ? kThreads : 32;
  static __device__ __forceinline__ void barrier() {
    std::conditional_t<kMost == kTile, BlockTile, WarpTile>::barrier();
  }
};

enum class Layout : uint8_t { RowMajor, ColumnMajor };

// How elements get to shared memory: asynchronously by 16 or 4 bytes, or one by one with a conversion.
enum class Copy : uint8_t { Vectors, Words, Elements };

struct Operand {
  const void* data;
  int ld, slab;  // in elements; a matrix has fewer than 2^31 of them, so that 32 bits hold any offset
  int rows, depth, inner;
  Copy copy;
  ScalarType type;
  int row_inner = 0;
};

template <class E, int kStageDepth, class Tile>
struct PanelShape {
  static constexpr int kDepth = kStageDepth;
  static constexpr int kStep = kDepth / 4;  // that a product takes at once
  static constexpr int kRowStep = kDepth + (sizeof(E) == 8 ? 32 : 16) / static_cast<int>(sizeof(E));
  static constexpr int kColumnPad = sizeof(E) == 4 && Tile::kSide == kTile ? 8 : sizeof(E) == 2 ? 8 : 4;
  static constexpr int kColumnStep = Tile::kSide + kColumnPad;
  static constexpr int kElements =
      Tile::kSide * kRowStep > kDepth* kColumnStep ? Tile::kSide * kRowStep : kDepth * kColumnStep;
  static constexpr size_t kBytes = kElements * sizeof(E);
};

// Rows an odd multiple of 4 words apart, which ldmatrix wants: for single words along a column two lanes meet.
template <class E, int kStageDepth, int kMost>
struct PanelShape<E, kStageDepth, WholeTile<kMost>> {
  static constexpr int kDepth = kMost;
  static constexpr int kStep = 16;
  static constexpr int kRowStep = kMost + 16 / static_cast<int>(sizeof(E));
  static constexpr int kColumnStep = kRowStep;
  static constexpr size_t kBytes = kMost * kRowStep * sizeof(E);
};

// The fastest copy that the address and the steps (in elements) of an operand allow; `same_type`: it consists of E.
template <class E>
Copy copy_for(const void* data, int64_t ld, int64_t slab, int64_t batch_step, bool same_type) {
  if (!same_type) return Copy::Elements;
  const auto aligned = [&](int64_t bytes) {
    const int64_t size = sizeof(E);
    return reinterpret_cast<uintptr_t>(data) % bytes == 0 && ld * size % bytes == 0 && slab * size % bytes == 0 &&
           batch_step * size % bytes == 0;
  };
  if (aligned(16)) return Copy::Vectors;
  return aligned(4) ? Copy::Words : Copy::Elements;
}

// Rows row0 … and depths k0 … of the operand, `kBytes` at a time; 0: element by element. Zero beyond its edges, as far as
// the products look: to the next 16 rows and to the end of a step in depth.
template <class Shape, class Tile, class E, Layout kLayout, int kBytes>
__device__ __forceinline__ void load_panel_by(const Operand& from, int row0, int k0, E* panel) {
  constexpr int kWidth = kBytes == 0 ? 1 : kBytes / static_cast<int>(sizeof(E));
  constexpr bool kRows = kLayout == Layout::RowMajor;
  constexpr int kAcross = (kRows ? Shape::kDepth : Tile::kSide) / kWidth;  // neighbours take neighbours in memory
  constexpr int kDown = kRows ? Tile::kSide : Shape::kDepth;
  constexpr int kSideBySide = kAcross < Tile::kMembers ? kAcross : Tile::kMembers;
  constexpr int kPass = Tile::kMembers / kSideBySide;
  constexpr int kApart = kRows ? Shape::kRowStep : Shape::kColumnStep, kStep = Shape::kStep;
  static_assert(Tile::kMembers % kSideBySide == 0 && kAcross % kSideBySide == 0 && kDown % kPass == 0, "whole passes");
  const int member = static_cast<int>(threadIdx.x) % Tile::kMembers;
  const int down = member / kSideBySide, rows = from.rows - row0, depth = from.depth - k0;
  const int limit = kRows ? rows : depth;  // how far down elements exist, and how far they are looked at
  const int wanted = kRows ? (rows + 15) / 16 * 16 : (depth + kStep - 1) / kStep * kStep;
  const E* source = static_cast<const E*>(from.data);
#pragma unroll
  for (int side = 0; side < kAcross; side += kSideBySide) {
    const int across = (side + member % kSideBySide) * kWidth;
    if (across >= (kRows ? (depth + kStep - 1) / kStep * kStep : (rows + 15) / 16 * 16)) continue;
    int offset;  // of this thread's first element
    int valid;   // how many of its neighbours exist
    if (kRows) {
      const int k = k0 + across, slab = from.inner < from.depth ? k / from.inner : 0;
      offset = slab * from.slab + (k - slab * from.inner) + row0 * from.ld;
      valid = depth - across;
    } else {
      const int row = row0 + across, slab = from.row_inner > 0 ? row / from.row_inner : 0;
      offset = slab * from.slab + k0 * from.ld + (row - slab * from.row_inner);
      valid = rows - across;
    }
    valid = valid < 0 ? 0 : valid < kWidth ? valid : kWidth;
    E* target = panel + across;
    // The slow ways stay rolled up: their addresses, side by side, would push the sums out of the registers.
    [[maybe_unused]] constexpr int kUnroll = kBytes == 16 ? kDown / kPass : kBytes == 4 ? 2 : 1;
#pragma unroll kUnroll
    for (int pass = 0; pass < kDown / kPass; ++pass) {
      const int i = down + pass * kPass;
      if (i >= wanted) continue;
      const bool exists = i < limit && valid > 0;
      if constexpr (kBytes == 0) {
        const int at = offset + i * from.ld;
        if constexpr (sizeof(E) == 2) {
          target[i * kApart] = exists ? source[at] : E(0);
        } else {
          target[i * kApart] = exists ? read_as<E>(from.data, from.type, at) : E(0);
        }
      } else {
        async_copy<kBytes>(target + i * kApart, exists ? source + offset + i * from.ld : source,
                           exists ? valid * static_cast<int>(sizeof(E)) : 0);
      }
    }
  }
}

template <class Shape, class Tile, Layout kLayout, class E>
__device__ __forceinline__ void load_panel(const Operand& from, int row0, int k0, E* panel) {
  if (from.copy == Copy::Vectors) return load_panel_by<Shape, Tile, E, kLayout, 16>(from, row0, k0, panel);
  if constexpr (sizeof(E) <= 4) {  // a double has no words
    if (from.copy == Copy::Words) return load_panel_by<Shape, Tile, E, kLayout, 4>(from, row0, k0, panel);
  }
  load_panel_by<Shape, Tile, E, kLayout, 0>(from, row0, k0, panel);
}

}  // namespace kronla::cuda
