#include "kernels/cpu/simd/passes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "instruction_sets.h"
#include "kernels/cpu/simd/kernels.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

template <class T>
void moves() {
  for (const auto& [name, set] : every_set<T>())
    for (const int64_t m : {0, 1, 3, 8, 31, 40, 67, 129})
      for (const int64_t n : {1, 5, 32, 70}) {
        const std::vector<T> A = normal<T>(m * n, 1);
        std::vector<T> B(m * n), part(n * (m + 3), T(7));
        set->transpose(m, n, A.data(), n, B.data(), m);
        set->transpose(m, n / 2, A.data(), n, part.data(), m + 3);
        bool right = true;
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            right = right && B[j * m + i] == A[i * n + j];
            right = right && part[j * (m + 3) + i] == (j < n / 2 ? A[i * n + j] : T(7));
          }
        CHECK(right);
        std::vector<T> square = normal<T>(m * m, 2);
        const std::vector<T> before = square;
        set->mirror_lower(m, square.data());
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < m; ++j)
            right = right && square[i * m + j] == before[std::max(i, j) * m + std::min(i, j)];
        CHECK(right);
        square = before;
        set->mirror_upper(m, square.data());
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < m; ++j)
            right = right && square[i * m + j] == before[std::min(i, j) * m + std::max(i, j)];
        CHECK(right);
      }
}

// Columns gathered in any order: moved to the bit. Sums down the columns: as in float64.
template <class T>
void columns() {
  for (const auto& [name, set] : every_set<T>())
    for (const int64_t m : {1, 7, 32, 45})
      for (const int64_t n : {1, 6, 16, 33, 70}) {
        const std::vector<T> X = normal<T>(m * n, 1), Y = normal<T>(m * n, 2);
        std::vector<int64_t> from(n);
        for (int64_t k = 0; k < n; ++k) from[k] = (k * 37 + 5) % n;
        std::vector<T> gathered(m * n), room(kernels::kStrip * n);
        set->gather_columns(m, n, from.data(), X.data(), gathered.data(), room.data());
        std::vector<double> sums(n), expected(n);
        set->column_products(m, n, X.data(), n, Y.data(), n, sums.data());
        bool right = true;
        for (int64_t i = 0; i < m; ++i)
          for (int64_t k = 0; k < n; ++k) {
            right = right && gathered[i * n + k] == X[i * n + from[k]];
            expected[k] += static_cast<double>(X[i * n + k]) * static_cast<double>(Y[i * n + k]);
          }
        CHECK(right);
        CHECK_SMALL(relative_error(sums, expected), 1e-14);
      }
}

// X − Y diag(d), in place too, with its squares, and QᵀQ times the probes: each by its formula.
template <class T>
void residuals_and_probes() {
  constexpr int64_t probes = kernels::kProbing;
  for (const auto& [name, set] : every_set<T>())
    for (const int64_t m : {1, 2, 7, 32})
      for (const int64_t n : {1, 6, 16, 33, 70}) {
        std::vector<T> X = normal<T>(m * n, 1), d = normal<T>(n, 3), R(m * n), V = normal<T>(probes * n, 4),
                       found(probes * n, T(7));
        const std::vector<T> Y = normal<T>(m * n, 2);
        std::vector<double> expected(m * n), products(probes * n);
        double squares = 0.0;
        for (int64_t i = 0; i < m * n; ++i) {
          expected[i] = static_cast<double>(X[i]) - static_cast<double>(Y[i]) * static_cast<double>(d[i % n]);
          squares += expected[i] * expected[i];
        }
        CHECK_SMALL(std::abs(set->residual(m, n, X.data(), Y.data(), d.data(), R.data()) / squares - 1),
                    4 * rounding<T>() + 1e-14);
        CHECK_SMALL(relative_error(R, expected), 2 * rounding<T>());
        set->residual(m, n, X.data(), Y.data(), d.data(), X.data());
        CHECK(same_bits(X, R));
        set->probe(m, n, Y.data(), V.data(), found.data());
        const std::vector<double> dots = multiply(probes, m, n, V.data(), false, Y.data(), true);
        CHECK_SMALL(relative_error(found, multiply(probes, n, m, dots.data(), false, Y.data(), false)),
                    8 * rounding<T>());
      }
}

// The gap is that of the matrix, within a factor of 2, whichever way the columns fail to be orthonormal.
template <class T>
void gaps() {
  const int64_t m = 150, n = 100;
  std::vector<T> Q(m * n);
  for (int64_t j = 0; j < n; ++j) Q[j * n + j] = T(1);
  CHECK(orthogonality_gap({}, m, n, Q.data()) == 0.0);
  const auto gap_after = [&](int64_t at, T value) {
    std::vector<T> changed = Q;
    changed[at] = value;
    const std::vector<double> gaps = SAME_BITS(
        [&](const Parallel& team) { return std::vector<double>{orthogonality_gap(team, m, n, changed.data())}; });
    return gaps[0] * std::sqrt(static_cast<double>(n));
  };
  CHECK_SMALL(std::abs(std::log2(gap_after(7 * n + 7, T(1.001)) / 2.001e-3)), 1.0);  // a column too long
  CHECK_SMALL(std::abs(std::log2(gap_after(7 * n + 90, T(0.001)) / std::sqrt(2e-6))),
              1.0);                                                     // two that are not orthogonal
  CHECK_SMALL(std::abs(std::log2(gap_after(99 * n + 99, T(0)))), 1.0);  // none
}

// Skew to the bit, and each element by its formula; d = 0 counts as positive for the element below the diagonal, and a pair
// with squares d² + o² of at most noise/9 stays.
template <class T>
void rotations() {
  for (const auto& [name, set] : every_set<T>())
    for (const int64_t n : {1, 5, 16, 41}) {
      std::vector<T> B = normal<T>(n * n, 1), diagonal = normal<T>(n, 2), R(n * n);
      diagonal[n / 2] = diagonal[n - 1] = diagonal[0];
      if (n > 1) B[(n - 1) * n] = T(0);
      const T floor = T(0.01), noise = T(0.3);
      set->rotation(n, B.data(), diagonal.data(), floor, noise, std::numeric_limits<T>::min(), R.data());
      double worst = 0.0;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j <= i; ++j) {
          const double o = B[i * n + j], d = static_cast<double>(diagonal[i]) - static_cast<double>(diagonal[j]);
          const double x = d * d + o * o, f = static_cast<double>(noise);
          const double bottom = x + o * o + static_cast<double>(floor) + f * f / (x - f / 9);
          const double size = x <= f / 9 ? 0.0 : o * std::sqrt(x) / bottom;
          worst = std::max(worst, std::abs(R[i * n + j] - (i == j ? 0.0 : d < 0.0 ? size : -size)));
          CHECK(R[j * n + i] == -R[i * n + j]);
        }
      CHECK_SMALL(worst, 8 * rounding<T>());
    }
}

}  // namespace

TEST(moves_float32) { moves<float>(); }
TEST(moves_float64) { moves<double>(); }
TEST(columns_float32) { columns<float>(); }
TEST(columns_float64) { columns<double>(); }
TEST(residuals_and_probes_float32) { residuals_and_probes<float>(); }
TEST(residuals_and_probes_float64) { residuals_and_probes<double>(); }
TEST(gaps_float32) { gaps<float>(); }
TEST(gaps_float64) { gaps<double>(); }
TEST(rotations_float32) { rotations<float>(); }
TEST(rotations_float64) { rotations<double>(); }
