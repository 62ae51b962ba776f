// One basis on its way in the shared memory of one block: what the kernels for n ≤ 64 and for n ≤ 128 share.
#pragma once

#include "kernels/cuda/device/basis_step.cuh"
#include "kernels/cuda/device/cholesky_qr.cuh"
#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/status.h"

namespace kronla::cuda {

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

// Numbers, not pointers into the parameters: to spare registers, the kernels read what they need from here.
template <int kMost>
struct alignas(16) BasisRoom {  // the matrices behind it are read in pairs of doubles
  QrRoom<kMost> qr;
  double scale, norm;  // what A was multiplied with, and ‖A‖_F after that
  double ratio;
  double quotients[kMost], overlap[2][kMost];
  int rank[kMost];
};

// Matrices [N, N] of T with rows N + 4 apart, zero beyond n; `place(k)` is the k-th of those behind the room. Two threads
// for each of kMost columns.
template <class T, int kMost, class Room, class Places>
struct BlockBasis {
  static constexpr int kBlock = 2 * kMost;
  int n, N, ld;
  Room* room;

  __device__ __forceinline__ BlockBasis(int size, unsigned char* shared)
      : n(size), N(block_size_of(size)), ld(block_step_of(N)), room(reinterpret_cast<Room*>(shared)) {}
  __device__ __forceinline__ T* place(int k) const { return reinterpret_cast<T*>(room + 1) + k * N * ld; }
  __device__ __forceinline__ T* A() const { return place(Places::kA); }
  __device__ __forceinline__ T* Q() const { return place(Places::kQ); }
  __device__ __forceinline__ T* P() const { return place(Places::kP); }
  __device__ __forceinline__ T* B() const { return place(Places::kB); }

  // Whether A and Q are finite; the scale and the norm of A.
  __device__ __forceinline__ bool measure(const T* A_from, const T* Q_from) {
    const int size = n * n;
    T largest = T(0), largest_Q = T(0);
    for (int index = threadIdx.x; index < size; index += kBlock) {
      const T a = magnitude(A_from[index]), q = magnitude(Q_from[index]);
      largest = a > largest ? a : largest;
      largest_Q = q > largest_Q ? q : largest_Q;
    }
    largest = static_cast<T>(block_max(static_cast<double>(largest), room->qr.reduce));
    largest_Q = static_cast<T>(block_max(static_cast<double>(largest_Q), room->qr.reduce));
    if (!(largest <= Limits<T>::kMax && largest_Q <= Limits<T>::kMax)) return false;
    const double scale = power_of_two_scale(largest);
    double squares = 0.0;
    for (int index = threadIdx.x; index < size; index += kBlock) {
      const int i = index / n, j = index % n;
      const double value = static_cast<double>(A_from[index]) * scale;
      if (j <= i) squares += (i == j ? 1.0 : 2.0) * value * value;
    }
    squares = block_sum(squares, room->qr.reduce);
    if (threadIdx.x == 0) {
      room->scale = scale;
      room->norm = sqrt(squares);
    }
    __syncthreads();
    return true;
  }

  // A, scaled and mirrored from its lower triangle, and Q into shared memory, with zeros around them.
  __device__ __forceinline__ void load(const T* A_from, const T* Q_from) {
    for (int index = threadIdx.x; index < N * N; index += kBlock) {
      const int i = index / N, j = index % N;
      const bool inside = i < n && j < n;
      Q()[i * ld + j] = inside ? Q_from[i * n + j] : T(0);
      if (j > i) continue;
      const T value = inside ? static_cast<T>(static_cast<double>(A_from[i * n + j]) * room->scale) : T(0);
      A()[i * ld + j] = value;
      A()[j * ld + i] = value;
    }
    __syncthreads();
  }

  // P = AQ; the lower triangle of B = QᵀP, its diagonal, and what is left beside it. B may lie where A lay. Where a
  // quotient is not finite the ratio is not, either: 0 · ∞ is NaN.
  __device__ __forceinline__ void evaluate() {
    T *product = P(), *rayleigh = B();
    block_product<false, kBlock>(A(), Q(), N, false, [&](int i, int j, T sum) { product[i * ld + j] = sum; });
    __syncthreads();
    double squares = 0.0;
    block_product<true, kBlock>(Q(), product, N, true, [&](int i, int j, T sum) {
      if (j > i) return;
      rayleigh[i * ld + j] = sum;
      const double value = static_cast<double>(sum);
      if (i == j) {
        room->quotients[i] = value;
        squares += 0.0 * value;
      } else {
        squares += 2.0 * value * value;
      }
    });
    squares = block_sum(squares, room->qr.reduce);
    if (threadIdx.x == 0) room->ratio = room->norm > 0.0 ? sqrt(squares) / room->norm : 0.0;
    __syncthreads();
  }

  // Q is finite and yet so far from orthogonal that QᵀAQ overflows.
  __device__ __forceinline__ bool spoiled() const { return !(room->ratio <= Limits<double>::kMax); }

  // rank[j]: the place of column j by descending quotient, ties by index; those beyond n stay behind.
  __device__ __forceinline__ void rank_columns() {
    const int j = static_cast<int>(threadIdx.x);
    if (j < N) room->rank[j] = j < n ? rank_of_column(room->quotients, j, n) : j;
    __syncthreads();
  }

  // T_ij of the rotation, both triangles, in the place of P.
  __device__ __forceinline__ void rotate() {
    const RotationFloor<T> floor = rotation_floor<T>(n, room->ratio, room->norm);
    for (int index = threadIdx.x; index < N * N; index += kBlock) {
      const int i = index / N, j = index % N;
      if (j > i) continue;
      const T turn = i < n && j < i ? rotation(B()[i * ld + j], room->quotients[j], room->quotients[i], floor) : T(0);
      P()[j * ld + i] = turn;
      P()[i * ld + j] = -turn;
    }
    __syncthreads();
  }

  // The columns of W, rows ld apart, back in the caller's order, turned round where they are by more than 90° off the old.
  __device__ __forceinline__ void write_columns(const double* W, const T* Q_old, T* Q_to) {
    const int j = static_cast<int>(threadIdx.x) % kMost, half = static_cast<int>(threadIdx.x) / kMost;
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

// Evaluates, and steps while the ratio asks for it. step(qr) forms an orthonormal W from what evaluate() left and returns
// it, or null where there is none; `most` steps at most.
template <class T, class Basis, class Step>
__device__ __forceinline__ void follow(Basis& basis, const BlockTask<T>& task, int entry, double tol, int most,
                                       Step&& step) {
  const int n = basis.n, thread = static_cast<int>(threadIdx.x);
  const T *A = task.A + int64_t{entry} * n * n, *Q_old = task.Q_old + int64_t{entry} * n * n;
  T* Q = task.Q == nullptr ? nullptr : task.Q + int64_t{entry} * n * n;
  const bool finite = basis.measure(A, Q_old);
  int steps = 0;
  bool spoiled = false;
  if (finite) {
    if (basis.room->norm == 0.0) most = 0;  // any basis is one of 0
    for (bool qr = false;; ++steps) {
      basis.load(A, steps == 0 ? Q_old : Q);
      basis.evaluate();
      spoiled = basis.spoiled();
      if (spoiled || steps >= most || (tol > 0.0 && basis.room->ratio <= tol)) break;
      basis.rank_columns();
      qr = takes_qr(task.method, basis.room->ratio, qr);
      const double* W = step(A, Q_old, qr);
      if (W == nullptr) break;
      basis.write_columns(W, Q_old, Q);
    }
  }
  if (Q != nullptr && (steps == 0 || spoiled)) {
    for (int index = thread; index < n * n; index += Basis::kBlock) Q[index] = Q_old[index];
  }
  const bool good = finite && !spoiled;
  if (task.eigenvalues != nullptr && thread < n)
    task.eigenvalues[int64_t{entry} * n + thread] =
        good ? static_cast<T>(basis.room->quotients[thread] / basis.room->scale) : Limits<T>::kNaN;
  if (thread != 0) return;
  const bool short_of = spoiled || (tol > 0.0 && !(basis.room->ratio <= tol));
  task.ratio[entry] = good ? static_cast<T>(basis.room->ratio) : Limits<T>::kNaN;
  if (task.steps != nullptr) task.steps[entry] = steps;
  if (task.info != nullptr) task.info[entry] = !finite ? kNonFinite : short_of ? kNotConverged : kGood;
}

}  // namespace kronla::cuda
