// What the tiled eigenbasis kernels are told of a group of matrices, and where each keeps its own.
#pragma once

#include "kernels/cuda/device/qr_work.cuh"
#include "kernels/cuda/device/tile_product.cuh"
#include "kernels/eigenbasis.h"

namespace kronla::cuda {

// What is known of one matrix, in device memory. While `active` it moves on, and is on the lists of work.
struct BasisState {
  double scale, norm, ratio;
  int32_t finite, active, steps, qr;     // qr: the running step, or the last one, was a QR step
  int32_t spoiled;                       // QᵀAQ is not finite, though A and Q are
  int32_t failed, null_begin, null_end;  // of an eigendecomposition; which eigenvalues count as 0
};

template <class T>
struct TiledTask {
  const T *A_in, *Q_old;
  T *Q_out, *eigenvalues, *ratio;
  int32_t *steps, *info;
  // Scratch, for each matrix: A scaled by a power of two, Q, and AQ, the rotation or the eigenvectors as rows, [n, ld];
  // B = QᵀAQ lies in G, which is formed when B is used up.
  T *A, *Q, *P;
  T* largest;       // [2, chunks], of A and of Q
  double* squares;  // [chunks] of A, then [tiles] of the lower triangle of B
  double* quotients;
  int32_t* rank;
  BasisState* state;
  double *W, *G;  // [n, ld_W]
  // The matrices that are still at work, list s after s decisions (work_of), and what makes W orthonormal.
  int32_t* counts;   // [steps + 2], zero before the first
  int32_t* entries;  // [2, batch]
  int32_t *qr_counts, *qr_entries;
  QrState* passes;
  T* values;  // of an eigendecomposition, and where it failed
  int32_t* failed;
  int batch, n, ld, ld_W;
  BasisMethod method;
  int first_tile;
};

// What a call is for. A step needs W and its orthonormalisation; a decomposition needs the solver.
enum class Purpose : int32_t { Step, SolvedStep, Eigh };

struct TiledSettings {
  double tol;
  int step, steps;  // decisions that were made, of so many that allow a step
  Purpose what;
};

template <class T>
__device__ __forceinline__ WorkList work_of(const TiledTask<T>& task, int list) {
  return {task.counts + list, task.entries + list % 2 * task.batch};
}

// The matrix goes on to the next step.
template <class T>
__device__ __forceinline__ void go_on(const TiledTask<T>& task, int step, int entry) {
  append(work_of(task, step + 1), entry);
  QrGroup group{};
  group.counts = task.qr_counts;
  group.entries = task.qr_entries;
  group.state = task.passes;
  group.batch = task.batch;
  start_passes<T>(group, step, entry);
}

template <class T>
using MathOf = std::conditional_t<std::is_same_v<T, double>, Fp64, Tf32x3>;

inline constexpr int kChunk = 16384;  // elements that one block measures, loads or stores
inline constexpr int kChunkThreads = 256;
inline constexpr int kDecideThreads = 512;

__host__ __device__ constexpr int tiles_along(int n) { return (n + kTile - 1) / kTile; }
__host__ __device__ constexpr int lower_tiles(int n) { return tiles_along(n) * (tiles_along(n) + 1) / 2; }
__host__ __device__ constexpr int chunks_of(int n) { return static_cast<int>((int64_t{n} * n + kChunk - 1) / kChunk); }

// One matrix of a task.
template <class T>
struct Matrix {
  const T *A_in, *Q_old;
  T *A, *Q, *P, *B, *largest;
  double *norms, *squares, *quotients, *W;
  int32_t* rank;
  BasisState* state;
  const T* values;
  const int32_t* failed;
  __device__ __forceinline__ Matrix(const TiledTask<T>& task, int entry) {
    const int64_t e = entry, n = task.n, in = e * n * n, padded = e * n * task.ld;
    A_in = task.A_in + in;
    Q_old = task.Q_old == nullptr ? nullptr : task.Q_old + in;
    A = task.A + padded;
    Q = task.Q + padded;
    P = task.P + padded;
    B = reinterpret_cast<T*>(task.G + e * n * task.ld_W);
    largest = task.largest + e * 2 * chunks_of(task.n);
    norms = task.squares + e * (chunks_of(task.n) + lower_tiles(task.n));
    squares = norms + chunks_of(task.n);
    quotients = task.quotients + e * n;
    W = task.W == nullptr ? nullptr : task.W + e * n * task.ld_W;
    rank = task.rank + e * n;
    state = task.state + e;
    values = task.values == nullptr ? nullptr : task.values + e * n;
    failed = task.failed == nullptr ? nullptr : task.failed + e;
  }
};

template <class T>
__device__ __forceinline__ Operand operand_of(const T* data, int n, int ld) {
  return {data, ld, 0, n, n, n, Copy::Vectors, sizeof(T) == 8 ? ScalarType::Float64 : ScalarType::Float32};
}

// A block's chunk of a matrix.
struct Chunk {
  int entry, index, begin, end;
  __device__ __forceinline__ Chunk(int block, int n) {
    const int chunks = chunks_of(n), size = n * n;
    entry = block / chunks;
    index = block % chunks;
    begin = index * kChunk;
    end = size - begin < kChunk ? size : begin + kChunk;
  }
};

}  // namespace kronla::cuda
