#include "kernels/cuda/eigenbasis_block.h"

#include <algorithm>

#include "kernels/cuda/device/basis_step.cuh"
#include "kernels/cuda/device/cholesky_qr.cuh"
#include "kernels/cuda/device/jacobi.cuh"
#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/status.h"

namespace kronla::cuda {
namespace {

template <class T>
struct BlockTask {
  const T *A, *Q_old;
  T *Q, *eigenvalues, *ratio;
  int32_t *steps, *info;
  int batch, n;
  BasisMethod method;
  int first_tile;
};

struct StepSettings {
  double tol;
  int max_steps;
};

// Where the matrices lie in shared memory, in units of one [N, N + 4] of T. The panel of the orthonormalisation, in
// double, lies over all of them: G over what is dead once W is formed, and W over A and B, which are dead before.
template <class T>
struct Places {
  static constexpr bool kFloat = sizeof(T) == 4;
  static constexpr int kQ = 0, kP = kFloat ? 1 : 2, kA = kFloat ? 2 : 1, kB = 3;
  static constexpr int kAll = 4;
};

struct BlockRoom {
  QrRoom qr;
  double scale, norm;  // what A was multiplied with, and ‖A‖_F after that; here, to spare registers
  double quotients[kBlockMost], overlap[2][kBlockMost];
  int rank[kBlockMost], column[kBlockMost];
  JacobiRoom jacobi;
};

static_assert(sizeof(BlockRoom) % 16 == 0, "the matrices behind it are read in pairs of doubles");

template <class T>
size_t block_shared_bytes(int n) {
  const size_t N = block_size_of(n);
  return Places<T>::kAll * N * block_step_of(static_cast<int>(N)) * sizeof(T) + sizeof(BlockRoom);
}

// One matrix on its way, as the CPU's Basis.
template <class T>
struct Basis {
  int n, N, ld;
  T *A, *Q, *P, *B;  // in shared memory
  BlockRoom* room;
  double ratio;

  // A, scaled and mirrored from its lower triangle, and Q into shared memory, with zeros around them.
  __device__ __forceinline__ void load(const T* A_from, const T* Q_from) {
    for (int index = threadIdx.x; index < N * N; index += kBlockThreads) {
      const int i = index / N, j = index % N;
      const bool inside = i < n && j < n;
      Q[i * ld + j] = inside ? Q_from[i * n + j] : T(0);
      if (j > i) continue;
      const T value = inside ? static_cast<T>(static_cast<double>(A_from[i * n + j]) * room->scale) : T(0);
      A[i * ld + j] = value;
      A[j * ld + i] = value;
    }
    __syncthreads();
  }

  // P = AQ; the lower triangle of B = QᵀP, its diagonal, and what is left beside it.
  __device__ __forceinline__ void evaluate() {
    block_product<false>(A, Q, N, false, [&](int i, int j, T sum) { P[i * ld + j] = sum; });
    __syncthreads();
    double squares = 0.0;
    block_product<true>(Q, P, N, true, [&](int i, int j, T sum) {
      if (j > i) return;
      B[i * ld + j] = sum;
      const double value = static_cast<double>(sum);
      if (i == j) {
        room->quotients[i] = value;
      } else {
        squares += 2.0 * value * value;
      }
    });
    squares = block_sum(squares, room->qr.reduce);
    ratio = room->norm > 0.0 ? sqrt(squares) / room->norm : 0.0;
  }

  // rank[j]: the place of column j by descending quotient, ties by index; those beyond n stay behind.
  __device__ __forceinline__ void rank_columns() {
    const int j = static_cast<int>(threadIdx.x);
    if (j < N) room->rank[j] = j < n ? rank_of_column(room->quotients, j, n) : j;
    __syncthreads();
  }

  // W = AQ + μQ, its columns in descending order.
  __device__ __forceinline__ void form_for_qr(double* W) {
    const T mu = null_weight<T>(n, room->norm);
    for (int index = threadIdx.x; index < N * N; index += kBlockThreads) {
      const int i = index / N, j = index % N;
      W[i * ld + room->rank[j]] = static_cast<double>(P[i * ld + j] + mu * Q[i * ld + j]);
    }
  }

  // W = Q + QT, its columns in descending order. T takes the place of P.
  __device__ __forceinline__ void form_for_rotation(double* W) {
    const T floor = rotation_floor<T>(n, ratio, room->norm);
    for (int index = threadIdx.x; index < N * N; index += kBlockThreads) {
      const int i = index / N, j = index % N;
      if (j > i) continue;
      const T turn = i < n && j < i ? rotation(B[i * ld + j], room->quotients[j], room->quotients[i], floor) : T(0);
      P[j * ld + i] = turn;
      P[i * ld + j] = -turn;
    }
    __syncthreads();
    block_product<false>(Q, P, N, false, [&](int i, int j, T sum) {
      W[i * ld + room->rank[j]] = static_cast<double>(Q[i * ld + j] + sum);
    });
  }

  // W = the eigenvectors of A by descending eigenvalue; false where they are not found. Any basis of a null space is as
  // good: the one nearest to the old columns of the same ranks, as orthonormalisation of their projections gives it.
  __device__ __forceinline__ bool form_by_eigh(const T* A_from, const T* Q_old, double* M, double* W) {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    double* values = room->qr.scale;
    __syncthreads();  // the last readers of what lies in M
    for (int index = thread; index < N * N; index += kBlockThreads) {
      const int i = index / N, j = index % N;
      M[i * ld + j] =
          i < n && j < n ? static_cast<double>(i < j ? A_from[j * n + i] : A_from[i * n + j]) * room->scale : 0.0;
    }
    __syncthreads();
    if (!diagonalise<T, kBlockThreads>(M, W, even(n), ld, room->norm, room->jacobi)) return false;
    if (thread < n) {
      values[thread] = M[thread * ld + thread];
      room->column[room->rank[thread]] = thread;
    }
    __syncthreads();
    const int mine = thread < n ? rank_of_column(values, thread, n) : 0;
    if (thread < n) room->jacobi.rank[thread] = mine;
    __syncthreads();
    for (int index = thread; index < N * N; index += kBlockThreads) {
      const int i = index / N, j = index % N;
      if (i < n && j < n) M[i * ld + room->jacobi.rank[j]] = W[i * ld + j];
    }
    // Sorted, the null ones are neighbours: ranks begin … end − 1.
    const double null = static_cast<double>(n) * roundoff_of<T>() * room->norm;
    int begin = 0, end = 0;
    for (int j = 0; j < n; ++j) {
      begin += values[j] > null ? 1 : 0;
      end += values[j] >= -null ? 1 : 0;
    }
    __syncthreads();
    if (end - begin > 1) {
      for (int index = thread; index < (end - begin) * (end - begin); index += kBlockThreads) {
        const int l = begin + index / (end - begin), k = begin + index % (end - begin);
        double dot = 0.0;
        for (int i = 0; i < n; ++i) dot += M[i * ld + l] * static_cast<double>(Q_old[i * n + room->column[k]]);
        W[l * ld + k] = dot;
      }
      __syncthreads();
      for (int i = warp; i < n; i += kBlockThreads / 32) {
        double turned[2] = {};
        for (int half = 0; half < 2; ++half) {
          const int k = begin + lane + 32 * half;
          for (int l = begin; k < end && l < end; ++l) turned[half] += M[i * ld + l] * W[l * ld + k];
        }
        __syncwarp();
        for (int half = 0; half < 2; ++half)
          if (begin + lane + 32 * half < end) M[i * ld + begin + lane + 32 * half] = turned[half];
      }
      __syncthreads();
    }
    for (int index = thread; index < N * N; index += kBlockThreads) {
      const int i = index / N, j = index % N;
      W[i * ld + j] = i < n && j < n ? M[i * ld + j] : 0.0;
    }
    __syncthreads();
    if (end - begin > 1) orthonormalize_in_block<T>(M, n, n, N, room->qr);
    return true;
  }

  // The columns of W back in the caller's order, turned round where they are by more than 90° off the old ones.
  __device__ __forceinline__ void write_columns(const double* W, const T* Q_old, T* Q_to) {
    const int j = static_cast<int>(threadIdx.x) % kBlockMost, half = static_cast<int>(threadIdx.x) / kBlockMost;
    if (j < n) {
      double dot = 0.0;
      for (int i = half; i < n; i += 2) dot += static_cast<double>(Q_old[i * n + j]) * W[i * ld + room->rank[j]];
      room->overlap[half][j] = dot;
    }
    __syncthreads();
    if (j < n) {
      const double sign = room->overlap[0][j] + room->overlap[1][j] < 0.0 ? -1.0 : 1.0;
      for (int i = half; i < n; i += 2) Q_to[i * n + j] = static_cast<T>(sign * W[i * ld + room->rank[j]]);
    }
    __syncthreads();
  }
};

// `kEigh`: the method of all tasks, for which one step is all there is.
template <bool kEigh, class T, class List>
__global__ void __launch_bounds__(kBlockThreads, kEigh ? 2 : 3) update_block_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const BlockTask<T>& task = list.tasks[task_of_tile(list, block)];
  const int n = task.n, entry = block - task.first_tile, size = n * n;
  const T *A = task.A + int64_t{entry} * size, *Q_old = task.Q_old + int64_t{entry} * size;
  T* Q = task.Q == nullptr ? nullptr : task.Q + int64_t{entry} * size;

  Basis<T> basis;
  basis.n = n;
  basis.N = block_size_of(n);
  basis.ld = block_step_of(basis.N);
  basis.room = reinterpret_cast<BlockRoom*>(shared);
  T* matrices = reinterpret_cast<T*>(shared + sizeof(BlockRoom));
  const int matrix = basis.N * basis.ld;
  basis.Q = matrices + Places<T>::kQ * matrix;
  basis.P = matrices + Places<T>::kP * matrix;
  basis.A = matrices + Places<T>::kA * matrix;
  basis.B = matrices + Places<T>::kB * matrix;
  double *M = reinterpret_cast<double*>(matrices), *W = M + matrix;

  T largest = T(0), largest_Q = T(0);
  for (int index = thread; index < size; index += kBlockThreads) {
    const T a = magnitude(A[index]), q = magnitude(Q_old[index]);
    largest = a > largest ? a : largest;
    largest_Q = q > largest_Q ? q : largest_Q;
  }
  double* reduce = basis.room->qr.reduce;
  largest = static_cast<T>(block_max(static_cast<double>(largest), reduce));
  largest_Q = static_cast<T>(block_max(static_cast<double>(largest_Q), reduce));
  const bool finite = largest <= Limits<T>::kMax && largest_Q <= Limits<T>::kMax;

  int steps = 0;
  Info info = kGood;
  if (finite) {
    const double scale = power_of_two_scale(largest);
    double squares = 0.0;
    for (int index = thread; index < size; index += kBlockThreads) {
      const int i = index / n, j = index % n;
      const double value = static_cast<double>(A[index]) * scale;
      if (j <= i) squares += (i == j ? 1.0 : 2.0) * value * value;
    }
    const double norm = sqrt(block_sum(squares, reduce));
    if (thread == 0) {
      basis.room->scale = scale;
      basis.room->norm = norm;
    }
    __syncthreads();
    const double tol = list.settings.tol;
    int max_steps = norm == 0.0 ? 0 : list.settings.max_steps;
    if (kEigh && max_steps > 1) max_steps = 1;
    [[maybe_unused]] bool last_was_qr = false;
    for (;; ++steps) {
      basis.load(A, steps == 0 ? Q_old : Q);
      basis.evaluate();
      if (steps >= max_steps || (tol > 0.0 && basis.ratio <= tol)) break;
      basis.rank_columns();
      if constexpr (kEigh) {
        if (!basis.form_by_eigh(A, Q_old, M, W)) break;
      } else {
        last_was_qr = takes_qr(task.method, basis.ratio, last_was_qr);
        if (last_was_qr) {
          basis.form_for_qr(W);
        } else {
          basis.form_for_rotation(W);
        }
        orthonormalize_in_block<T>(M, n, n, basis.N, basis.room->qr);
      }
      basis.write_columns(W, Q_old, Q);
    }
    if (tol > 0.0 && !(basis.ratio <= tol)) info = kNotConverged;
  } else {
    info = kNonFinite;
  }

  const T nan = Limits<T>::kNaN;
  if (Q != nullptr && steps == 0) {
    for (int index = thread; index < size; index += kBlockThreads) Q[index] = Q_old[index];
  }
  if (task.eigenvalues != nullptr && thread < n)
    task.eigenvalues[int64_t{entry} * n + thread] =
        finite ? static_cast<T>(basis.room->quotients[thread] / basis.room->scale) : nan;
  if (thread != 0) return;
  task.ratio[entry] = finite ? static_cast<T>(basis.ratio) : nan;
  if (task.steps != nullptr) task.steps[entry] = steps;
  if (task.info != nullptr) task.info[entry] = info;
}

}  // namespace

template <class T>
void update_in_blocks(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps, const Stream& stream) {
  const StepSettings settings{tol, static_cast<int>(std::min<int64_t>(max_steps, 0x7fffffff))};
  const auto blocks_of = [](const BlockTask<T>& task) { return int64_t{task.batch}; };
  // Matrices of one padded size together: each block gets the shared memory that its own size needs.
  for (int N = 16; N <= kBlockMost; N += 16) {
    std::vector<BlockTask<T>> stepped, solved;
    for (const BasisGroup<T>& group : groups) {
      if (group.batch == 0 || block_size_of(static_cast<int>(group.n)) != N) continue;
      (group.method == BasisMethod::Eigh ? solved : stepped)
          .push_back({group.A, group.Q_old, group.Q, group.eigenvalues, group.ratio, group.steps, group.info,
                      checked_int(group.batch), static_cast<int>(group.n), group.method, 0});
    }
    for_each_launch(stepped, settings, blocks_of, [&](const auto& list, unsigned blocks) {
      launch("update_eigenbasis", update_block_kernel<false, T, std::decay_t<decltype(list)>>, dim3(blocks),
             kBlockThreads, block_shared_bytes<T>(N), stream.handle, list);
    });
    for_each_launch(solved, settings, blocks_of, [&](const auto& list, unsigned blocks) {
      launch("update_eigenbasis: eigh", update_block_kernel<true, T, std::decay_t<decltype(list)>>, dim3(blocks),
             kBlockThreads, block_shared_bytes<T>(N), stream.handle, list);
    });
  }
}

template void update_in_blocks<float>(const std::vector<BasisGroup<float>>&, double, int64_t, const Stream&);
template void update_in_blocks<double>(const std::vector<BasisGroup<double>>&, double, int64_t, const Stream&);

}  // namespace kronla::cuda
