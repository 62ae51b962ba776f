#include "kernels/cpu/blas.h"

#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>

#include "cblas.h"

namespace kronla::blas {
namespace {

int narrow(int64_t size) {
  if (size > std::numeric_limits<int>::max()) throw std::length_error("kronla: a dimension exceeds 2^31 - 1");
  return static_cast<int>(size);
}

}  // namespace
}  // namespace kronla::blas

// LAPACK by its Fortran names, as scipy-openblas32 exports them (32-bit integers, hidden string lengths last).
#define KRONLA_DECLARE_LAPACK(T, s)                                                                                  \
  void scipy_##s##syevd_(const char*, const char*, const int*, T*, const int*, T*, T*, const int*, int*, const int*, \
                         int*, size_t, size_t);                                                                      \
  void scipy_##s##geqrf_(const int*, const int*, T*, const int*, T*, T*, const int*, int*);                          \
  void scipy_##s##orgqr_(const int*, const int*, const int*, T*, const int*, const T*, T*, const int*, int*);

extern "C" {
KRONLA_DECLARE_LAPACK(float, s)
KRONLA_DECLARE_LAPACK(double, d)
}

namespace kronla::blas {

void use_one_thread() {
  if (scipy_openblas_get_num_threads() != 1) scipy_openblas_set_num_threads(1);
}

std::string config() { return scipy_openblas_get_config(); }
std::string core_name() { return scipy_openblas_get_corename(); }

// One definition for both types: T, and the letter by which BLAS and LAPACK call it. A row-major lower triangle is a
// column-major upper one: LAPACK's "U".
#define KRONLA_DEFINE(T, s)                                                                                           \
  template <>                                                                                                         \
  bool eigh<T>(int64_t n, T* A, T* w, Worker& worker) {                                                               \
    if (n == 0) return true;                                                                                          \
    const int size = narrow(n);                                                                                       \
    const int lwork = narrow(1 + 6 * n + 2 * n * n), liwork = narrow(3 + 5 * n); /* LAPACK's own minima */            \
    int info = 0;                                                                                                     \
    scipy_##s##syevd_("V", "U", &size, A, &size, w, worker.take<T>(lwork), &lwork, worker.take<int>(liwork), &liwork, \
                      &info, 1, 1);                                                                                   \
    return info == 0;                                                                                                 \
  }                                                                                                                   \
  template <>                                                                                                         \
  void householder_qr<T>(int64_t m, int64_t n, T* A, T* signs, T* diagonal, Worker& worker) {                         \
    if (n == 0) return;                                                                                               \
    const int rows = narrow(m), cols = narrow(n), lwork = narrow(32 * n); /* panels of 32 columns */                  \
    int info = 0;                                                                                                     \
    T* tau = worker.take<T>(n);                                                                                       \
    T* work = worker.take<T>(lwork);                                                                                  \
    scipy_##s##geqrf_(&rows, &cols, A, &rows, tau, work, &lwork, &info);                                              \
    for (int64_t j = 0; j < n; ++j) {                                                                                 \
      const T r = A[j * m + j];                                                                                       \
      signs[j] = r < T(0) ? T(-1) : T(1);                                                                             \
      diagonal[j] = std::abs(r);                                                                                      \
    }                                                                                                                 \
    scipy_##s##orgqr_(&rows, &cols, &cols, A, &rows, tau, work, &lwork, &info);                                       \
  }

KRONLA_DEFINE(float, s)
KRONLA_DEFINE(double, d)

}  // namespace kronla::blas
