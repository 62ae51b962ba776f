// The product of two panels' rows over the whole depth: a 64 × 64 tile of A Bᵀ by the 128 threads of a block, or a 32 × 32
// one by a warp of its own (panel.cuh: BlockTile, WarpTile).
//
// A warp takes 32 × 32. Panels come through stages of asynchronous copies, with one barrier a stage. In `sum[m][n][e]` a
// lane (g = lane / 4, t = lane % 4) holds row 16m + g + 8(e / 2), column 8n + 2t + e % 2 of its warp's part. Parts of 16 × 16
// that lie beyond the matrix, and steps beyond the depth, are left out. The order of summation of an element depends on the
// depth alone: it has the same bits in a tile of either size.
#pragma once

#include "kernels/cuda/device/fragments.cuh"
#include "kernels/cuda/device/mma.cuh"
#include "kernels/cuda/device/panel.cuh"

namespace kronla::cuda {

// How elements are multiplied: what the panels hold, and the depth of a stage. Tensor cores truncate where they add, a bias
// of up to a unit of the last place an instruction; so sums are carried there over one stage only and then added to the
// total, which rounds to nearest.
template <class LeftElement, class RightElement, class SumElement, int kStageDepth, int kBlocksTogether>
struct Arithmetic {
  using Left = LeftElement;
  using Right = RightElement;
  using Sum = SumElement;
  static constexpr int kDepth = kStageDepth;
  static constexpr int kBlocks =
      kBlocksTogether;  // that share a multiprocessor: at most 168 registers a thread for three
};
// float32 accuracy from TF32 products, of float32 or of 16-bit elements as they are: low·high + high·low + high·high. A
// 16-bit element has no low part, and one of the products falls away.
template <class LeftElement, class RightElement>
struct Tf32 : Arithmetic<LeftElement, RightElement, float, 32, 3> {};
using Tf32x3 = Tf32<float, float>;
struct Fp32 : Arithmetic<float, float, float, 32, 3> {};  // without tensor cores
struct Bf16 : Arithmetic<uint16_t, uint16_t, float, 64, 3> {};
struct Fp16 : Arithmetic<uint16_t, uint16_t, float, 64, 3> {};
struct Fp64 : Arithmetic<double, double, double, 16, 2> {};

template <class Math, class Tile>
using LeftShape = PanelShape<typename Math::Left, Math::kDepth, Tile>;
template <class Math, class Tile>
using RightShape = PanelShape<typename Math::Right, Math::kDepth, Tile>;

// Where a warp's parts of the panels begin, and how much of its 32 × 32 exists.
template <class Math>
struct WarpPart {
  const typename Math::Left* A;
  const typename Math::Right* B;
  int rows, columns;
  ScalarType type_A, type_B;  // of 16-bit elements
};

// sum += A Bᵀ over step `step` of the four in a stage.
template <class Tile, Layout kA, Layout kB, class L, class R>
__device__ __forceinline__ void multiply_step(float (&sum)[2][4][4], const WarpPart<Tf32<L, R>>& part, int step,
                                              Tf32<L, R>) {
  constexpr bool kLow_A = sizeof(L) == 4, kLow_B = sizeof(R) == 4;
  uint32_t high_A[2][4], low_A[2][4];
#pragma unroll
  for (int m = 0; m < 2; ++m)
    if (16 * m < part.rows)
      load_left<LeftShape<Tf32<L, R>, Tile>, kA>(high_A[m], low_A[m], part.A, 16 * m, step, part.type_A);
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) {
    if (16 * pair >= part.columns) continue;
    uint32_t high_B[2][2], low_B[2][2];
    load_right<RightShape<Tf32<L, R>, Tile>, kB>(high_B, low_B, part.B, 16 * pair, step, part.type_B);
    // The small terms first; each of the passes goes over four independent sums.
    const auto pass = [&](const uint32_t (&a)[2][4], const uint32_t (&b)[2][2]) {
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 2; ++n)
          if (16 * m < part.rows) mma_tf32(sum[m][2 * pair + n], a[m], b[n]);
    };
    if constexpr (kLow_A) pass(low_A, high_B);
    if constexpr (kLow_B) pass(high_A, low_B);
    pass(high_A, high_B);
  }
}

template <class Tile, Layout kA, Layout kB, class Math>
__device__ __forceinline__ void multiply_step_16(float (&sum)[2][4][4], const WarpPart<Math>& part, int step) {
  uint32_t left[2][4];
#pragma unroll
  for (int m = 0; m < 2; ++m)
    if (16 * m < part.rows) load_left_words<LeftShape<Math, Tile>, kA>(left[m], part.A, 16 * m, step);
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) {
    if (16 * pair >= part.columns) continue;
    uint32_t words[4];
    load_right_words<RightShape<Math, Tile>, kB>(words, part.B, 16 * pair, step);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        if (16 * m >= part.rows) continue;
        const uint32_t right[2] = {words[2 * n], words[2 * n + 1]};
        if constexpr (std::is_same_v<Math, Bf16>) {
          mma_bf16(sum[m][2 * pair + n], left[m], right);
        } else {
          mma_fp16(sum[m][2 * pair + n], left[m], right);
        }
      }
  }
}
template <class Tile, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step(float (&sum)[2][4][4], const WarpPart<Bf16>& part, int step, Bf16) {
  multiply_step_16<Tile, kA, kB>(sum, part, step);
}
template <class Tile, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step(float (&sum)[2][4][4], const WarpPart<Fp16>& part, int step, Fp16) {
  multiply_step_16<Tile, kA, kB>(sum, part, step);
}

template <class Tile, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step(float (&sum)[2][4][4], const WarpPart<Fp32>& part, int step, Fp32) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane >> 2, t = lane & 3;
#pragma unroll
  for (int k = 8 * step; k < 8 * step + 8; ++k) {
    float left[2][2] = {}, right[4][2] = {};
#pragma unroll
    for (int m = 0; m < 4; ++m)
      if (m / 2 * 16 < part.rows) left[m / 2][m % 2] = panel_element<LeftShape<Fp32, Tile>, kA>(part.A, 8 * m + g, k);
#pragma unroll
    for (int n = 0; n < 8; ++n)
      if (n / 4 * 16 < part.columns)
        right[n / 2][n % 2] = panel_element<RightShape<Fp32, Tile>, kB>(part.B, n / 2 * 8 + 2 * t + n % 2, k);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[m][n][e] = __fmaf_rn(left[m][e / 2], right[n][e % 2], sum[m][n][e]);
  }
}

template <class Tile, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step(double (&sum)[2][4][4], const WarpPart<Fp64>& part, int step, Fp64) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane >> 2, k = 4 * step + (lane & 3);
  double right[4] = {};
#pragma unroll
  for (int n = 0; n < 4; ++n)
    if (8 * n < part.columns) right[n] = panel_element<RightShape<Fp64, Tile>, kB>(part.B, 8 * n + g, k);
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    if (8 * m >= part.rows) continue;
    const double left = panel_element<LeftShape<Fp64, Tile>, kA>(part.A, 8 * m + g, k);
#pragma unroll
    for (int n = 0; n < 4; ++n)
      if (8 * n < part.columns) mma_fp64(sum[m / 2][n][m % 2 * 2], sum[m / 2][n][m % 2 * 2 + 1], left, right[n]);
  }
}

// Shared memory of a tile; `panels`: 1 where the two are always the same.
template <class Math, class Tile = BlockTile>
__host__ __device__ constexpr size_t tile_shared_bytes(int panels = 2) {
  return Tile::kStages * (LeftShape<Math, Tile>::kBytes + (panels == 2 ? RightShape<Math, Tile>::kBytes : 0));
}

// total += rows i0 … of A times rows j0 … of B, from depth `begin` on. `one_panel`: they are the same rows of the same
// operand, loaded once. A warp that is `idle` only helps to load. Shared memory: tile_shared_bytes<Math, Tile>(), of the
// block or of the warp.
template <class Math, Layout kA, Layout kB, class Tile = BlockTile>
__device__ __forceinline__ void tile_product(const Operand& A, int i0, const Operand& B, int j0, bool one_panel,
                                             bool idle, unsigned char* shared, typename Math::Sum (&total)[2][4][4],
                                             int begin = 0) {
  using Sum = typename Math::Sum;
  using Left = LeftShape<Math, Tile>;
  using Right = RightShape<Math, Tile>;
  constexpr int kDepth = Math::kDepth, kStages = Tile::kStages;
  const size_t slot_bytes = Left::kBytes + (one_panel ? 0 : Right::kBytes);
  const auto left_panel = [&](int slot) { return reinterpret_cast<typename Math::Left*>(shared + slot * slot_bytes); };
  const auto right_panel = [&](int slot) {
    return reinterpret_cast<typename Math::Right*>(shared + slot * slot_bytes + (one_panel ? 0 : Left::kBytes));
  };
  const auto load = [&](int stage) {
    const int slot = stage % kStages, k0 = begin + stage * kDepth;
    load_panel<Left, Tile, kA>(A, i0, k0, left_panel(slot));
    if (!one_panel) load_panel<Right, Tile, kB>(B, j0, k0, right_panel(slot));
  };
  const int warp = static_cast<int>(threadIdx.x) % Tile::kMembers / 32, row_A = warp / 2 * 32, row_B = warp % 2 * 32;
  const int from_A = kA == Layout::RowMajor ? row_A * Left::kRowStep : row_A;
  const int from_B = kB == Layout::RowMajor ? row_B * Right::kRowStep : row_B;
  WarpPart<Math> part{nullptr, nullptr, A.rows - i0 - row_A, B.rows - j0 - row_B, A.type, B.type};
  idle = idle || part.rows <= 0 || part.columns <= 0;

  const int depth = A.depth - begin, stages = (depth + kDepth - 1) / kDepth;
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < stages) load(stage);
    async_commit();  // empty where there is nothing left: the wait below counts groups
  }
  for (int stage = 0; stage < stages; ++stage) {
    async_wait<kStages - 2>();
    Tile::barrier();  // everyone's copies of this stage are visible, and nobody reads the slot that is loaded next
    if (stage + kStages - 1 < stages) load(stage + kStages - 1);
    async_commit();
    if (idle) continue;
    part.A = left_panel(stage % kStages) + from_A;
    part.B = right_panel(stage % kStages) + from_B;
    const int left = depth - stage * kDepth, steps = left < kDepth ? (left + Left::kStep - 1) / Left::kStep : 4;
    if constexpr (std::is_same_v<Sum, double>) {
      for (int step = 0; step < steps; ++step) multiply_step<Tile, kA, kB>(total, part, step, Math{});
    } else {
      Sum sum[2][4][4] = {};
#pragma unroll 2
      for (int step = 0; step < steps; ++step) multiply_step<Tile, kA, kB>(sum, part, step, Math{});
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) total[m][n][e] += sum[m][n][e];
    }
  }
}

// Calls body(row, column, sum) for the elements of the tile that this thread holds, counted from the tile's corner.
template <class Tile = BlockTile, class Sum, class Body>
__device__ __forceinline__ void for_each_in_tile(const Sum (&total)[2][4][4], Body&& body) {
  const int warp = static_cast<int>(threadIdx.x) % Tile::kMembers / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int row = warp / 2 * 32 + (lane >> 2), column = warp % 2 * 32 + 2 * (lane & 3);
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) body(row + 16 * m + 8 * (e / 2), column + 8 * n + e % 2, total[m][n][e]);
}

// The sums of this thread to memory and back, side by side with those of its neighbours: side² elements for a tile.
template <class Tile, class Sum>
__device__ __forceinline__ void store_part(const Sum (&total)[2][4][4], Sum* part) {
  const int member = static_cast<int>(threadIdx.x) % Tile::kMembers;
#pragma unroll
  for (int i = 0; i < 32; ++i) part[i * Tile::kMembers + member] = total[i / 16][i / 4 % 4][i % 4];
}
template <class Tile, class Sum>
__device__ __forceinline__ void add_parts(const Sum* parts, int pieces, Sum (&total)[2][4][4]) {
  const int member = static_cast<int>(threadIdx.x) % Tile::kMembers;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    double sum = 0.0;
#pragma unroll 1
    for (int piece = 0; piece < pieces; ++piece)
      sum += static_cast<double>(parts[(piece * 32 + i) * Tile::kMembers + member]);
    total[i / 16][i / 4 % 4][i % 4] = static_cast<Sum>(sum);
  }
}

}  // namespace kronla::cuda
