// Groups of bases in device memory, and what the tests of the eigenbasis ask of results, against float64 loops.
#pragma once

#include <algorithm>
#include <numeric>
#include <utility>

#include "device.h"
#include "kernels/cuda/eigenbasis.h"
#include "kernels/cuda/eigenbasis_tiled.h"
#include "testing.h"

namespace kronla::testing {

template <class T>
struct Result {
  std::vector<T> Q, eigenvalues, ratio;
  std::vector<int32_t> steps, info;
};

// Inputs and results of one group in device memory.
template <class T>
struct DeviceGroup {
  int64_t batch, n;
  DeviceArray<T> A, Q_old, Q, eigenvalues, ratio;
  DeviceArray<int32_t> steps, info;
  DeviceGroup(int64_t batch_, int64_t n_, const std::vector<T>& A_, const std::vector<T>& Q_)
      : batch(batch_),
        n(n_),
        A(A_),
        Q_old(Q_),
        Q(std::vector<T>(batch_ * n_ * n_)),
        eigenvalues(std::vector<T>(batch_ * n_)),
        ratio(std::vector<T>(batch_)),
        steps(std::vector<int32_t>(batch_, -1)),
        info(std::vector<int32_t>(batch_, -1)) {}
  BasisGroup<T> group(BasisMethod method) const {
    return {batch,        n,          A.data(), Q_old.data(), method, Q.data(), eigenvalues.data(), ratio.data(),
            steps.data(), info.data()};
  }
  Result<T> result() const { return {Q.values(), eigenvalues.values(), ratio.values(), steps.values(), info.values()}; }
};

// What stands in for cuSOLVER where there is none: Jacobi's rotations, one after the other, on the host. Of `failing`
// matrices of the batch it says that they did not converge.
inline std::vector<int64_t>& failing() {
  static std::vector<int64_t> entries;
  return entries;
}

template <class T>
void solve_on_host(const cuda::SolverBatch<T>& problem, const cuda::Stream&) {
  const int64_t n = problem.n;
  for (int64_t b = 0; b < problem.batch; ++b) {
    T* V = problem.V + b * n * problem.ld;
    std::vector<double> A(n * n), X(n * n, 0.0);  // X: eigenvectors as rows
    for (int64_t i = 0; i < n; ++i) {
      X[i * n + i] = 1.0;
      for (int64_t j = 0; j < n; ++j) A[i * n + j] = static_cast<double>(V[i * problem.ld + j]);
    }
    for (int sweep = 0; sweep < 12; ++sweep)
      for (int64_t p = 0; p < n; ++p)
        for (int64_t q = p + 1; q < n; ++q) {
          const double o = A[p * n + q];
          if (std::abs(o) < 1e-300) continue;
          const double theta = 0.5 * std::atan2(2.0 * o, A[q * n + q] - A[p * n + p]);
          const double c = std::cos(theta), s = std::sin(theta);
          for (int64_t k = 0; k < n; ++k) {
            const double x = A[k * n + p], y = A[k * n + q];
            A[k * n + p] = c * x - s * y;
            A[k * n + q] = s * x + c * y;
          }
          for (int64_t k = 0; k < n; ++k) {
            const double x = A[p * n + k], y = A[q * n + k], u = X[p * n + k], v = X[q * n + k];
            A[p * n + k] = c * x - s * y;
            A[q * n + k] = s * x + c * y;
            X[p * n + k] = c * u - s * v;
            X[q * n + k] = s * u + c * v;
          }
        }
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return A[i * n + i] < A[j * n + j]; });
    for (int64_t k = 0; k < n; ++k) {
      problem.values[b * n + k] = static_cast<T>(A[order[k] * n + order[k]]);
      for (int64_t i = 0; i < n; ++i)  // of either sign
        V[k * problem.ld + i] = static_cast<T>((k + b) % 2 == 0 ? X[order[k] * n + i] : -X[order[k] * n + i]);
    }
    const bool fails = std::count(failing().begin(), failing().end(), b) > 0;
    problem.failed[b] = fails ? 3 : 0;
    if (fails) V[0] = std::numeric_limits<T>::quiet_NaN();
  }
}

#if defined(__CUDACC__)
template <class T>
constexpr cuda::Solver<T> kSolver = cuda::solve_symmetric<T>;
#else
template <class T>
constexpr cuda::Solver<T> kSolver = solve_on_host<T>;
#endif

// Matrices of 64 < n ≤ 128 may go through one block or through tiles.
inline bool& by_tiles() {
  static bool value = false;
  return value;
}
template <class Body>
void on_both_ways(Body&& body) {
  body();
  by_tiles() = true;
  body();
  by_tiles() = false;
}

template <class T>
Result<T> update(int64_t batch, int64_t n, const std::vector<T>& A, const std::vector<T>& Q, BasisMethod method,
                 double tol, int64_t max_steps) {
  const DeviceGroup<T> group(batch, n, A, Q);
  TestStream stream;
  if (n > 64 && (method == BasisMethod::Eigh || by_tiles())) {
    cuda::update_by_tiles<T>({group.group(method)}, tol, max_steps, stream, kSolver<T>);
  } else {
    cuda::update_eigenbasis<T>({group.group(method)}, tol, max_steps, stream);
  }
  return group.result();
}

// QᵀAQ in float64.
template <class T, class S>
std::vector<double> rayleigh(int64_t n, const T* A, const S* Q) {
  const auto AQ = multiply(n, n, n, A, false, Q, false);
  return multiply(n, n, n, Q, true, AQ.data(), false);
}

inline double off_diagonal(int64_t n, const std::vector<double>& B) {
  double squares = 0.0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) squares += i == j ? 0.0 : B[i * n + j] * B[i * n + j];
  return std::sqrt(squares);
}

template <class T>
double norm_of(int64_t count, const T* x) {
  double squares = 0.0;
  for (int64_t i = 0; i < count; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return std::sqrt(squares);
}

// A with a known basis, and that basis turned a little.
template <class T>
std::pair<std::vector<T>, std::vector<T>> drifted(int64_t n, unsigned seed, double angle = 0.02) {
  const auto Q = orthogonal(n, seed);
  auto turned = Q;
  for (int64_t j = 0; j + 1 < n; ++j)
    for (int64_t i = 0; i < n; ++i) {
      const double a = turned[i * n + j], b = turned[i * n + j + 1];
      turned[i * n + j] = std::cos(angle) * a + std::sin(angle) * b;
      turned[i * n + j + 1] = std::cos(angle) * b - std::sin(angle) * a;
    }
  return {as<double, T>(with_spectrum(Q, log_uniform(n, 1e3))), as<double, T>(turned)};
}

template <class T>
void check_figures(int64_t n, const T* A, const T* Q, const T* eigenvalues, T ratio) {
  const double tolerance = 8.0 * static_cast<double>(std::max<int64_t>(n, 4)) * rounding<T>();
  const auto B = rayleigh(n, A, Q);
  std::vector<double> diagonal(n);
  for (int64_t i = 0; i < n; ++i) diagonal[i] = B[i * n + i];
  CHECK_SMALL(orthogonality(n, n, Q), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
  CHECK_SMALL(relative_error(std::vector<T>(eigenvalues, eigenvalues + n), diagonal), tolerance);
  CHECK_SMALL(std::abs(static_cast<double>(ratio) - off_diagonal(n, B) / norm_of(n * n, A)), tolerance);
}

}  // namespace kronla::testing
