// What orthonormalize is made of, in every instruction set, and the inputs that break orthonormalizations.
#include "instruction_sets.h"
#include "kernels/cpu/householder.h"
#include "kernels/cpu/reflectors.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/passes.h"
#include "kernels/eigenbasis.h"
#include "kernels/status.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

constexpr int64_t kSide = kernels::kSide, kLd = kReflectors;

// P[m,b], orthonormal.
std::vector<double> panel(int64_t m, int64_t b, unsigned seed) {
  std::vector<double> columns = normal<double>(b * m, seed), diagonal(b), P(m * b);
  for (double& x : columns) x /= std::sqrt(static_cast<double>(m));
  Worker worker;
  householder_qr(m, b, columns.data(), diagonal.data(), worker);
  transpose(b, m, columns.data(), P.data());
  return P;
}

template <class From, class To, class Kernel>
void scaled(Kernel&& kernel) {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {2, 8}, {5, 21}}) {
    const int64_t ldx = n + 3, ldy = n + 1;
    const auto X = normal<From>(m * ldx, 1);
    const auto scales = normal<double>(n, 2);
    for (const double* factors : {scales.data(), static_cast<const double*>(nullptr)}) {
      std::vector<To> Y(m * ldy, To(7)), wanted = Y;
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j)
          wanted[i * ldy + j] = static_cast<To>(static_cast<double>(X[i * ldx + j]) * (factors ? factors[j] : 1.0));
      kernel(m, n, X.data(), ldx, factors, Y.data(), ldy);
      CHECK(same_bits(Y, wanted));
    }
  }
}

// Norms of columns of R⁻¹ in float64, squared and added up, for the R of unit columns of S.
double inverse_squares(int64_t m, int64_t n, const float* S) {
  std::vector<double> L(n * n), squares(n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j)
      for (int64_t k = 0; k < m; ++k)
        L[i * n + j] += static_cast<double>(S[k * n + i]) * static_cast<double>(S[k * n + j]);
  for (int64_t i = 0; i < n; ++i) squares[i] = L[i * n + i];
  if (!cholesky({}, n, L.data(), n)) return std::numeric_limits<double>::infinity();
  std::vector<double> inverse(n * n);
  for (int64_t i = 0; i < n; ++i) inverse[i * n + i] = 1.0;
  solve_right_transposed({}, n, n, L.data(), n, inverse.data(), n);  // R⁻¹, whose row i belongs to column i of S
  double sum = 0.0;
  for (int64_t i = 0; i < n * n; ++i) sum += inverse[i] * inverse[i] * squares[i / n];
  return sum;
}

template <class T>
struct Result {
  std::vector<T> Q;
  int32_t info;
};

// The Q of S[m,n] as it is with any number of threads, orthonormal; QᵀS is upper triangular, relative to the norms of columns.
template <class T>
Result<T> orthonormal(int64_t m, int64_t n, const std::vector<T>& S) {
  int32_t info = -1;
  const auto Q = SAME_BITS([&](const Parallel& parallel) {
    std::vector<T> out(S.size());
    orthonormalize<T>(1, m, n, S.data(), out.data(), &info, parallel);
    return out;
  });
  CHECK_SMALL(orthogonality(m, n, Q.data()), 20.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
  const auto R = multiply(n, n, m, Q.data(), true, S.data(), false);
  const double tolerance = 30.0 * std::sqrt(static_cast<double>(m)) * rounding<T>();
  double worst = 0.0;
  for (int64_t j = 0; j < n; ++j) {
    double norm = 0.0;
    for (int64_t i = 0; i < m; ++i) norm = std::hypot(norm, static_cast<double>(S[i * n + j]));
    for (int64_t i = j + 1; i < n; ++i) worst = std::max(worst, std::abs(R[i * n + j]) / std::max(norm, 1e-300));
    CHECK(info != 0 || R[j * n + j] > 0.0);
  }
  CHECK_SMALL(worst, tolerance);
  return {Q, info};
}

}  // namespace

TEST(columns_are_scaled_and_rounded_once) {
  for (const auto& [name, set] : every_set<float>()) {
    scaled<float, float>(set->scale_columns);
    scaled<float, double>(set->widen_columns);
    scaled<double, float>(set->narrow_columns);
  }
  for (const auto& [name, set] : every_set<double>()) scaled<double, double>(set->scale_columns);
}

TEST(factors_of_the_top_of_a_panel) {
  for (const auto& [name, set] : every_set<double>())
    for (const int64_t n : {1, 2, 5, 8, 13, 31, 32}) {
      const auto P = panel(n + 3, n, 4);
      std::vector<double> A(n * kLd), signs(n), L(n * n), U(n * n), moved(n * n);
      for (int64_t i = 0; i < n; ++i) std::copy_n(P.data() + i * n, n, A.data() + i * kLd);
      set->lu_of_signed(n, A.data(), signs.data());
      for (int64_t i = 0; i < n; ++i) {
        CHECK(std::abs(signs[i]) == 1.0 && std::abs(A[i * kLd + i]) >= 1.0);
        for (int64_t j = 0; j < n; ++j) {
          moved[i * n + j] = P[i * n + j] + (i == j ? signs[i] : 0.0);
          L[i * n + j] = j < i ? A[i * kLd + j] : j == i;
          U[i * n + j] = j < i ? 0.0 : A[i * kLd + j];
        }
      }
      CHECK_SMALL(relative_error(multiply(n, n, n, L.data(), false, U.data(), false), moved), 1e-14);
    }
}

template <class T>
void reflected() {
  for (const auto& [m, b] : {std::pair<int64_t, int64_t>{1, 1}, {7, 5}, {32, 32}, {101, 32}}) {
    const auto P = panel(m, b, 5);
    auto room = P;
    std::vector<T> Y(m * kLd), V(m * kLd), C(m * kLd), image;
    Worker worker;
    reflectors_of(m, b, room.data(), Y.data(), V.data(), worker);
    for (int64_t j = 0; j < b; ++j) C[j * kLd + j] = T(1);
    image = C;
    reflect(m, b, b, V.data(), Y.data(), image.data(), 0);
    for (int64_t i = 0; i < m; ++i)  // the columns of P but for their signs
      for (int64_t j = 0; j < b; ++j)
        CHECK_SMALL(std::abs(std::abs(static_cast<double>(image[i * kLd + j])) - std::abs(P[i * b + j])),
                    20.0 * rounding<T>());
    reflect(m, b, b, Y.data(), V.data(), image.data(), 0);  // and back
    CHECK_SMALL(relative_error(image, as<T, double>(C)), 20.0 * rounding<T>());
    const int64_t zeros = m / 3;
    C = normal<T>(m * kLd, 6);
    auto unset = C;
    std::fill_n(C.data(), zeros * kLd, T(0));
    std::fill_n(unset.data(), zeros * kLd, std::numeric_limits<T>::quiet_NaN());
    reflect(m, kLd, b, V.data(), Y.data(), C.data(), 0);
    reflect(m, kLd, b, V.data(), Y.data(), unset.data(), zeros);
    CHECK_SMALL(relative_error(unset, as<T, double>(C)), 4.0 * rounding<T>());
  }
}
TEST(panels_become_reflectors) {
  reflected<float>();
  reflected<double>();
}

TEST(small_matrices_side_by_side) {
  for (const auto& [name, set] : every_set<float>())
    for (const auto& [m, n] :
         {std::pair<int64_t, int64_t>{1, 1}, {3, 2}, {5, 5}, {9, 7}, {16, 16}, {33, 30}, {32, 32}}) {
      const int64_t size = m * n;
      const auto S = normal<float>(kSide * size, 7);
      std::vector<double> room(kSide * (m + n + 9) * (n + 3) + kSide * size), bounds(kSide), bound(kSide);
      for (const int64_t count : {int64_t{3}, kSide}) {
        std::vector<float> Q(count * size), alone(size);
        set->orthonormal_side_by_side(count, m, n, S.data(), Q.data(), bounds.data(), room.data());
        for (int64_t i = 0; i < count; ++i) {
          CHECK_SMALL(orthogonality(m, n, Q.data() + i * size),
                      4.0 * std::sqrt(static_cast<double>(n)) * rounding<float>());
          const double exact = inverse_squares(m, n, S.data() + i * size);
          CHECK(bounds[i] >= exact * (1.0 - 1e-9));
          CHECK(n > 2 || bounds[i] <= exact * (static_cast<double>(n) + 1e-9));  // squares of sums over rows
          set->orthonormal_side_by_side(1, m, n, S.data() + i * size, alone.data(), bound.data(), room.data());
          CHECK(std::equal(alone.begin(), alone.end(), Q.begin() + i * size) && bound[0] == bounds[i]);
        }
      }
    }
}

TEST(what_breaks_down_keeps_to_itself) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{12, 12}, {40, 9}, {32, 32}, {70, 5}}) {
    const int64_t batch = 11, size = m * n;
    auto S = normal<float>(batch * size, 8);
    const auto at = [&](int64_t b, int64_t i, int64_t j) -> float& { return S[b * size + i * n + j]; };
    at(1, 2, 1) = std::nanf("");
    at(3, 0, 0) = inf;
    for (int64_t i = 0; i < m; ++i) {
      at(4, i, n - 1) = at(4, i, 0);                          // dependent
      at(6, i, 2) = 0.0f;                                     // a zero column
      at(7, i, 3) = at(7, i, 1) + 1e-5f * at(7, i, 3);        // nearly dependent
      for (int64_t j = 0; j < n; ++j) at(9, i, j) *= 1e-35f;  // tiny as a whole
    }
    std::vector<int32_t> info(batch);
    const auto Q = SAME_BITS([&](const Parallel& parallel) {
      std::vector<float> out(S.size());
      orthonormalize<float>(batch, m, n, S.data(), out.data(), info.data(), parallel);
      for (float& x : out) x = std::isnan(x) ? 7.0f : x;
      return out;
    });
    CHECK((info == std::vector<int32_t>{0, kNonFinite, 0, kNonFinite, kRankDeficient, 0, kRankDeficient, 0, 0, 0, 0}));
    for (int64_t b = 0; b < batch; ++b) {
      if (info[b] == kNonFinite) {
        CHECK(std::all_of(Q.data() + b * size, Q.data() + (b + 1) * size, [](float x) { return x == 7.0f; }));
        continue;
      }
      const auto one = orthonormal<float>(m, n, {S.begin() + b * size, S.begin() + (b + 1) * size});
      CHECK(std::equal(one.Q.begin(), one.Q.end(), Q.begin() + b * size) && one.info == info[b]);
    }
  }
}

template <class T>
void hard() {
  for (const auto& [m, n] :
       {std::pair<int64_t, int64_t>{33, 31}, {40, 33}, {70, 65}, {161, 97}, {1000, 20}, {900, 130}}) {
    const auto Z = normal<T>(m * n, 9);
    const auto made = [&](auto&& element) {
      std::vector<T> S(m * n);
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) S[i * n + j] = static_cast<T>(element(i, j));
      return orthonormal<T>(m, n, S);
    };
    const auto z = [&, n = n](int64_t i, int64_t j) { return static_cast<double>(Z[i * n + j]); };
    const double small = 4.0 * static_cast<double>(std::numeric_limits<T>::epsilon());
    // Columns of falling norm, 1e-25 the last; a common direction that hides what differs (Läuchli's, and Gaussian).
    CHECK(made([&](int64_t i, int64_t j) { return z(i, j) * std::pow(1e-25, j / (n - 1.0)); }).info == 0);
    CHECK(made([&](int64_t i, int64_t j) { return i == 0 ? 1.0 : i == j + 1 ? 1e-3 : 0.0; }).info == 0);
    CHECK(made([&](int64_t i, int64_t j) { return 1e3 * z(i, 0) + (j > 0 ? z(i, j) : 0.0); }).info == 0);
    // Every column nearly, then wholly, that one before it that begins a panel; and of rank one.
    const auto near = [&](double away) {
      return made([&](int64_t i, int64_t j) { return z(i, j / 32 * 32) + (j % 32 > 0 ? away * z(i, j) : 0.0); }).info;
    };
    CHECK(near(1e-3) == 0);
    near(small);
    CHECK(near(0.0) == kRankDeficient);
    CHECK(made([&](int64_t i, int64_t j) { return z(i, 0) * z(0, j); }).info == kRankDeficient);
    // The columns of the identity, whose Gram matrix is exact, backwards.
    CHECK(made([&](int64_t i, int64_t j) { return i == n - 1 - j ? 2.0 : 0.0; }).info == 0);
  }
}
TEST(hard_inputs_float32) { hard<float>(); }
TEST(hard_inputs_float64) { hard<double>(); }

TEST(solves_in_any_shares_have_the_same_bits) {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{100, 160}, {300, 130}, {513, 70}}) {
    std::vector<float> L(n * n);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j <= i; ++j) L[i * n + j] = i == j ? 2.0f : 0.01f * static_cast<float>((i * 7 + j * 3) % 5);
    const auto W = normal<float>(m * n, 3);
    const auto X = SAME_BITS([&, m = m, n = n](const Parallel& team) {
      auto out = W;
      solve_right_transposed(team, m, n, L.data(), n, out.data(), n);
      return out;
    });
    CHECK_SMALL(relative_error(multiply(m, n, n, X.data(), false, L.data(), true), as<float, double>(W)),
                20 * rounding<float>());
  }
}
