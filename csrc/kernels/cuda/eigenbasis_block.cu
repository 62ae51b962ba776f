#include "kernels/cuda/eigenbasis_block.h"

#include <algorithm>

#include "kernels/cuda/device/basis_block.cuh"
#include "kernels/cuda/device/jacobi.cuh"

namespace kronla::cuda {
namespace {

// Where the matrices lie in shared memory, in units of one [N, N + 4] of T. The panel of the orthonormalisation, in
// double, lies over all of them: G over what is dead once W is formed, and W over A and B, which are dead before.
template <class T>
struct Places {
  static constexpr bool kFloat = sizeof(T) == 4;
  static constexpr int kQ = 0, kP = kFloat ? 1 : 2, kA = kFloat ? 2 : 1, kB = 3;
  static constexpr int kAll = 4;
};

struct BlockRoom : BasisRoom<kBlockMost> {
  int column[kBlockMost];
  JacobiRoom jacobi;
};

template <class T>
size_t block_shared_bytes(int n) {
  const size_t N = block_size_of(n);
  return Places<T>::kAll * N * block_step_of(static_cast<int>(N)) * sizeof(T) + sizeof(BlockRoom);
}

// One matrix on its way, as the CPU's Basis.
template <class T>
struct Basis : BlockBasis<T, kBlockMost, BlockRoom, Places<T>> {
  using Base = BlockBasis<T, kBlockMost, BlockRoom, Places<T>>;
  using Base::Base, Base::n, Base::N, Base::ld, Base::room;
  __device__ __forceinline__ double* M() const { return reinterpret_cast<double*>(this->place(0)); }
  __device__ __forceinline__ double* W() const { return M() + N * ld; }

  // W = AQ + μQ, its columns in descending order.
  __device__ __forceinline__ void form_for_qr() {
    const T mu = null_weight<T>(n, room->norm);
    const T *P = this->P(), *Q = this->Q();
    double* W = this->W();
    for (int index = threadIdx.x; index < N * N; index += kBlockThreads) {
      const int i = index / N, j = index % N;
      W[i * ld + room->rank[j]] = static_cast<double>(P[i * ld + j] + mu * Q[i * ld + j]);
    }
  }

  // W = Q + QT, its columns in descending order. T takes the place of P.
  __device__ __forceinline__ void form_for_rotation() {
    this->rotate();
    const T* Q = this->Q();
    double* W = this->W();
    block_product<false, kBlockThreads>(Q, this->P(), N, false, [&](int i, int j, T sum) {
      W[i * ld + room->rank[j]] = static_cast<double>(Q[i * ld + j] + sum);
    });
  }

  // W = the eigenvectors of A by descending eigenvalue; false where they are not found. Any basis of a null space is as
  // good: the one nearest to the old columns of the same ranks, as orthonormalisation of their projections gives it.
  __device__ __forceinline__ bool form_by_eigh(const T* A_from, const T* Q_old) {
    double *M = this->M(), *W = this->W();
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
    const double null = 16.0 * roundoff_of<T>() * room->norm;
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
    if (end - begin > 1) orthonormalize_in_block<T>(StackedPanel{M, N, ld}, n, n, room->qr);
    return true;
  }
};

// `kEigh`: the method of all tasks, for which one step is all there is.
template <bool kEigh, class T, class List>
__global__ void __launch_bounds__(kBlockThreads, kEigh || sizeof(T) == 8 ? 2 : 3)
    update_block_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int block = static_cast<int>(blockIdx.x);
  const BlockTask<T>& task = list.tasks[task_of_tile(list, block)];
  Basis<T> basis(task.n, shared);
  int most = list.settings.max_steps;
  if (kEigh && most > 1) most = 1;
  follow(basis, task, block - task.first_tile, list.settings.tol, most,
         [&](const T* A, const T* Q_old, [[maybe_unused]] bool qr) -> const double* {
           if constexpr (kEigh) {
             if (!basis.form_by_eigh(A, Q_old)) return nullptr;
           } else {
             qr ? basis.form_for_qr() : basis.form_for_rotation();
             orthonormalize_in_block<T>(StackedPanel{basis.M(), basis.N, basis.ld}, task.n, task.n, basis.room->qr);
           }
           return basis.W();
         });
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
