// The orthonormal factor of W by Cholesky of its Gram matrix, in float64: the parts of it that lie in shared memory.
//
// The panel stacks G = D WᵀW D, of unit diagonal, above rows of W D: what the Cholesky factorisation does to the rows of
// G below a block of columns is what W L⁻ᵀ asks for, so one elimination does both.
//
// Rank. A pivot is the square of the sine between a column and the span of those before it, and known up to rounding,
// about m u. Where it is below 4 m u it is held there; the next pass sees the rest of the column, and the product of what
// the passes divided by is the sine. Where that falls to √m ε or below, the column is replaced by a fixed pseudo-random
// vector, which the next pass makes orthogonal. No shift of the whole diagonal, no Householder reflections.
#pragma once

#include "kernels/cuda/device/block_product.cuh"
#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/symmetric_blocks.cuh"

namespace kronla::cuda {

inline constexpr double kSettledGap = 0.25;  // ‖WᵀW − I‖_F² below which one pass leaves rounding only
inline constexpr double kRankGone = -1.0;    // the `sine` of a column that was replaced, from then on
inline constexpr double kReplaceNow = -2.0;  // what elimination says of a column that must be replaced

// ‖WᵀW − I‖_F/√n that is good enough for T. In double only a pass on columns that are nearly orthonormal is.
template <class T>
__device__ __forceinline__ double good_gap() {
  return sizeof(T) == 4 ? 5e-8 : 0.0;
}
template <class T>
__host__ __device__ constexpr int qr_passes() {
  return sizeof(T) == 4 ? 3 : 5;
}

// Where pivots are held; the sine at or below which the rank is deficient (kernels/eigenbasis.h); and whether columns are
// still replaced: not in the last pass, for which there is none behind it (a sine next to the tolerance may get there late).
struct RankTest {
  double hold, tolerance;
  bool replaces;
};
template <class T>
__device__ __forceinline__ RankTest rank_test(int m, int pass) {
  return {4.0 * m * 1.1102230246251565e-16, sqrt(static_cast<double>(m)) * Limits<T>::kEpsilon,
          pass + 1 < qr_passes<T>()};
}

// Row i of what stands in for column j in pass `pass`: uniform in (−1, 1), from splitmix64 (Steele, Lea and Flood 2014).
__device__ __forceinline__ double replacement(int i, int j, int n, int pass) {
  uint64_t z = (static_cast<uint64_t>(i) * static_cast<uint64_t>(n) + static_cast<uint64_t>(j)) * 8 +
               static_cast<uint64_t>(pass) + 1;
  z *= 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return static_cast<double>(static_cast<int64_t>(z >> 11) - (int64_t{1} << 52)) * 0x1p-52;
}

// Where the rows of a panel lie, N of G and below them those of W: all of them whole, in M with rows ld apart …
struct StackedPanel {
  double* M;
  int N, ld;
  __device__ __forceinline__ double* at(int row, int column) const { return M + row * ld + column; }
  __device__ __forceinline__ double* W() const { return M + N * ld; }
};
// … or of G only the 16 × 16 blocks on and below the diagonal, as in symmetric_blocks.cuh: half the room.
struct SplitPanel {
  double *G, *rows;
  int N, ld;
  __device__ __forceinline__ double* at(int row, int column) const {
    return row < N
               ? G + place_of_block(row / kSide, column / kSide) + place_in_block<double>(row % kSide, column % kSide)
               : rows + (row - N) * ld + column;
  }
  __device__ __forceinline__ double* W() const { return rows; }
};

// Eliminates the columns of G (its lower triangle is read) from all N + below rows, below a multiple of 8; as many
// threads as rows, or more. sine[N] and next[N] in shared memory: what the passes before divided each column by, and the
// same after this one. True where a pivot was held or a column must be replaced. A barrier must come before and after.
//
// By eight columns: each thread factors the 8 × 8 block on the diagonal for itself, in registers, and solves its own row;
// tensor cores update what is to the right. Two barriers per eight columns, and none in the chain of square roots.
template <int kBlock, class Panel>
__device__ __forceinline__ bool eliminate_panel(const Panel& panel, int below, RankTest test, const double* sine,
                                                double* next) {
  const int N = panel.N, row = static_cast<int>(threadIdx.x), warp = row / 32, lane = row % 32;
  const int g = lane >> 2, t = lane & 3, upper_tiles = N / 8;
  bool again = false;
  for (int p = 0; p < N; p += 8) {
    double L[8][8], inverse[8];
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j <= i; ++j) L[i][j] = *panel.at(p + i, p + j);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const bool held = !(L[j][j] > test.hold);
      const double pivot = held ? test.hold : L[j][j], root = rsqrt(pivot), before = sine[p + j];
      const double after = before < 0.0 ? before : before * (pivot * root);
      const bool replace = test.replaces && (before < 0.0 ? held : !(after > test.tolerance));
      again = again || held || replace;
      if (row == 0) next[p + j] = replace ? kReplaceNow : after;
      inverse[j] = replace ? 0.0 : root;  // a column of 0 leaves the others alone
#pragma unroll
      for (int i = j + 1; i < 8; ++i) L[i][j] *= inverse[j];
#pragma unroll
      for (int k = j + 1; k < 8; ++k)
#pragma unroll
        for (int i = k; i < 8; ++i) L[i][k] -= L[i][j] * L[k][j];
    }
    if (row >= p + 8 && row < N + below) {
      double x[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        x[j] = *panel.at(row, p + j);
#pragma unroll
        for (int i = 0; i < j; ++i) x[j] -= x[i] * L[j][i];
        x[j] *= inverse[j];
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) *panel.at(row, p + j) = x[j];
    }
    __syncthreads();
    for (int ti = warp; ti < upper_tiles + below / 8; ti += kBlock / 32) {
      const int last = ti < upper_tiles ? ti : upper_tiles - 1;
      const double a[2] = {-*panel.at(8 * ti + g, p + t), -*panel.at(8 * ti + g, p + t + 4)};
      for (int tj = p / 8 + 1; tj <= last; ++tj) {
        double2* target = reinterpret_cast<double2*>(panel.at(8 * ti + g, 8 * tj + 2 * t));
        double2 value = *target;
        mma_fp64(value.x, value.y, a[0], *panel.at(8 * tj + g, p + t));
        mma_fp64(value.x, value.y, a[1], *panel.at(8 * tj + g, p + t + 4));
        *target = value;
      }
    }
    __syncthreads();
  }
  return again;
}

// The lower triangle of WᵀW, W[N, N] with rows ld apart, into G; and ‖WᵀW − I‖_F² over the first n columns, this thread's
// part.
template <int kBlock, class Panel>
__device__ __forceinline__ double gram_in_block(const Panel& panel, int n) {
  double gap = 0.0;
  block_product<true, kBlock>(panel.W(), panel.W(), panel.N, true, [&](int i, int j, double sum) {
    if (j > i) return;
    *panel.at(i, j) = sum;
    const double rest = i == j ? sum - 1.0 : sum;
    if (i < n) gap += (i == j ? 1.0 : 2.0) * rest * rest;
  });
  return gap;
}

// Shared memory of orthonormalize_in_block beside the panel.
template <int kMost>
struct QrRoom {
  double sine[kMost], next[kMost], scale[kMost], reduce[kReduceRoom];
};

// The rows W[m, n] of a panel of 2N rows, n ≤ m ≤ N and zeros beyond, become their orthonormal factor. False where the
// rank is deficient. 2 kMost threads; needs no barrier before, ends with one.
template <class T, int kMost, class Panel>
__device__ __forceinline__ bool orthonormalize_in_block(const Panel& panel, int m, int n, QrRoom<kMost>& room) {
  constexpr int kBlock = 2 * kMost;
  const int N = panel.N, ld = panel.ld, thread = static_cast<int>(threadIdx.x);
  bool full_rank = true;
  if (thread < N) room.sine[thread] = 1.0;
  for (int pass = 0; pass < qr_passes<T>(); ++pass) {
    __syncthreads();
    const double gap = block_sum(gram_in_block<kBlock>(panel, n), room.reduce);
    if (pass > 0 && sqrt(gap / n) <= good_gap<T>()) break;
    if (thread < N) {
      const double square = *panel.at(thread, thread);
      room.scale[thread] = square > 0.0 ? rsqrt(square) : 0.0;
      // The first pass measures angles; later ones also what is left of a column that was held.
      if (pass > 0 && thread < n && room.sine[thread] > 0.0) room.sine[thread] *= sqrt(square);
    }
    __syncthreads();
    for (int index = thread; index < N * N; index += kBlock) {
      const int i = index / N, j = index % N;
      panel.W()[i * ld + j] *= room.scale[j];
      if (j > i) continue;
      double* at = panel.at(i, j);
      *at = i == j && i >= n ? 1.0 : *at * (room.scale[i] * room.scale[j]);
    }
    __syncthreads();
    const RankTest test = rank_test<T>(m, pass);
    const bool again = eliminate_panel<kBlock>(panel, N, test, room.sine, room.next);
    if (again) {  // the same for all threads
      for (int index = thread; index < m * n; index += kBlock) {
        const int i = index / n, j = index % n;
        if (room.next[j] == kReplaceNow) panel.W()[i * ld + j] = replacement(i, j, n, pass);
      }
    }
    for (int j = 0; j < n; ++j) full_rank = full_rank && room.next[j] > test.tolerance;
    __syncthreads();
    if (thread < N) room.sine[thread] = room.next[thread] < 0.0 ? kRankGone : room.next[thread];
    if (!again && gap < kSettledGap) break;
  }
  __syncthreads();
  return full_rank;
}

}  // namespace kronla::cuda
