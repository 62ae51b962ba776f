#include "kernels/cpu/eigh/tridiagonal.h"

#include <functional>
#include <utility>

#include "instruction_sets.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/instruction_set.h"
#include "kernels/cpu/simd/kernels.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// What the kernels make of A: T, the reflectors, Qᵀ, from the identity, and Q F Qᵀ of some symmetric F.
template <class T>
struct Result {
  std::vector<T> A, tau, Q, F;
  std::vector<double> d, e;
};

std::vector<double> some_symmetric(int64_t n) {
  std::vector<double> F = normal<double>(n * n, 77);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < i; ++j) F[j * n + i] = F[i * n + j];
  return F;
}

// How it is made: the instruction set, the size up to which updates are fused, threads.
template <class T>
struct How {
  const kernels::Kernels<T>& set = kernels::chosen<T>();
  int64_t largest_fused = kLargestFused;
  Parallel team = {};
};

template <class T>
Result<T> reduce(int64_t n, const std::vector<T>& A, const How<T>& how) {
  Result<T> r{A,
              std::vector<T>(n, T(kNaN)),
              std::vector<T>(n * n),
              as<double, T>(some_symmetric(n)),
              std::vector<double>(n, kNaN),
              std::vector<double>(n - 1, kNaN)};
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) r.A[i * n + j] = r.F[i * n + j] = T(kNaN);  // must not be read
  for (int64_t i = 0; i < n; ++i) r.Q[i * n + i] = T(1);
  Worker worker;
  worker.team = how.team;
  reduce_to_tridiagonal(n, r.A.data(), r.tau.data(), r.d.data(), r.e.data(), worker, how.largest_fused, how.set);
  worker.reset();
  back_transform(n, r.A.data(), r.tau.data(), r.Q.data(), worker, how.set);
  worker.reset();
  back_transform_symmetric(n, r.A.data(), r.tau.data(), r.F.data(), worker, how.set);
  return r;
}

double frobenius(const std::vector<double>& x) {
  double squares = 0.0;
  for (const double value : x) squares += value * value;
  return std::sqrt(squares);
}

// A op(B), in double, by the library's own product: the naive one of testing.h takes minutes here.
std::vector<double> times(int64_t n, const std::vector<double>& A, Op op, const std::vector<double>& B) {
  std::vector<double> C(n * n);
  gemm({}, Op::N, op, n, n, n, 1.0, A.data(), n, B.data(), n, 0.0, C.data(), n);
  return C;
}

std::vector<double> transposed(int64_t n, const std::vector<double>& A) {
  std::vector<double> B(n * n);
  for (int64_t i = 0; i < n * n; ++i) B[i % n * n + i / n] = A[i];
  return B;
}

// ‖QᵀAQ − T‖_F, ‖QᵀQ − I‖_F and the error of Q F Qᵀ against the roundings of n reflections: n u, of which a tenth to a half is there.
template <class T>
void check(int64_t n, const std::vector<double>& source, const How<T>& how = {}) {
  const std::vector<T> A = as<double, T>(source);
  const std::vector<double> exact = as<T, double>(A);
  const Result<T> r = reduce(n, A, how);
  const std::vector<double> rows = as<T, double>(r.Q);  // Qᵀ: the k-th row is Q e_k
  std::vector<double> gap = times(n, times(n, rows, Op::N, exact), Op::T, rows);
  for (int64_t i = 0; i < n; ++i) {
    gap[i * n + i] -= r.d[i];
    if (i + 1 < n) {
      gap[i * n + i + 1] -= r.e[i];
      gap[(i + 1) * n + i] -= r.e[i];
    }
  }
  std::vector<double> gram = times(n, rows, Op::T, rows);
  for (int64_t i = 0; i < n; ++i) gram[i * n + i] -= 1.0;
  const std::vector<double> F = as<T, double>(as<double, T>(some_symmetric(n)));
  std::vector<double> both = times(n, transposed(n, rows), Op::N, times(n, F, Op::N, rows));
  for (int64_t i = 0; i < n * n; ++i) both[i] -= static_cast<double>(r.F[i]);
  const double rounding_of_all = (10.0 + static_cast<double>(n)) * rounding<T>();
  CHECK_SMALL(frobenius(gap), rounding_of_all * frobenius(exact));
  CHECK_SMALL(frobenius(gram), rounding_of_all);
  CHECK_SMALL(frobenius(both), rounding_of_all * frobenius(F));
  CHECK(symmetric_to_the_bit(n, r.F.data()));
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
    const double place =
        static_cast<double>(downwards ? k : n - 1 - k) / static_cast<double>(std::max<int64_t>(n - 1, 1));
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

// Each instruction set, in one pass a step and by panels of reflectors, with sizes around both.
template <class T>
void every_way() {
  for (const auto& [name, set] : every_set<T>())
    for (const int64_t n : {1, 2, 3, 4, 7, 9, 16, 30, 32, 33, 34, 63, 97, 130, 200})
      for (const int64_t largest_fused : {0, 70, 1000}) {
        const int before = failures();
        check<T>(n, symmetric(n, kStructures[0].second), {*set, largest_fused, {}});
        check<T>(n, symmetric(n, [&](int64_t i, int64_t j, double x) { return graded<T>(n, i, j, x, true); }),
                 {*set, largest_fused, {}});
        if (failures() > before)
          std::printf("  n = %d, fused to %d\n", static_cast<int>(n), static_cast<int>(largest_fused));
      }
}

// Rows so long that strips of them have another height, the last one ragged.
template <class T>
void long_rows() {
  for (const auto& [name, set] : every_set<T>()) check<T>(549, symmetric(549, kStructures[0].second), {*set});
}

template <class T>
void threads_and_neighbours() {
  const int64_t n = 333;
  const std::vector<T> A = as<double, T>(symmetric(n, kStructures[0].second));
  for (const int64_t largest_fused : {100, 1000}) {
    SAME_BITS([&](const Parallel& team) {
      Result<T> r = reduce<T>(n, A, {kernels::chosen<T>(), largest_fused, team});
      std::vector<T> all = r.Q;
      all.insert(all.end(), r.tau.begin(), r.tau.end());
      all.insert(all.end(), r.F.begin(), r.F.end());
      for (const double x : r.d) all.push_back(static_cast<T>(x));
      for (const double x : r.e) all.push_back(static_cast<T>(x));
      return all;
    });
  }
  // The same at another address, and after a matrix that has left its traces in the workspace.
  Worker worker;
  std::vector<T> tau(n), first(n * n), second(n * n + 1), other(A);
  std::vector<double> d(n), e(n - 1), d2(n), e2(n - 1);
  std::copy(A.begin(), A.end(), first.begin());
  std::copy(A.begin(), A.end(), second.begin() + 1);
  reduce_to_tridiagonal(n, first.data(), tau.data(), d.data(), e.data(), worker);
  for (T& x : other) x = std::numeric_limits<T>::max();
  worker.reset();
  std::copy(other.begin(), other.end(), worker.take<T>(n * n));
  worker.reset();
  reduce_to_tridiagonal(n, second.data() + 1, tau.data(), d2.data(), e2.data(), worker);
  CHECK(same_bits(d, d2));
  CHECK(same_bits(e, e2));
  CHECK(std::equal(first.begin(), first.end(), second.begin() + 1));
}

// How many eigenvalues of the tridiagonal matrix are below x (Sturm; the pivots of T − xI).
int64_t below(const std::vector<double>& d, const std::vector<double>& e, double x) {
  int64_t count = 0;
  double pivot = 1.0;
  for (size_t i = 0; i < d.size(); ++i) {
    pivot = d[i] - x - (i > 0 ? e[i - 1] * e[i - 1] / pivot : 0.0);
    if (std::abs(pivot) < 1e-300) pivot = -1e-300;
    count += pivot < 0.0;
  }
  return count;
}

// Eigenvalues that are known: those of T lie where they lie for A, within n u ‖A‖_F.
template <class T>
void known_eigenvalues() {
  for (const int64_t n : {20, 100, 300}) {
    const std::vector<double> eigenvalues = log_uniform(n, 1e3);
    const Result<T> r = reduce<T>(n, as<double, T>(with_spectrum(orthogonal(n, 5), eigenvalues)), {});
    double squares = 0.0;
    for (const double x : eigenvalues) squares += x * x;
    const double gap = (10.0 + static_cast<double>(n)) * rounding<T>() * std::sqrt(squares);
    bool right = true;
    for (const double x : eigenvalues) {
      const auto rank = std::count_if(eigenvalues.begin(), eigenvalues.end(), [&](double y) { return y < x; });
      right = right && below(r.d, r.e, x - gap) <= rank && below(r.d, r.e, x + gap) > rank;
    }
    CHECK(right);
  }
}

}  // namespace

TEST(every_way_float32) { every_way<float>(); }
TEST(every_way_float64) { every_way<double>(); }
TEST(long_rows_float32) { long_rows<float>(); }
TEST(long_rows_float64) { long_rows<double>(); }
TEST(threads_and_neighbours_float32) { threads_and_neighbours<float>(); }
TEST(threads_and_neighbours_float64) { threads_and_neighbours<double>(); }
TEST(known_eigenvalues_float32) { known_eigenvalues<float>(); }
TEST(known_eigenvalues_float64) { known_eigenvalues<double>(); }
TEST(structures_float32) { structures<float>(); }
TEST(structures_float64) { structures<double>(); }
TEST(graded_float32) { graded_matrices<float>(); }
TEST(graded_float64) { graded_matrices<double>(); }
