// What surrounds the solver of symmetric eigenproblems (solver.h) for n > 64: its input, and what becomes of the
// eigenvectors, which it leaves as the rows of P by ascending eigenvalue.
#pragma once

#include "kernels/cuda/device/basis_step.cuh"
#include "kernels/cuda/device/basis_task.cuh"
#include "kernels/cuda/device/tasks.cuh"

namespace kronla::cuda {

// P = A; the identity for a matrix that is not asked for, or not finite: the solver makes nonsense of a NaN.
template <class T, class List>
__global__ void __launch_bounds__(kChunkThreads) prepare_kernel(KRONLA_PARAMETER(List) list) {
  const int block = static_cast<int>(blockIdx.x);
  const TiledTask<T>& task = list.tasks[task_of_tile(list, block)];
  const int n = task.n;
  const Chunk chunk(block - task.first_tile, n);
  const Matrix<T> matrix(task, chunk.entry);
  const bool active = matrix.state->active != 0;
  for (int index = chunk.begin + static_cast<int>(threadIdx.x); index < chunk.end; index += kChunkThreads) {
    const int i = index / n, j = index % n;
    // From the lower triangle alone: the solver may read either.
    const T a = matrix.A[i < j ? j * task.ld + i : i * task.ld + j];
    matrix.P[i * task.ld + j] = active ? a : T(i == j);
  }
}

// Whether there are eigenvectors, and which of them span the null space.
template <class T, class List>
__global__ void __launch_bounds__(kDecideThreads) accept_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED_ARRAY(int, counts, 2 * kReduceRoom);
  const int block = static_cast<int>(blockIdx.x);
  const TiledTask<T>& task = list.tasks[task_of_tile(list, block)];
  const Matrix<T> matrix(task, block - task.first_tile);
  BasisState& state = *matrix.state;
  if (state.active == 0) return;
  const bool failed = *matrix.failed != 0;
  const double null = static_cast<double>(task.n) * roundoff_of<T>() * state.norm;
  int below = 0, within = 0;
  for (int j = static_cast<int>(threadIdx.x); j < task.n; j += kDecideThreads) {
    const double value = static_cast<double>(matrix.values[j]);
    below += value < -null ? 1 : 0;
    within += value >= -null && value <= null ? 1 : 0;
  }
  below = block_sum(below, counts);
  within = block_sum(within, counts + kReduceRoom);
  if (threadIdx.x != 0) return;
  state.failed = failed;
  state.null_begin = below;
  state.null_end = below + within;
  if (failed) state.active = 0;
  if (!failed && list.settings.what == Purpose::SolvedStep) go_on(task, list.settings.step, block - task.first_tile);
}

// The row of P that column j receives: the k-th largest eigenvalue goes to the k-th largest quotient.
template <class T>
__device__ __forceinline__ int row_for_column(const Matrix<T>& matrix, int n, int j) {
  return n - 1 - matrix.rank[j];
}

__device__ __forceinline__ bool has_null_space(const BasisState& state) {
  return state.null_end - state.null_begin > 1;
}
__device__ __forceinline__ bool in_null_space(const BasisState& state, int row) {
  return row >= state.null_begin && row < state.null_end;
}

// Any basis of a null space is as good. The one nearest to the old columns of the same ranks: C = PQ, kept only between
// null rows and their columns, in the place of B.
template <class T, class List>
__global__ void __launch_bounds__(kThreads, MathOf<T>::kBlocks) project_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int block = static_cast<int>(blockIdx.x);
  const TiledTask<T>& task = list.tasks[task_of_tile(list, block)];
  const int n = task.n, side = tiles_along(n), tile = (block - task.first_tile) % (side * side);
  const Matrix<T> matrix(task, (block - task.first_tile) / (side * side));
  const BasisState& state = *matrix.state;
  if (state.active == 0 || !has_null_space(state)) return;
  const int i0 = tile / side * kTile, j0 = tile % side * kTile;
  T total[2][4][4] = {};
  if (i0 < state.null_end && i0 + kTile > state.null_begin)
    tile_product<MathOf<T>, Layout::RowMajor, Layout::ColumnMajor>(
        operand_of(matrix.P, n, task.ld), i0, operand_of(matrix.Q, n, task.ld), j0, false, false, shared, total);
  for_each_in_tile(total, [&](int r, int c, T sum) {
    const int i = i0 + r, j = j0 + c;
    if (i >= n || j >= n) return;
    const bool kept = in_null_space(state, i) && in_null_space(state, row_for_column(matrix, n, j));
    matrix.B[i * task.ld + j] = kept ? sum : T(0);
  });
}

// W = the eigenvectors by descending eigenvalue, those of a null space by way of C: PᵀC.
template <class T, class List>
__global__ void __launch_bounds__(kThreads, MathOf<T>::kBlocks) form_solved_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int block = static_cast<int>(blockIdx.x);
  const TiledTask<T>& task = list.tasks[task_of_tile(list, block)];
  const int n = task.n, side = tiles_along(n), tile = (block - task.first_tile) % (side * side);
  const Matrix<T> matrix(task, (block - task.first_tile) / (side * side));
  const BasisState& state = *matrix.state;
  if (state.active == 0) return;
  const int i0 = tile / side * kTile, j0 = tile % side * kTile;
  T total[2][4][4] = {};
  if (has_null_space(state))
    tile_product<MathOf<T>, Layout::ColumnMajor, Layout::ColumnMajor>(
        operand_of(matrix.P, n, task.ld), i0, operand_of(matrix.B, n, task.ld), j0, false, false, shared, total);
  for_each_in_tile(total, [&](int r, int c, T sum) {
    const int i = i0 + r, j = j0 + c;
    if (i >= n || j >= n) return;
    const int row = row_for_column(matrix, n, j);
    const T value = has_null_space(state) && in_null_space(state, row) ? sum : matrix.P[row * task.ld + i];
    matrix.W[i * task.ld_W + matrix.rank[j]] = static_cast<double>(value);
  });
}

// Q = Pᵀ, 64 columns a block, each with its first component of the largest magnitude positive.
template <class T, class List>
__global__ void __launch_bounds__(kThreads) ascending_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED_ARRAY(T, turned, kTile * (kTile + 1));
  KRONLA_SHARED_ARRAY(T, sign, kTile);
  const int block = static_cast<int>(blockIdx.x), warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const TiledTask<T>& task = list.tasks[task_of_tile(list, block)];
  const int n = task.n, side = tiles_along(n), k0 = (block - task.first_tile) % side * kTile;
  const Matrix<T> matrix(task, (block - task.first_tile) / side);
  if (matrix.state->active == 0) return;
  for (int r = warp; r < kTile && k0 + r < n; r += kThreads / 32) {
    const T* row = matrix.P + (k0 + r) * task.ld;
    T largest = T(-1), value = T(0);
    int where = n;
    for (int i = lane; i < n; i += 32) {
      const T size = magnitude(row[i]);
      if (size > largest) largest = size, where = i, value = row[i];
    }
    for (int flips = 16; flips > 0; flips /= 2) {
      const T other = __shfl_xor_sync(0xffffffffu, largest, flips), its = __shfl_xor_sync(0xffffffffu, value, flips);
      const int there = __shfl_xor_sync(0xffffffffu, where, flips);
      if (other > largest || (other == largest && there < where)) largest = other, where = there, value = its;
    }
    if (lane == 0) sign[r] = value < T(0) ? T(-1) : T(1);
  }
  for (int i0 = 0; i0 < n; i0 += kTile) {
    __syncthreads();
    for (int index = static_cast<int>(threadIdx.x); index < kTile * kTile; index += kThreads) {
      const int r = index / kTile, i = index % kTile;
      if (k0 + r < n && i0 + i < n) turned[r * (kTile + 1) + i] = sign[r] * matrix.P[(k0 + r) * task.ld + i0 + i];
    }
    __syncthreads();
    for (int index = static_cast<int>(threadIdx.x); index < kTile * kTile; index += kThreads) {
      const int i = index / kTile, r = index % kTile;
      if (k0 + r < n && i0 + i < n) matrix.Q[(i0 + i) * task.ld + k0 + r] = turned[r * (kTile + 1) + i];
    }
  }
}

}  // namespace kronla::cuda
