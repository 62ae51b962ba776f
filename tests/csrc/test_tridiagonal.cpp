#include "kernels/cpu/eigh/tridiagonal.h"

#include <functional>
#include <string>
#include <utility>

#include "kernels/cpu/gemm/gemm.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// What the kernels make of A: T, the reflectors, and Qᵀ, from the identity.
template <class T>
struct Result {
  std::vector<T> A, tau, Q;
  std::vector<double> d, e;
};

template <class T>
Result<T> reduce(int64_t n, const std::vector<T>& A, const Parallel& team = {}) {
  Result<T> r{A, std::vector<T>(n, T(kNaN)), std::vector<T>(n * n), std::vector<double>(n, kNaN),
              std::vector<double>(std::max<int64_t>(n - 1, 0), kNaN)};
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) r.A[i * n + j] = T(kNaN);  // must not be read
  for (int64_t i = 0; i < n; ++i) r.Q[i * n + i] = T(1);
  Worker worker;
  worker.team = team;
  reduce_to_tridiagonal(n, r.A.data(), r.tau.data(), r.d.data(), r.e.data(), worker);
  worker.reset();
  back_transform(n, r.A.data(), r.tau.data(), r.Q.data(), worker);
  return r;
}

double frobenius(const std::vector<double>& x) {
  double squares = 0.0;
  for (const double value : x) squares += value * value;
  return std::sqrt(squares);
}

// C[n,n] = op(A) B, in double, row by row.
std::vector<double> times(int64_t n, const std::vector<double>& A, bool transposed, const std::vector<double>& B) {
  std::vector<double> C(n * n, 0.0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < n; ++k) {
      const double a = transposed ? A[k * n + i] : A[i * n + k];
      for (int64_t j = 0; j < n; ++j) C[i * n + j] += a * B[k * n + j];
    }
  return C;
}

std::vector<double> transposed(int64_t n, const std::vector<double>& A) {
  std::vector<double> B(n * n);
  transpose(n, n, A.data(), B.data());
  return B;
}

// ‖QᵀAQ − T‖_F and ‖QᵀQ − I‖_F against the roundings of n reflections; both are O(√n u) in practice, and the bounds below
// are some five times what LAPACK's sytrd leaves.
template <class T>
void check(int64_t n, const std::vector<double>& source) {
  const std::vector<T> A = as<double, T>(source);
  const std::vector<double> exact = as<T, double>(A);
  const Result<T> r = reduce(n, A);
  const std::vector<double> rows = as<T, double>(r.Q);  // Qᵀ: the k-th row is Q e_k
  std::vector<double> gap = times(n, times(n, rows, false, exact), false, transposed(n, rows));
  for (int64_t i = 0; i < n; ++i) {
    gap[i * n + i] -= r.d[i];
    if (i + 1 < n) {
      gap[i * n + i + 1] -= r.e[i];
      gap[(i + 1) * n + i] -= r.e[i];
    }
  }
  std::vector<double> gram = times(n, rows, false, transposed(n, rows));
  for (int64_t i = 0; i < n; ++i) gram[i * n + i] -= 1.0;
  const double rounding_of_all = (4.0 + 3.0 * static_cast<double>(n)) * rounding<T>();
  CHECK_SMALL(frobenius(gap), rounding_of_all * frobenius(exact));
  CHECK_SMALL(frobenius(gram), rounding_of_all);
  bool untouched = true;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) untouched = untouched && std::isnan(static_cast<double>(r.A[i * n + j]));
  CHECK(untouched);
}

using Element = std::function<double(int64_t, int64_t, double)>;  // of row i, column j ≤ i, and a random number

// The structures that have ways of their own to go wrong.
const std::pair<const char*, Element> kStructures[] = {
    {"random", [](int64_t, int64_t, double x) { return x; }},
    {"diagonal", [](int64_t i, int64_t j, double x) { return i == j ? x : 0.0; }},
    {"tridiagonal", [](int64_t i, int64_t j, double x) { return i - j <= 1 ? x : 0.0; }},
    {"zero", [](int64_t, int64_t, double) { return 0.0; }},
    {"rank one", [](int64_t i, int64_t j, double) { return (1.0 + i % 7) * (1.0 + j % 7) / 49.0; }},
    {"blocks", [](int64_t i, int64_t j, double x) { return i % 3 == 0 || j % 3 == 0 || i / 8 != j / 8 ? 0.0 : x; }},
    {"one row", [](int64_t i, int64_t j, double x) { return i == 5 || j == 5 ? x : 0.0; }},
    {"tiny", [](int64_t i, int64_t j, double x) { return i == j ? 1.0 : 1e-30 * x; }},
    {"large", [](int64_t, int64_t, double x) { return 1e15 * x; }},
};

// Elements that fall from 1 to 1e-30 (float) or 1e-280 (double), downwards or upwards: squares leave the range.
template <class T>
double graded(int64_t n, int64_t i, int64_t j, double x, bool downwards) {
  const double decades = sizeof(T) == 4 ? 30.0 : 280.0;
  const auto weight = [&](int64_t k) {
    const double place = static_cast<double>(downwards ? k : n - 1 - k) / static_cast<double>(std::max<int64_t>(n - 1, 1));
    return std::pow(10.0, -decades / 2.0 * place);
  };
  return x * weight(i) * weight(j);
}

constexpr int64_t kSizes[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 65, 100, 129, 257, 400};

std::vector<double> symmetric(int64_t n, const Element& element) {
  const std::vector<double> x = normal<double>(n * n, static_cast<unsigned>(n));
  std::vector<double> A(n * n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j) A[i * n + j] = A[j * n + i] = element(i, j, x[i * n + j]);
  return A;
}

template <class T>
void structures() {
  for (const int64_t n : kSizes)
    for (const auto& [name, element] : kStructures) {
      const int before = failures();
      check<T>(n, symmetric(n, element));
      if (failures() > before) std::printf("  %s, n = %d\n", name, static_cast<int>(n));
    }
}

template <class T>
void graded_matrices() {
  for (const int64_t n : kSizes)
    for (const bool downwards : {false, true})
      check<T>(n, symmetric(n, [&](int64_t i, int64_t j, double x) { return graded<T>(n, i, j, x, downwards); }));
}

}  // namespace

TEST(structures_float32) { structures<float>(); }
TEST(structures_float64) { structures<double>(); }
TEST(graded_float32) { graded_matrices<float>(); }
TEST(graded_float64) { graded_matrices<double>(); }
