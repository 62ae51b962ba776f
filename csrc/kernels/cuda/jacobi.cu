// Cyclic Jacobi, all in shared memory.
#include "kernels/cuda/jacobi.h"

#include <algorithm>

#include "kernels/cuda/device/jacobi.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/status.h"

namespace kronla::cuda {
namespace {

constexpr int kJacobiThreads = 256;

template <class T>
struct JacobiTask {
  const T* A;
  T *Q, *eigenvalues, *ratio;
  int32_t *steps, *info;
  int batch, n;
  int first_tile;
};
struct NoSettings {};

// Odd, so that rows and columns are read without bank conflicts.
__host__ __device__ constexpr int jacobi_step(int n) { return even(n) + 1; }

size_t jacobi_shared_bytes(int n) { return 2 * sizeof(double) * even(n) * jacobi_step(n) + sizeof(JacobiRoom); }

template <class T, class List>
__global__ void __launch_bounds__(kJacobiThreads, 2) jacobi_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const JacobiTask<T>& task = list.tasks[task_of_tile(list, block)];
  const int n = task.n, entry = block - task.first_tile, m = even(n), ld = jacobi_step(n);
  const T* A = task.A + int64_t{entry} * n * n;
  T *Q = task.Q + int64_t{entry} * n * n, *eigenvalues = task.eigenvalues + int64_t{entry} * n;
  JacobiRoom& room = *reinterpret_cast<JacobiRoom*>(shared);
  double *M = reinterpret_cast<double*>(shared + sizeof(JacobiRoom)), *V = M + m * ld;

  double largest = 0.0;
  for (int index = thread; index < n * n; index += kJacobiThreads) {
    const double size = static_cast<double>(magnitude(A[index]));
    largest = size > largest ? size : largest;
  }
  largest = block_max(largest, room.reduce);
  const bool finite = largest <= static_cast<double>(Limits<T>::kMax);
  const double scale = finite ? power_of_two_scale(static_cast<T>(largest)) : 1.0;
  bool converged = false;
  double ratio = 0.0;
  if (finite) {
    double squares = 0.0;
    for (int index = thread; index < m * m; index += kJacobiThreads) {
      const int i = index / m, j = index % m, low = i < j ? i : j, high = i < j ? j : i;
      const double value = high < n ? static_cast<double>(A[high * n + low]) * scale : 0.0;
      M[i * ld + j] = value;
      squares += value * value;
    }
    const double norm = sqrt(block_sum(squares, room.reduce));
    converged = diagonalise<T, kJacobiThreads>(M, V, m, ld, norm, room);
    if (converged) {
      // Ascending, ties by index: the reverse of the descending rank of −λ. A padded column stays out.
      if (thread < n) {
        int rank = 0;
        const double mine = M[thread * ld + thread];
        for (int i = 0; i < n; ++i) {
          const double other = M[i * ld + i];
          rank += other < mine || (other == mine && i < thread) ? 1 : 0;
        }
        room.rank[thread] = rank;
        eigenvalues[rank] = static_cast<T>(mine / scale);
      }
      __syncthreads();
      // V ← the columns of Q as rounded, for the ratio that belongs to them.
      for (int index = thread; index < n * n; index += kJacobiThreads) {
        const int i = index / n, j = index % n;
        const T value = static_cast<T>(V[i * ld + j]);
        Q[i * n + room.rank[j]] = value;
        V[i * ld + j] = static_cast<double>(value);
      }
      for (int index = thread; index < n * n; index += kJacobiThreads) {
        const int i = index / n, j = index % n, low = i < j ? i : j, high = i < j ? j : i;
        M[i * ld + j] = static_cast<double>(A[high * n + low]) * scale;
      }
      __syncthreads();
      // B = VᵀMV a column at a time: each warp forms M v_j, then its products with the columns before it.
      const int warp = thread / 32, lane = thread % 32;
      double off = 0.0;
      for (int j = warp; j < n; j += kJacobiThreads / 32) {
        double product[2] = {};
        for (int half = 0; half < 2; ++half) {
          const int i = lane + 32 * half;
          for (int k = 0; i < n && k < n; ++k) product[half] += M[i * ld + k] * V[k * ld + j];
        }
        for (int i = 0; i < j; ++i) {
          double dot = 0.0;
          for (int half = 0; half < 2; ++half)
            if (lane + 32 * half < n) dot += V[(lane + 32 * half) * ld + i] * product[half];
          for (int flips = 16; flips > 0; flips /= 2) dot += __shfl_xor_sync(0xffffffffu, dot, flips);
          off += lane == 0 ? 2.0 * dot * dot : 0.0;
        }
      }
      off = block_sum(off, room.reduce);
      ratio = norm > 0.0 ? sqrt(off) / norm : 0.0;
    }
  }

  if (!converged) {
    for (int index = thread; index < n * n; index += kJacobiThreads) Q[index] = Limits<T>::kNaN;
    for (int j = thread; j < n; j += kJacobiThreads) eigenvalues[j] = Limits<T>::kNaN;
  }
  if (thread != 0) return;
  task.ratio[entry] = converged ? static_cast<T>(ratio) : Limits<T>::kNaN;
  task.steps[entry] = finite && n > 0 ? 1 : 0;
  task.info[entry] = !finite ? kNonFinite : converged ? kGood : kNotConverged;
}

}  // namespace

template <class T>
void eigh_by_jacobi(const std::vector<BasisGroup<T>>& groups, const Stream& stream) {
  std::vector<JacobiTask<T>> tasks;
  for (const BasisGroup<T>& group : groups) {
    tasks.push_back({group.A, group.Q, group.eigenvalues, group.ratio, group.steps, group.info,
                     checked_int(group.batch), static_cast<int>(group.n), 0});
  }
  // The long ones first.
  std::stable_sort(tasks.begin(), tasks.end(), [](const auto& a, const auto& b) { return a.n > b.n; });
  for_each_launch(
      tasks, NoSettings{}, [](const JacobiTask<T>& task) { return int64_t{task.batch}; },
      [&](const auto& list, unsigned blocks) {
        launch("eigh", jacobi_kernel<T, std::decay_t<decltype(list)>>, dim3(blocks), kJacobiThreads,
               jacobi_shared_bytes(list.tasks[0].n), stream.handle, list);
      });
}

template void eigh_by_jacobi<float>(const std::vector<BasisGroup<float>>&, const Stream&);
template void eigh_by_jacobi<double>(const std::vector<BasisGroup<double>>&, const Stream&);

}  // namespace kronla::cuda
