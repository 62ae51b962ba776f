#include "kernels/cpu/householder.h"

#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

// S[m,n] as rows of its transpose, unit columns but for the zero ones.
struct Panel {
  int64_t m, n;
  std::vector<double> columns;
  Panel(int64_t rows, int64_t count, unsigned seed) : m(rows), n(count), columns(normal<double>(rows * count, seed)) {
    unit();
  }
  double* column(int64_t j) { return columns.data() + j * m; }
  void unit() {
    for (int64_t j = 0; j < n; ++j) {
      double squares = 0.0;
      for (int64_t i = 0; i < m; ++i) squares += column(j)[i] * column(j)[i];
      for (int64_t i = 0; i < m && squares > 0.0; ++i) column(j)[i] /= std::sqrt(squares);
    }
  }
};

// Q orthonormal, QᵀS upper triangular with the diagonal that is returned, not negative, and S = Q(QᵀS).
void check(Panel S) {
  const int64_t m = S.m, n = S.n;
  std::vector<double> Q = S.columns, diagonal(n);
  Worker worker;
  householder_qr(m, n, Q.data(), diagonal.data(), worker);
  const double tolerance = 20.0 * std::sqrt(static_cast<double>(m * n)) * 1.2e-16;
  double gap = 0.0, below = 0.0, wrong = 0.0, lost = 0.0;
  std::vector<double> R(n * n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double product = 0.0;
      for (int64_t k = 0; k < m; ++k) {
        product += Q[i * m + k] * Q[j * m + k];
        R[i * n + j] += Q[i * m + k] * S.column(j)[k];
      }
      gap = std::max(gap, std::abs(product - (i == j)));
      if (i > j) below = std::max(below, std::abs(R[i * n + j]));
      if (i == j) wrong = std::max(wrong, std::abs(R[i * n + j] - diagonal[i]));
    }
  for (int64_t j = 0; j < n; ++j)
    for (int64_t k = 0; k < m; ++k) {
      double sum = -S.column(j)[k];
      for (int64_t i = 0; i < n; ++i) sum += R[i * n + j] * Q[i * m + k];
      lost = std::max(lost, std::abs(sum));
    }
  CHECK_SMALL(gap, tolerance);
  CHECK_SMALL(below, tolerance);
  CHECK_SMALL(wrong, tolerance);
  CHECK_SMALL(lost, tolerance);
  for (const double r : diagonal) CHECK(r >= 0.0);
}

}  // namespace

TEST(panels_of_any_shape) {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 1}, {2, 1}, {7, 7}, {8, 3}, {33, 17}, {64, 64}, {200, 64}})
    check(Panel(m, n, 5));
  Worker worker;
  householder_qr(3, 0, nullptr, nullptr, worker);
}

TEST(columns_that_depend_on_others) {
  Panel S(40, 12, 3);
  std::copy_n(S.column(2), S.m, S.column(7));
  std::fill_n(S.column(5), S.m, 0.0);
  for (int64_t i = 0; i < S.m; ++i) S.column(9)[i] = S.column(0)[i] + 1e-13 * S.column(9)[i];
  for (int64_t i = 0; i < S.m; ++i) S.column(11)[i] = 1e-200 * S.column(11)[i];
  S.column(0)[3] = -0.0;
  check(S);
  Panel zero(10, 4, 1);
  std::fill(zero.columns.begin(), zero.columns.end(), 0.0);
  check(zero);
}

TEST(an_orthonormal_panel_stays) {
  Panel S(20, 6, 9);
  std::vector<double> diagonal(6);
  Worker worker;
  householder_qr(20, 6, S.columns.data(), diagonal.data(), worker);
  std::vector<double> again = S.columns;
  householder_qr(20, 6, again.data(), diagonal.data(), worker);
  for (size_t i = 0; i < again.size(); ++i) CHECK_SMALL(std::abs(again[i] - S.columns[i]), 1e-14);
}
