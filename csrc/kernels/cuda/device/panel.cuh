// A panel: 64 rows of an operand, over 128 bytes of depth, in shared memory; and how it gets there.
//
// An operand is a matrix [rows, depth] whose rows are multiplied with those of another. Two layouts, in global and in
// shared memory alike:
//
//   RowMajor      (i, k) at (k / inner) slab + i ld + k % inner: the depth is contiguous, possibly cut into slabs (a mode
//                 of a tensor that is neither the first nor the last)
//   ColumnMajor   (i, k) at k ld + i: the rows are contiguous
//
// Each is padded so that the loads of the products meet no bank twice: RowMajor rows are 36 words apart for ldmatrix
// (eight rows of 16 bytes in 32 banks), ColumnMajor ones 72 words for single words (8t + g) and 36 for ldmatrix; doubles
// move in half-warps and want 8 banks between rows (g) or depths (t).
#pragma once

#include "kernels/cuda/device/async_copy.cuh"
#include "kernels/cuda/device/convert.cuh"

namespace kronla::cuda {

inline constexpr int kTile = 64;      // rows of a panel
inline constexpr int kThreads = 128;  // of the blocks that use one
inline constexpr int kStages =
    4;  // panels on their way or in use; four still let three blocks share a multiprocessor of sm_90

enum class Layout : uint8_t { RowMajor, ColumnMajor };

// How elements get to shared memory: asynchronously by 16 or 4 bytes, or one by one with a conversion.
enum class Copy : uint8_t { Vectors, Words, Elements };

struct Operand {
  const void* data;
  int ld, slab;  // in elements; a matrix has fewer than 2^31 of them, so that 32 bits hold any offset
  int rows, depth, inner;
  Copy copy;
  ScalarType type;
};

template <class E>
struct PanelShape {
  static constexpr int kDepth = 128 / sizeof(E);
  static constexpr int kRowStep = kDepth + (sizeof(E) == 8 ? 32 : 16) / static_cast<int>(sizeof(E));
  static constexpr int kColumnStep = kTile + (sizeof(E) == 2 ? 16 : 32) / static_cast<int>(sizeof(E));
  static constexpr int kElements = kTile * kRowStep > kDepth* kColumnStep ? kTile * kRowStep : kDepth * kColumnStep;
  static constexpr size_t kBytes = kElements * sizeof(E);
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

// Rows row0 … row0 + 63 and depths k0 … of the operand, zero beyond its edges, `kBytes` at a time; 0: element by element.
template <class E, Layout kLayout, int kBytes>
__device__ __forceinline__ void load_panel_by(const Operand& from, int row0, int k0, E* panel) {
  using Shape = PanelShape<E>;
  constexpr int kWidth = kBytes == 0 ? 1 : kBytes / static_cast<int>(sizeof(E));
  constexpr bool kRows = kLayout == Layout::RowMajor;
  constexpr int kAcross = (kRows ? Shape::kDepth : kTile) / kWidth;  // neighbouring threads take neighbours in memory
  constexpr int kDown = kRows ? kTile : Shape::kDepth;
  constexpr int kPass = kThreads / kAcross;
  static_assert(kThreads % kAcross == 0 && kDown % kPass == 0, "whole passes");
  const int across = static_cast<int>(threadIdx.x) % kAcross * kWidth, down = static_cast<int>(threadIdx.x) / kAcross;

  int offset;  // of this thread's first element
  int valid;   // how many of its neighbours exist
  int limit;   // how far down elements exist
  if (kRows) {
    const int k = k0 + across;
    const int slab = from.inner < from.depth ? k / from.inner : 0;
    offset = slab * from.slab + (k - slab * from.inner) + row0 * from.ld;
    valid = from.depth - k;
    limit = from.rows - row0;
  } else {
    offset = k0 * from.ld + row0 + across;
    valid = from.rows - row0 - across;
    limit = from.depth - k0;
  }
  valid = valid < 0 ? 0 : valid < kWidth ? valid : kWidth;
  const E* source = static_cast<const E*>(from.data);
  E* target = panel + across;
  constexpr int kStep = kRows ? Shape::kRowStep : Shape::kColumnStep;
  // The slow ways stay rolled up: their addresses, side by side, would push the sums out of the registers.
  [[maybe_unused]] constexpr int kUnroll = kBytes == 16 ? kDown / kPass : kBytes == 4 ? 2 : 1;
#pragma unroll kUnroll
  for (int pass = 0; pass < kDown / kPass; ++pass) {
    const int i = down + pass * kPass;
    const bool exists = i < limit && valid > 0;
    if constexpr (kBytes == 0) {
      const int at = offset + i * from.ld;
      if constexpr (sizeof(E) == 2) {
        target[i * kStep] = exists ? source[at] : E(0);
      } else {
        target[i * kStep] = exists ? read_as<E>(from.data, from.type, at) : E(0);
      }
    } else {
      async_copy<kBytes>(target + i * kStep, exists ? source + offset + i * from.ld : source,
                         exists ? valid * static_cast<int>(sizeof(E)) : 0);
    }
  }
}

template <class E, Layout kLayout>
__device__ __forceinline__ void load_panel(const Operand& from, int row0, int k0, E* panel) {
  if (from.copy == Copy::Vectors) return load_panel_by<E, kLayout, 16>(from, row0, k0, panel);
  if constexpr (sizeof(E) <= 4) {  // a double has no words
    if (from.copy == Copy::Words) return load_panel_by<E, kLayout, 4>(from, row0, k0, panel);
  }
  load_panel_by<E, kLayout, 0>(from, row0, k0, panel);
}

}  // namespace kronla::cuda
