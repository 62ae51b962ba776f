// The eigenvectors of a symmetric matrix by cyclic Jacobi rotations, by one block in shared memory, in double: orthogonality
// then costs nothing, and a float result is correct to its last place.
#pragma once

#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/device/reduce.cuh"

namespace kronla::cuda {

inline constexpr int kJacobiMost = 64;  // the largest matrix
inline constexpr int kSweeps = 16;      // six to eight suffice for n = 64; those beyond are never taken

// ‖offdiag‖_F/‖A‖_F at which sweeps end. Convergence is quadratic: one sweep after 1e-8 it is at rounding.
template <class T>
__device__ __forceinline__ double converged_at() {
  return sizeof(T) == 4 ? 1e-9 : 1e-15;
}

struct JacobiRoom {
  double sine[kJacobiMost / 2], half[kJacobiMost / 2], reduce[kReduceRoom];
  int first[kJacobiMost / 2], second[kJacobiMost / 2], rank[kJacobiMost];
};

__host__ __device__ constexpr int even(int n) { return n + n % 2; }

// The i-th pair of round r of a tournament of m (even) players: m − 1 stays, the others move on by one each round.
__device__ __forceinline__ void pair_of_round(int m, int r, int i, int& p, int& q) {
  const int a = i == 0 ? m - 1 : (r + i) % (m - 1), b = (r + m - 1 - i) % (m - 1);
  p = a < b ? a : b;
  q = a < b ? b : a;
}

// ‖offdiag M‖_F, for every thread.
template <int kBlock>
__device__ __forceinline__ double off_diagonal_norm(const double* M, int n, int ld, double* room) {
  double squares = 0.0;
  for (int index = threadIdx.x; index < n * n; index += kBlock) {
    const int i = index / n, j = index % n;
    if (j < i) squares += 2.0 * M[i * ld + j] * M[i * ld + j];
  }
  return sqrt(block_sum(squares, room));
}

// (x, y) turned by an angle with sine s and half = tan(angle/2) = s/(1 + cos): as a correction, so that the rounding of the
// many small angles of the last sweeps is small too, and V stays orthogonal to a few u (Rutishauser 1966).
__device__ __forceinline__ void turn(double s, double half, double& x, double& y) {
  const double old = x;
  x -= s * (y + half * x);
  y += s * (old - half * y);
}

// Diagonalises M[m, m], m even, both triangles kept; V ← V times the rotations. Two barriers for m/2 rotations.
template <int kBlock>
__device__ __forceinline__ void sweep(double* M, double* V, int m, int ld, double negligible, JacobiRoom& room) {
  const int thread = static_cast<int>(threadIdx.x), pairs = m / 2;
  for (int round = 0; round < m - 1; ++round) {
    if (thread < pairs) {
      int p, q;
      pair_of_round(m, round, thread, p, q);
      const double o = M[p * ld + q], d = M[q * ld + q] - M[p * ld + p];
      double half = 0.0, s = 0.0;
      if (fabs(o) > negligible) {  // t = tan of the smaller angle
        const double root = sqrt(d * d + 4.0 * o * o), t = 2.0 * o / (d >= 0.0 ? d + root : d - root);
        const double c = rsqrt(1.0 + t * t);
        s = t * c;
        half = s / (1.0 + c);
      }
      room.sine[thread] = s;
      room.half[thread] = half;
      room.first[thread] = p;
      room.second[thread] = q;
    }
    __syncthreads();
    // The 2 × 2 block of pairs (i, j), i ≥ j, and its mirror image: J_iᵀ · block · J_j.
    for (int index = thread; index < pairs * pairs; index += kBlock) {
      const int i = index / pairs, j = index % pairs;
      if (j > i) continue;
      const double si = room.sine[i], hi = room.half[i], sj = room.sine[j], hj = room.half[j];
      const int pi = room.first[i], qi = room.second[i], pj = room.first[j], qj = room.second[j];
      double na = M[pi * ld + pj], nb = M[pi * ld + qj], ne = M[qi * ld + pj], nf = M[qi * ld + qj];
      turn(sj, hj, na, nb);
      turn(sj, hj, ne, nf);
      turn(si, hi, na, ne);
      turn(si, hi, nb, nf);
      const bool own = i == j && si != 0.0;  // the pair's own block becomes diagonal
      M[pi * ld + pj] = na;
      M[qi * ld + qj] = nf;
      M[pi * ld + qj] = own ? 0.0 : nb;
      M[qi * ld + pj] = own ? 0.0 : i == j ? nb : ne;
      if (i != j) {
        M[pj * ld + pi] = na;
        M[qj * ld + pi] = nb;
        M[pj * ld + qi] = ne;
        M[qj * ld + qi] = nf;
      }
    }
    for (int index = thread; index < pairs * m; index += kBlock) {
      const int i = index / m, row = index % m;
      turn(room.sine[i], room.half[i], V[row * ld + room.first[i]], V[row * ld + room.second[i]]);
    }
    __syncthreads();
  }
}

// Diagonalises M[m, m], m even and both triangles given, with V the eigenvectors as columns; false where 16 sweeps are not
// enough. Rows `ld` apart. All kBlock threads of the block; a barrier must come before, none is needed after.
template <class T, int kBlock>
__device__ __forceinline__ bool diagonalise(double* M, double* V, int m, int ld, double norm, JacobiRoom& room) {
  for (int index = threadIdx.x; index < m * m; index += kBlock)
    V[index / m * ld + index % m] = index / m == index % m ? 1.0 : 0.0;
  for (int count = 0;; ++count) {
    if (off_diagonal_norm<kBlock>(M, m, ld, room.reduce) <= converged_at<T>() * norm) return true;
    if (count == kSweeps) return false;
    sweep<kBlock>(M, V, m, ld, 1e-18 * norm, room);
  }
}

}  // namespace kronla::cuda
