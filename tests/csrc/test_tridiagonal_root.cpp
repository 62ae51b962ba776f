#include "kernels/cpu/root/tridiagonal_root.h"

#include <cmath>
#include <utility>

#include "instruction_sets.h"
#include "kernels/cpu/eigh/tridiagonal_eigh.h"
#include "kernels/cpu/simd/instruction_set.h"
#include "kernels/cpu/simd/kernels.h"
#include "kernels/inverse_root.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

struct Tridiagonal {
  std::vector<double> d, e;
  int64_t n() const { return static_cast<int64_t>(d.size()); }
};

// The second difference plus `shift`: λ_k = shift + 4 sin²(θ_k/2), θ_k = kπ/(n + 1), with the vectors sin(iθ_k).
Tridiagonal difference(int64_t n, double shift) {
  return {std::vector<double>(n, 2.0 + shift), std::vector<double>(n - 1, -1.0)};
}
double eigenvalue(int64_t n, double shift, int64_t k) {
  const double half = std::sin(0.5 * M_PI * static_cast<double>(k) / static_cast<double>(n + 1));
  return shift + 4.0 * half * half;
}

std::vector<double> root_of_difference(int64_t n, double shift, int64_t p) {
  std::vector<double> F(n * n, 0.0), vector(n);
  for (int64_t k = 1; k <= n; ++k) {
    const double f = std::pow(eigenvalue(n, shift, k), -1.0 / static_cast<double>(p));
    for (int64_t i = 0; i < n; ++i)  // the angle's multiple of 2π taken off in integers
      vector[i] = std::sin(M_PI * static_cast<double>((i + 1) * k % (2 * n + 2)) / static_cast<double>(n + 1));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) F[i * n + j] += f * vector[i] * vector[j] * 2.0 / static_cast<double>(n + 1);
  }
  return F;
}

// Of any tridiagonal matrix, by its eigenvectors: right to about κ roundings.
std::vector<double> root_by_vectors(const Tridiagonal& t, int64_t p) {
  const int64_t n = t.n();
  std::vector<double> w = t.d, e = t.e, V(n * n), F(n * n, 0.0);
  Worker worker;
  CHECK(tridiagonal_eigh(n, w.data(), e.data(), V.data(), worker));
  for (int64_t k = 0; k < n; ++k)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        F[i * n + j] += std::pow(w[k], -1.0 / static_cast<double>(p)) * V[k * n + i] * V[k * n + j];
  return F;
}

// The lower triangle, mirrored.
template <class T>
std::vector<T> root_of(const Tridiagonal& t, int64_t p, double error, const Parallel& team = {},
                       const kernels::Kernels<T>& set = kernels::chosen<T>()) {
  const int64_t n = t.n();
  const SpectrumBounds bounds = spectrum_bounds(n, t.d.data(), t.e.data());
  CHECK(bounds.lower > 0.0);
  std::vector<T> F(n * n, std::numeric_limits<T>::quiet_NaN());
  Worker worker;
  worker.team = team;
  RootQuadratures quadratures(p, error);
  tridiagonal_root(n, t.d.data(), t.e.data(), bounds, p, quadratures.of(bounds.condition()), F.data(), worker, set);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < i; ++j) F[j * n + i] = F[i * n + j];
  return F;
}

template <class T>
void every_size() {
  const double error = sizeof(T) == 4 ? 1e-8 : 1e-15;
  for (const auto& [name, set] : every_set<T>())
    for (const int64_t n : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 18, 31, 32, 33, 63, 64, 65, 66, 80, 81, 129, 150})
      for (const double shift : {1.0, 1e-4}) {
        const double rounded = rounding<T>() + rounding<double>() * (20.0 + 4.0 / shift);
        const int before = failures();
        CHECK_SMALL(relative_error(root_of(difference(n, shift), 2, error, {}, *set), root_of_difference(n, shift, 2)),
                    error + rounded);
        if (failures() > before) std::printf("  %s, n = %d\n", name, static_cast<int>(n));
      }
}

}  // namespace

TEST(quadratures_reach_their_error) {
  for (int64_t p = 1; p <= 16; ++p)
    for (int k = 2; k <= 52; k += 2)
      for (const double error : {1e-4, 1e-8, 1e-15}) {
        const double condition = std::ldexp(1.0, k);
        const RootQuadrature q = root_quadrature(p, condition, error);
        CHECK(q.shifts.size() == q.weights.size() && (p == 1 || q.shifts.size() % 4 == 0));
        double worst = 0.0;
        for (int i = 0; i <= 400; ++i) {
          const double x = std::pow(condition, i / 400.0);
          double sum = 0.0;
          for (size_t j = 0; j < q.shifts.size(); ++j) {
            CHECK(q.weights[j] > 0.0 && q.shifts[j] >= 0.0 && std::isfinite(q.shifts[j]));
            sum += q.weights[j] / (x + q.shifts[j]);
          }
          worst = std::max(worst, std::abs(sum * std::pow(x, 1.0 / static_cast<double>(p)) - 1.0));
        }
        CHECK_SMALL(worst, error + 7e-15);
      }
}

TEST(quadratures_are_no_larger_than_they_must_be) {
  for (const double condition : {0x1p10, 0x1p20, 0x1p40}) {
    const RootQuadrature q = root_quadrature(2, condition, 1e-8), coarse = root_quadrature(2, condition, 1e-5);
    CHECK(q.shifts.size() > coarse.shifts.size());
    CHECK(static_cast<double>(q.shifts.size()) <= 4.0 + 20.0 * (std::log(condition) + 2.8) / 19.7);
  }
}

TEST(which_powers_have_quadratures) {
  for (const double p : {1.0, 2.0, 7.0, 16.0}) CHECK(has_root_quadrature(p));
  for (const double p : {0.5, 0.0, 1.5, 17.0, 1e300}) CHECK(!has_root_quadrature(p));
}

TEST(quadratures_are_made_once_for_all_threads) {
  RootQuadratures quadratures(4, 1e-8);
  const RootQuadrature* found[8] = {};
  threads(8).launch(
      8,
      [](void* context, int64_t worker) {
        auto& [all, place] = *static_cast<std::pair<RootQuadratures*, const RootQuadrature**>*>(context);
        place[worker] = &all->of(1e6);
      },
      std::make_unique<std::pair<RootQuadratures*, const RootQuadrature**>>(&quadratures, found).get());
  for (const RootQuadrature* q : found) CHECK(q == found[0]);
  CHECK(&quadratures.of(1.0) == &quadratures.of(4.0) && &quadratures.of(4.1) == &quadratures.of(16.0));
  CHECK(&quadratures.of(RootQuadratures::kLargestCondition) != &quadratures.of(0x1p50));
}

TEST(bounds_of_the_spectrum) {
  for (const auto& [name, set] : every_set<double>())
    for (const int64_t n : {1, 2, 3, 17, 100})
      for (const double shift : {1e3, 1.0, 1e-3, 1e-12}) {
        const Tridiagonal t = difference(n, shift);
        const double least = eigenvalue(n, shift, 1), most = eigenvalue(n, shift, n), u = 4e-15 / least;
        const SpectrumBounds bounds = spectrum_bounds(n, t.d.data(), t.e.data(), *set);
        CHECK(bounds.lower <= least * (1.0 + u) && bounds.lower >= 0.85 * least * (1.0 - u));
        CHECK(bounds.upper >= most * (1.0 - 1e-15) && bounds.upper <= 3.0 * most);
      }
  for (const double shift : {-1e-2, -1.0, -10.0}) {
    const Tridiagonal t = difference(50, shift);
    CHECK(spectrum_bounds(50, t.d.data(), t.e.data()).lower == 0.0);
  }
  const std::vector<double> zero(50, 0.0);
  CHECK(spectrum_bounds(50, zero.data(), zero.data()).lower == 0.0);
}

TEST(every_size_float32) { every_size<float>(); }
TEST(every_size_float64) { every_size<double>(); }

TEST(every_power) {
  for (int64_t p = 1; p <= 16; ++p)
    CHECK_SMALL(relative_error(root_of<double>(difference(40, 1e-3), p, 1e-15), root_of_difference(40, 1e-3, p)),
                6e-15 + 2e-14 / static_cast<double>(p));
}

// Nothing but the quadrature rounds there: every element to the accuracy that quadrature.h promises.
TEST(every_power_of_diagonal_matrices) {
  const int64_t n = 60;
  for (int64_t p = 1; p <= 16; ++p)
    for (const double decades : {1.0, 3.0, 8.0, 15.0}) {
      Tridiagonal t{std::vector<double>(n), std::vector<double>(n - 1, 0.0)};
      for (int64_t i = 0; i < n; ++i) t.d[i] = std::pow(10.0, -decades * static_cast<double>(i) / (n - 1));
      const auto F = root_of<double>(t, p, 1e-15);
      double worst = 0.0;
      for (int64_t i = 0; i < n; ++i)
        worst = std::max(worst, std::abs(F[i * n + i] * std::pow(t.d[i], 1.0 / static_cast<double>(p)) - 1.0));
      CHECK_SMALL(worst, 8e-15);
    }
}

TEST(signs_zeros_and_grades) {
  const int64_t n = 70;
  const std::vector<double> x = normal<double>(n, 3);
  for (const double grade : {0.0, 2.0, 6.0}) {  // decades that the diagonal falls by
    Tridiagonal t{{}, {}};
    const auto size = [&](int64_t i) { return std::pow(10.0, -grade * static_cast<double>(i) / n); };
    for (int64_t i = 0; i < n; ++i) t.d.push_back(size(i));
    for (int64_t i = 0; i + 1 < n; ++i)  // at most 0.45 of the geometric mean: positive definite; some are 0
      t.e.push_back(i % 9 == 4 ? 0.0 : 0.45 * std::tanh(x[i]) * std::sqrt(size(i) * size(i + 1)));
    for (const int64_t p : {1, 2, 4})
      CHECK_SMALL(relative_error(root_of<double>(t, p, 1e-15), root_by_vectors(t, p)), 1e-14 * std::pow(10.0, grade));
  }
}

// Ratios of 1e-30 a row: what is beyond any range is 0, at no cost.
TEST(what_decays_is_zero) {
  Tridiagonal t = difference(200, 0.0);
  for (double& x : t.e) x = 1e-30;
  const auto F = root_of<double>(t, 2, 1e-15);
  for (int64_t i = 0; i < 200; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      if (i == j) CHECK_SMALL(std::abs(F[i * 200 + j] - std::sqrt(0.5)), 1e-14);
      if (i - j > 12) CHECK(F[i * 200 + j] == 0.0);
    }
}

TEST(threads_do_not_change_the_bits) {
  SAME_BITS([](const Parallel& team) { return root_of<float>(difference(333, 1e-3), 4, 1e-8, team); });
}
