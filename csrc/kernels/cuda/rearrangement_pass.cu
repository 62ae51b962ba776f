#include "kernels/cuda/rearrangement_pass.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/status.h"

namespace kronla::cuda {
namespace {

constexpr int kPassThreads = 256;
constexpr int kPassWarps = kPassThreads / 32;
constexpr int kRows = 4;      // that a thread reads at once: independent loads, and one reduction for all of them
constexpr int kElements = 4;  // of each row that a thread takes
constexpr int kMostTileRows = 512;
constexpr int kMostSums = kPassThreads * kElements;
// Blocks a matrix should give: two for each multiprocessor of the largest cards, which hold 16 KB each in flight.
constexpr int kWantedBlocks = 512;

template <class T, int kWidth>
__device__ __forceinline__ void load_elements(const T* from, T* to) {
  if constexpr (kWidth == 1) {
    to[0] = from[0];
  } else {
    static_assert(kWidth * sizeof(T) == 16, "whole vectors");
    const uint4 vector = *reinterpret_cast<const uint4*>(from);
    memcpy(to, &vector, 16);
  }
}

template <class T, int kWidth>
__device__ __forceinline__ void store_elements(const T* from, T* to) {
  if constexpr (kWidth == 1) {
    to[0] = from[0];
  } else {
    uint4 vector;
    memcpy(&vector, from, 16);
    *reinterpret_cast<uint4*>(to) = vector;
  }
}

// The sums of s[0 … 3] over `width` neighbouring lanes (4 … 32), exchanging halves: the lanes with
// lane % (width / 4) = 0 hold that of row `which`. A quarter of the shuffles that four sums would take.
template <class T>
__device__ __forceinline__ T sum_rows(const T (&s)[kRows], int width, int lane, int& which) {
  const bool upper = (lane & width / 2) != 0, second = (lane & width / 4) != 0;
  T first = upper ? s[2] : s[0], other = upper ? s[3] : s[1];
  first += __shfl_xor_sync(0xffffffffu, upper ? s[0] : s[2], width / 2);
  other += __shfl_xor_sync(0xffffffffu, upper ? s[1] : s[3], width / 2);
  T sum = second ? other : first;
  sum += __shfl_xor_sync(0xffffffffu, second ? first : other, width / 4);
  for (int flips = width / 8; flips > 0; flips /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, flips);
  which = 2 * static_cast<int>(upper) + static_cast<int>(second);
  return sum;
}

// A thread keeps its columns (j,j'), so that R and the sums of Ĥᵀ(L) stay in registers, and walks down the rows (i,i');
// those of Ĥ(R) are added up over the lanes. Columns are `kWidth` neighbours each.
template <class T, int kWidth, PassKind kKind>
__global__ void __launch_bounds__(kPassThreads, sizeof(T) == 8                ? 2
                                                : kKind == PassKind::Evaluate ? 3
                                                                              : 4)
    pass_kernel(KRONLA_PARAMETER(Pass<T>) pass) {
  constexpr bool kForward = kKind != PassKind::Backward;
  constexpr bool kBackward = kKind == PassKind::Backward || kKind == PassKind::Both;
  constexpr bool kSymmetric = kKind == PassKind::Both || kKind == PassKind::Evaluate;
  constexpr bool kSquares = kKind == PassKind::Evaluate;
  constexpr int kSlots = kElements / kWidth;
  KRONLA_SHARED_ARRAY(int64_t, offsets, kMostTileRows);
  KRONLA_SHARED_ARRAY(T, weights, kMostTileRows);
  KRONLA_SHARED_ARRAY(T, sums, kMostSums);

  const PassTiles& tiles = pass.tiles;
  const int m = tiles.m, n = tiles.n, lanes = tiles.lanes, groups = kPassThreads / lanes;
  const int thread = static_cast<int>(threadIdx.x), group = thread / lanes, across = thread % lanes;
  const int block = static_cast<int>(blockIdx.x), row_tile = block % tiles.row_tiles;
  const int column_tile = block / tiles.row_tiles % tiles.column_tiles;
  const int64_t b = block / tiles.row_tiles / tiles.column_tiles;
  if (kSymmetric && pass.info[b] != kGood) return;
  const int row0 = row_tile * tiles.tile_rows;
  const int count = tiles.rows - row0 < tiles.tile_rows ? tiles.rows - row0 : tiles.tile_rows;

  for (int r = thread; r < count; r += kPassThreads) {
    int i, k;
    if (kSymmetric) {
      triangular_tile(row0 + r, i, k);
    } else {
      i = (row0 + r) / m;
      k = row0 + r - i * m;
    }
    offsets[r] = static_cast<int64_t>(i * n) * (m * n) + k * n;
    if (kBackward || kSquares) {
      const T weight = kBackward ? pass.L[b * m * m + i * m + k] : T(1);
      weights[r] = kSymmetric && k < i ? T(2) * weight : weight;
    }
  }

  int at[kSlots];
  bool exists[kSlots];
  T x[kElements] = {}, y[kElements] = {};
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    const int column = column_tile * lanes * kElements + (s * lanes + across) * kWidth;
    exists[s] = column < tiles.columns;
    const int j = column / n;
    at[s] = j * (m * n) + (column - j * n);
    if (kForward && exists[s]) load_elements<T, kWidth>(pass.R + b * n * n + column, x + s * kWidth);
  }
  const T scale = kSymmetric ? static_cast<T>(pass.scale[b]) : T(1);
  const T* H = pass.H + b * (static_cast<int64_t>(m) * n) * (static_cast<int64_t>(m) * n);
  const int width = lanes < 32 ? lanes : 32, warps = lanes / width, warp = across / 32;
  double squares = 0.0;
  __syncthreads();

  for (int first = 0; first < count; first += groups * kRows) {
    T h[kRows][kElements] = {};
#pragma unroll
    for (int u = 0; u < kRows; ++u) {
      const int r = first + u * groups + group;
      if (r >= count) continue;
      const T* row = H + offsets[r];
#pragma unroll
      for (int s = 0; s < kSlots; ++s)
        if (exists[s]) load_elements<T, kWidth>(row + at[s], h[u] + s * kWidth);
    }
    T partial[kRows] = {};
#pragma unroll
    for (int u = 0; u < kRows; ++u) {
      const int r = first + u * groups + group;
      const T weight = (kBackward || kSquares) && r < count ? weights[r] : T(0);
      double square = 0.0;
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        const T value = kSymmetric ? scale * h[u][e] : h[u][e];
        if (kForward) partial[u] += value * x[e];
        if (kBackward) y[e] += weight * value;
        if (kSquares) square += static_cast<double>(value) * static_cast<double>(value);
      }
      if (kSquares) squares += static_cast<double>(weight) * square;
    }
    if (kForward) {
      int which;
      const T sum = sum_rows(partial, width, across % 32, which);
      const int r = first + which * groups + group;
      if (across % (width / 4) == 0 && r < count) sums[r * warps + warp] = sum;
    }
  }

  if (kForward) {
    __syncthreads();
    double* L_part = pass.L_parts + (b * tiles.column_tiles + column_tile) * tiles.rows + row0;
    for (int r = thread; r < count; r += kPassThreads) {
      double sum = 0.0;
#pragma unroll 1
      for (int w = 0; w < warps; ++w) sum += static_cast<double>(sums[r * warps + w]);
      L_part[r] = sum;
    }
  }
  if (kBackward) {
    T* R_part = pass.R_parts + (b * tiles.row_tiles + row_tile) * tiles.columns;
    if (groups > 1) {
      __syncthreads();
#pragma unroll
      for (int e = 0; e < kElements; ++e) sums[group * lanes * kElements + e * lanes + across] = y[e];
      __syncthreads();
      if (group > 0) return;
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        double sum = 0.0;
#pragma unroll 1
        for (int g = 0; g < groups; ++g) sum += static_cast<double>(sums[g * lanes * kElements + e * lanes + across]);
        y[e] = static_cast<T>(sum);
      }
    }
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      const int column = column_tile * lanes * kElements + (s * lanes + across) * kWidth;
      if (exists[s]) store_elements<T, kWidth>(y + s * kWidth, R_part + column);
    }
  }
  if (kSquares) {
    KRONLA_SHARED_ARRAY(double, totals, kReduceRoom);
    squares = block_sum(squares, totals);
    if (thread == 0) pass.square_parts[(b * tiles.column_tiles + column_tile) * tiles.row_tiles + row_tile] = squares;
  }
}

// 32 neighbours to a block; each warp takes every eighth tile.
template <class Part, class Out>
__global__ void __launch_bounds__(kPassThreads)
    sum_kernel(int64_t blocks_each, int tiles, int64_t count, const Part* parts, Out* out) {
  KRONLA_SHARED_ARRAY(double, sums, kPassThreads);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int64_t b = blockIdx.x / blocks_each, element = blockIdx.x % blocks_each * 32 + lane;
  double sum = 0.0;
  if (element < count) {
    const Part* from = parts + b * tiles * count + element;
#pragma unroll 4
    for (int tile = warp; tile < tiles; tile += kPassWarps) sum += static_cast<double>(from[tile * count]);
  }
  sums[thread] = sum;
  __syncthreads();
  if (warp > 0 || element >= count) return;
  for (int w = 1; w < kPassWarps; ++w) sum += sums[w * 32 + lane];
  out[b * count + element] = static_cast<Out>(sum);
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T, int kWidth>
void launch_pass(PassKind kind, unsigned blocks, const Pass<T>& pass, const Stream& stream) {
  const auto run = [&](auto kernel) {
    launch("rearranged pass", kernel, dim3(blocks), kPassThreads, 0, stream.handle, pass);
  };
  switch (kind) {
    case PassKind::Forward:
      return run(pass_kernel<T, kWidth, PassKind::Forward>);
    case PassKind::Backward:
      return run(pass_kernel<T, kWidth, PassKind::Backward>);
    case PassKind::Both:
      return run(pass_kernel<T, kWidth, PassKind::Both>);
    case PassKind::Evaluate:
      return run(pass_kernel<T, kWidth, PassKind::Evaluate>);
  }
}

}  // namespace

PassTiles pass_tiles(int64_t m, int64_t n, bool lower) {
  PassTiles tiles;
  tiles.m = checked_int(m);
  tiles.n = checked_int(n);
  tiles.rows = checked_int(lower ? m * (m + 1) / 2 : m * m);
  tiles.columns = checked_int(n * n);
  checked_int(m * n * n);  // the offsets of a thread's columns
  tiles.lanes = 4;         // the fewest that sum_rows takes
  while (tiles.lanes < kPassThreads && tiles.lanes * kElements < tiles.columns) tiles.lanes *= 2;
  tiles.column_tiles = static_cast<int>(ceil_div(tiles.columns, tiles.lanes * kElements));
  // Long tiles, for each costs a row of R_parts, but enough blocks to fill a card; 4 turns of the loop at least.
  const int turn = kPassThreads / tiles.lanes * kRows, warps = std::max(tiles.lanes / 32, 1);
  tiles.tile_rows = std::min(kMostTileRows, kMostSums / warps);
  while (tiles.tile_rows > 4 * turn && ceil_div(tiles.rows, tiles.tile_rows) * tiles.column_tiles < kWantedBlocks)
    tiles.tile_rows /= 2;
  tiles.row_tiles = static_cast<int>(ceil_div(tiles.rows, tiles.tile_rows));
  return tiles;
}

template <class T>
void run_pass(PassKind kind, int64_t batch, const Pass<T>& pass, const Stream& stream) {
  const unsigned blocks = static_cast<unsigned>(checked_int(batch * pass.tiles.row_tiles * pass.tiles.column_tiles));
  if (blocks == 0) return;
  constexpr int kWidth = 16 / sizeof(T);
  const auto aligned = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; };
  if (pass.tiles.n % kWidth == 0 && aligned(pass.H) && aligned(pass.R) && aligned(pass.R_parts)) {
    launch_pass<T, kWidth>(kind, blocks, pass, stream);
  } else {
    launch_pass<T, 1>(kind, blocks, pass, stream);
  }
}

template <class Part, class Out>
void sum_parts(int64_t batch, int64_t tiles, int64_t count, const Part* parts, Out* out, const Stream& stream) {
  const int64_t each = ceil_div(count, 32);
  const unsigned blocks = static_cast<unsigned>(checked_int(batch * each));
  if (blocks == 0) return;
  launch("sum of parts", sum_kernel<Part, Out>, dim3(blocks), kPassThreads, 0, stream.handle, each, checked_int(tiles),
         count, parts, out);
}

template void run_pass<float>(PassKind, int64_t, const Pass<float>&, const Stream&);
template void run_pass<double>(PassKind, int64_t, const Pass<double>&, const Stream&);
template void sum_parts<float, float>(int64_t, int64_t, int64_t, const float*, float*, const Stream&);
template void sum_parts<float, double>(int64_t, int64_t, int64_t, const float*, double*, const Stream&);
template void sum_parts<double, float>(int64_t, int64_t, int64_t, const double*, float*, const Stream&);
template void sum_parts<double, double>(int64_t, int64_t, int64_t, const double*, double*, const Stream&);

}  // namespace kronla::cuda
