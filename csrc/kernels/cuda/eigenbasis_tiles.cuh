// The kernels of a step on bases of any size, by tiles of 64 × 64: of eigenbasis_tiled.cu, which says in what order.
#pragma once

#include "kernels/cuda/device/basis_step.cuh"
#include "kernels/cuda/device/basis_task.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/status.h"

namespace kronla::cuda {

template <class T, class List>
__global__ void __launch_bounds__(kChunkThreads) measure_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED_ARRAY(double, room, kReduceRoom);
  const int block = static_cast<int>(blockIdx.x);
  const TiledTask<T>& task = list.tasks[task_of_tile(list, block)];
  const Chunk chunk(block - task.first_tile, task.n);
  const Matrix<T> matrix(task, chunk.entry);
  for (int which = 0; which < 2; ++which) {
    const T* x = which == 0 ? matrix.A_in : matrix.Q_old;
    T largest = T(0);
    for (int index = chunk.begin + threadIdx.x; x != nullptr && index < chunk.end; index += kChunkThreads) {
      const T size = magnitude(x[index]);
      largest = size > largest ? size : largest;
    }
    largest = static_cast<T>(block_max(static_cast<double>(largest), room));
    if (threadIdx.x == 0) matrix.largest[which * chunks_of(task.n) + chunk.index] = largest;
  }
  if (chunk.entry != 0 || chunk.index != 0) return;
  const int steps = list.settings.steps;
  for (int i = threadIdx.x; i < steps + 2; i += kChunkThreads) task.counts[i] = 0;
  for (int i = threadIdx.x; task.qr_counts != nullptr && i < qr_counts<T>(steps); i += kChunkThreads)
    task.qr_counts[i] = 0;
}

template <class T, class List>
__global__ void __launch_bounds__(kChunkThreads) load_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED_ARRAY(double, room, kReduceRoom);
  const int block = static_cast<int>(blockIdx.x);
  const TiledTask<T>& task = list.tasks[task_of_tile(list, block)];
  const int n = task.n, chunks = chunks_of(n);
  const Chunk chunk(block - task.first_tile, n);
  const Matrix<T> matrix(task, chunk.entry);
  double largest[2] = {};
  for (int which = 0; which < 2; ++which) {
    for (int index = threadIdx.x; index < chunks; index += kChunkThreads) {
      const double size = static_cast<double>(matrix.largest[which * chunks + index]);
      largest[which] = size > largest[which] ? size : largest[which];
    }
    largest[which] = block_max(largest[which], room);
  }
  const double most = static_cast<double>(Limits<T>::kMax);
  const bool finite = largest[0] <= most && largest[1] <= most;
  const double scale = finite ? power_of_two_scale(static_cast<T>(largest[0])) : 1.0;
  double squares = 0.0;
  for (int index = chunk.begin + threadIdx.x; index < chunk.end; index += kChunkThreads) {
    const int i = index / n, at = i * task.ld + index % n;
    const T value = static_cast<T>(static_cast<double>(matrix.A_in[index]) * scale);
    matrix.A[at] = value;
    if (matrix.Q_old != nullptr) matrix.Q[at] = matrix.Q_old[index];
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  squares = block_sum(squares, room);
  if (threadIdx.x != 0) return;
  matrix.norms[chunk.index] = squares;
  if (chunk.index != 0) return;
  *matrix.state = {scale, 0.0, 0.0, finite, finite, 0, 0, 0, 0, 0, 0};
  if (finite) append(work_of(task, 0), chunk.entry);
}

// P = AQ.
template <class T, class List>
__global__ void __launch_bounds__(kThreads, MathOf<T>::kBlocks) product_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const auto work = [&](const TiledTask<T>& task) { return work_of(task, list.settings.step); };
  const auto tiles = [](const TiledTask<T>& task) { return tiles_along(task.n) * tiles_along(task.n); };
  for_each_tile(list, first, work, tiles, [&](const TiledTask<T>& task, int entry, int tile) {
    const int n = task.n, side = tiles_along(n);
    const Matrix<T> matrix(task, entry);
    const int i0 = tile / side * kTile, j0 = tile % side * kTile;
    T total[2][4][4] = {};
    // A is symmetric: its columns are its rows, and both sides come the same way.
    tile_product<MathOf<T>, Layout::ColumnMajor, Layout::ColumnMajor>(
        operand_of(matrix.A, n, task.ld), i0, operand_of(matrix.Q, n, task.ld), j0, false, false, shared, total);
    for_each_in_tile(total, [&](int r, int c, T sum) {
      const int i = i0 + r, j = j0 + c;
      if (i < n && j < n) matrix.P[i * task.ld + j] = sum;
    });
  });
}

// The lower triangle of B = QᵀP, its diagonal, and the squares beside it.
template <class T, class List>
__global__ void __launch_bounds__(kThreads, MathOf<T>::kBlocks) rayleigh_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  KRONLA_SHARED_ARRAY(double, room, kReduceRoom);
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const auto work = [&](const TiledTask<T>& task) { return work_of(task, list.settings.step); };
  const auto tiles = [](const TiledTask<T>& task) { return lower_tiles(task.n); };
  for_each_tile(list, first, work, tiles, [&](const TiledTask<T>& task, int entry, int tile) {
    const int n = task.n;
    const Matrix<T> matrix(task, entry);
    int row, column;
    triangular_tile(tile, row, column);
    T total[2][4][4] = {};
    tile_product<MathOf<T>, Layout::ColumnMajor, Layout::ColumnMajor>(
        operand_of(matrix.Q, n, task.ld), row * kTile, operand_of(matrix.P, n, task.ld), column * kTile, false,
        row == column && threadIdx.x / 32 == 1, shared, total);
    double squares = 0.0;
    for_each_in_tile(total, [&](int r, int c, T sum) {
      const int i = row * kTile + r, j = column * kTile + c;
      if (i >= n || j > i) return;
      matrix.B[i * task.ld + j] = sum;
      const double value = static_cast<double>(sum);
      if (i == j) {
        matrix.quotients[i] = value;
        squares += 0.0 * value;  // NaN for a quotient that is not finite
      } else {
        squares += 2.0 * value * value;
      }
    });
    squares = block_sum(squares, room);
    if (threadIdx.x == 0) matrix.squares[tile] = squares;
  });
}

// The ratio; whether another step is taken, which one, and in what order of the columns.
template <class T, class List>
__global__ void __launch_bounds__(kDecideThreads) decide_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(double, quotients);
  KRONLA_SHARED_ARRAY(double, room, kReduceRoom);
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const int thread = static_cast<int>(threadIdx.x), step = list.settings.step;
  const auto work = [&](const TiledTask<T>& task) { return work_of(task, step); };
  for_each_tile(
      list, first, work, [](const TiledTask<T>&) { return 1; },
      [&](const TiledTask<T>& task, int entry, int) {
        const int n = task.n;
        const Matrix<T> matrix(task, entry);
        double norm = 0.0, squares = 0.0;
        for (int index = thread; index < chunks_of(n); index += kDecideThreads) norm += matrix.norms[index];
        for (int index = thread; index < lower_tiles(n); index += kDecideThreads) squares += matrix.squares[index];
        norm = sqrt(block_sum(norm, room));
        squares = block_sum(squares, room);
        const double ratio = norm > 0.0 ? sqrt(squares) / norm : 0.0, tol = list.settings.tol;
        // Q is finite and yet so far from orthogonal that QᵀAQ overflows.
        const bool spoiled = !(ratio <= Limits<double>::kMax);
        const bool active = step < list.settings.steps && norm > 0.0 && !spoiled && !(tol > 0.0 && ratio <= tol);
        if (active) {
          for (int j = thread; j < n; j += kDecideThreads) quotients[j] = matrix.quotients[j];
          __syncthreads();
          for (int j = thread; j < n; j += kDecideThreads) matrix.rank[j] = rank_of_column(quotients, j, n);
        }
        if (thread != 0) return;
        BasisState& state = *matrix.state;
        state.norm = norm;
        state.ratio = ratio;
        state.active = active;
        state.spoiled = spoiled;
        state.qr = takes_qr(task.method, ratio, state.qr != 0);
        if (active && list.settings.what == Purpose::Step) go_on(task, step, entry);
      });
}

// The rotation, both triangles, in the place of P, which a rotation does not use.
template <class T, class List>
__global__ void __launch_bounds__(kThreads) rotation_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED_ARRAY(T, turns, kTile * (kTile + 1));
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const auto work = [&](const TiledTask<T>& task) { return work_of(task, list.settings.step + 1); };
  const auto tiles = [](const TiledTask<T>& task) { return lower_tiles(task.n); };
  for_each_tile(list, first, work, tiles, [&](const TiledTask<T>& task, int entry, int tile) {
    const int n = task.n;
    const Matrix<T> matrix(task, entry);
    const BasisState& state = *matrix.state;
    if (state.qr != 0) return;
    int row, column;
    triangular_tile(tile, row, column);
    const RotationFloor<T> floor = rotation_floor<T>(n, state.ratio, state.norm);
    for (int index = threadIdx.x; index < kTile * kTile; index += kThreads) {
      const int r = index / kTile, c = index % kTile, i = row * kTile + r, j = column * kTile + c;
      T turn = T(0);
      if (i < n && j < i) {
        turn = rotation(matrix.B[i * task.ld + j], matrix.quotients[j], matrix.quotients[i], floor);
      }
      turns[r * (kTile + 1) + c] = turn;
      if (i < n && j <= i) matrix.P[i * task.ld + j] = -turn;
    }
    __syncthreads();
    for (int index = threadIdx.x; index < kTile * kTile; index += kThreads) {
      const int c = index / kTile, r = index % kTile, i = row * kTile + r, j = column * kTile + c;
      if (i < n && j < i) matrix.P[j * task.ld + i] = turns[r * (kTile + 1) + c];
    }
  });
}

// W = Q + QT or AQ + μQ, its columns by descending quotient.
template <class T, class List>
__global__ void __launch_bounds__(kThreads, MathOf<T>::kBlocks) form_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const auto work = [&](const TiledTask<T>& task) { return work_of(task, list.settings.step + 1); };
  const auto tiles = [](const TiledTask<T>& task) { return tiles_along(task.n) * tiles_along(task.n); };
  for_each_tile(list, first, work, tiles, [&](const TiledTask<T>& task, int entry, int tile) {
    const int n = task.n, side = tiles_along(n);
    const Matrix<T> matrix(task, entry);
    const BasisState& state = *matrix.state;
    const int i0 = tile / side * kTile, j0 = tile % side * kTile;
    if (state.qr != 0) {
      const T mu = null_weight<T>(n, state.norm);
      for (int index = threadIdx.x; index < kTile * kTile; index += kThreads) {
        const int i = i0 + index / kTile, j = j0 + index % kTile, at = i * task.ld + j;
        if (i < n && j < n)
          matrix.W[i * task.ld_W + matrix.rank[j]] = static_cast<double>(matrix.P[at] + mu * matrix.Q[at]);
      }
      return;
    }
    T total[2][4][4] = {};
    tile_product<MathOf<T>, Layout::RowMajor, Layout::ColumnMajor>(
        operand_of(matrix.Q, n, task.ld), i0, operand_of(matrix.P, n, task.ld), j0, false, false, shared, total);
    for_each_in_tile(total, [&](int r, int c, T sum) {
      const int i = i0 + r, j = j0 + c;
      if (i < n && j < n)
        matrix.W[i * task.ld_W + matrix.rank[j]] = static_cast<double>(matrix.Q[i * task.ld + j] + sum);
    });
  });
}

// 64 columns of the orthonormal W back in the caller's order, turned round where they are by more than 90° off the old.
template <class T, class List>
__global__ void __launch_bounds__(kThreads) columns_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED_ARRAY(double, overlap, kThreads);
  KRONLA_SHARED_ARRAY(int, first, List::kMost + 1);
  const auto work = [&](const TiledTask<T>& task) { return work_of(task, list.settings.step + 1); };
  const auto tiles = [](const TiledTask<T>& task) { return tiles_along(task.n); };
  for_each_tile(list, first, work, tiles, [&](const TiledTask<T>& task, int entry, int tile) {
    const int thread = static_cast<int>(threadIdx.x);
    const int n = task.n;
    const Matrix<T> matrix(task, entry);
    const int j = tile * kTile + thread % kTile, half = thread / kTile, from = j < n ? matrix.rank[j] : 0;
    double dot = 0.0;
    for (int i = half; j < n && i < n; i += kThreads / kTile)
      dot += static_cast<double>(matrix.Q_old[i * n + j]) * matrix.W[i * task.ld_W + from];
    overlap[thread] = dot;
    __syncthreads();
    const double sign = overlap[thread % kTile] + overlap[kTile + thread % kTile] < 0.0 ? -1.0 : 1.0;
    for (int i = half; j < n && i < n; i += kThreads / kTile)
      matrix.Q[i * task.ld + j] = static_cast<T>(sign * matrix.W[i * task.ld_W + from]);
    if (tile == 0 && thread == 0) ++matrix.state->steps;
  });
}

template <class T, class List>
__global__ void __launch_bounds__(kChunkThreads) store_kernel(KRONLA_PARAMETER(List) list) {
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const TiledTask<T>& task = list.tasks[task_of_tile(list, block)];
  const int n = task.n;
  const Chunk chunk(block - task.first_tile, n);
  const Matrix<T> matrix(task, chunk.entry);
  const BasisState state = *matrix.state;
  const bool eigh = list.settings.what == Purpose::Eigh, finite = state.finite != 0;
  const bool failed = eigh ? state.failed != 0 : state.spoiled != 0;
  if (task.Q_out != nullptr) {
    T* Q = task.Q_out + int64_t{chunk.entry} * n * n;
    const bool none = eigh && (failed || !finite);  // no basis was given to fall back on
    for (int index = chunk.begin + thread; index < chunk.end; index += kChunkThreads)
      Q[index] = none ? Limits<T>::kNaN : failed ? matrix.Q_old[index] : matrix.Q[index / n * task.ld + index % n];
  }
  if (chunk.index != 0) return;
  if (task.eigenvalues != nullptr) {
    // Those of a solver are sorted; the quotients of its vectors only up to rounding.
    for (int j = thread; j < n; j += kChunkThreads)
      task.eigenvalues[int64_t{chunk.entry} * n + j] =
          !finite || failed
              ? Limits<T>::kNaN
              : static_cast<T>((eigh ? static_cast<double>(matrix.values[j]) : matrix.quotients[j]) / state.scale);
  }
  if (thread != 0) return;
  const double tol = list.settings.tol;
  const bool short_of = failed || (tol > 0.0 && !(state.ratio <= tol));
  task.ratio[chunk.entry] = finite && !failed ? static_cast<T>(state.ratio) : Limits<T>::kNaN;
  if (task.steps != nullptr) task.steps[chunk.entry] = eigh ? finite : state.steps;
  if (task.info != nullptr) task.info[chunk.entry] = !finite ? kNonFinite : short_of ? kNotConverged : kGood;
}

}  // namespace kronla::cuda
