#include "kernels/cpu/eigh/eigh.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/dense.h"
#include "kernels/cpu/eigh/grading.h"
#include "kernels/cpu/eigh/tridiagonal.h"
#include "kernels/cpu/eigh/tridiagonal_eigh.h"
#include "kernels/cpu/simd/passes.h"

namespace kronla {
namespace {

// Scales A's lower triangle by a power of two, to about 1, where its squares might leave the range. Returns the factor.
template <class T>
double bring_into_range(int64_t n, T* A) {
  T largest = T(0);
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, largest_magnitude(i + 1, A + i * n));
  const double scale = power_of_two_scale(largest);
  if (std::abs(std::ilogb(scale)) <= std::numeric_limits<T>::max_exponent / 8) return 1.0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j) A[i * n + j] = static_cast<T>(static_cast<double>(A[i * n + j]) * scale);
  return scale;
}

// A's rows and columns in this order, of an A whose lower triangle counts.
template <class T>
void bring_into_order(int64_t n, const int64_t* order, T* A, Worker& worker) {
  const Worker::Scope scope(worker);
  T* copy = worker.take<T>(n * n);
  mirror_lower(n, A);
  std::copy_n(A, n * n, copy);
  permute_symmetric(n, order, copy, A);
}

// The rows of V, eigenvectors of the matrix in that order, become those of A.
template <class T>
void restore_vectors(int64_t n, const int64_t* order, T* V, Worker& worker) {
  const Worker::Scope scope(worker);
  T* vector = worker.take<T>(n);
  for (int64_t i = 0; i < n; ++i) {
    std::copy_n(V + i * n, n, vector);
    for (int64_t j = 0; j < n; ++j) V[i * n + order[j]] = vector[j];
  }
}

}  // namespace

template <class T>
bool eigendecompose(int64_t n, T* A, T* V, T* w, Worker& worker) {
  const Worker::Scope scope(worker);
  T* tau = worker.take<T>(n);
  double *d = worker.take<double>(n), *e = worker.take<double>(n);
  const double scale = bring_into_range(n, A);
  const int64_t* order = graded_order(n, A, kGraded, worker);
  if (order != nullptr) bring_into_order(n, order, A, worker);
  reduce_to_tridiagonal(n, A, tau, d, e, worker);
  if (!tridiagonal_eigh(n, d, e, V, worker)) return false;
  back_transform(n, A, tau, V, worker);
  if (order != nullptr) restore_vectors(n, order, V, worker);
  for (int64_t i = 0; i < n; ++i) w[i] = static_cast<T>(d[i] / scale);
  return true;
}

template bool eigendecompose<float>(int64_t, float*, float*, float*, Worker&);
template bool eigendecompose<double>(int64_t, double*, double*, double*, Worker&);

}  // namespace kronla
