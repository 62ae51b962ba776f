#include "kernels/inverse_root.h"

#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

template <class T>
struct Roots {
  std::vector<T> X, residual;
  std::vector<int32_t> steps, info;
};

RootOptions options(double p, int64_t r = 0, int64_t s = 0) {
  RootOptions result{};
  result.p = p;
  result.r = r;
  result.s = s;
  result.damping = 0.0;
  result.relative_damping = 0.0;
  result.rtol = 0.1;
  result.max_steps = 100;
  return result;
}

template <class T>
Roots<T> roots(int64_t batch, int64_t n, const std::vector<T>& A, RootMethod method, const RootOptions& opts,
               const Parallel& parallel, const T* fallback = nullptr) {
  Roots<T> out{std::vector<T>(A.size()), std::vector<T>(batch), std::vector<int32_t>(batch),
               std::vector<int32_t>(batch)};
  inverse_root<T>(
      {{batch, n, A.data(), fallback, method, out.X.data(), out.residual.data(), out.steps.data(), out.info.data()}},
      opts, parallel);
  return out;
}

const RootMethod kMethods[] = {RootMethod::Eigh, RootMethod::Polynomial, RootMethod::Quadrature,
                               RootMethod::QuadratureToTolerance};

struct Power {
  double p;
  int64_t r, s;
};
const Power kPowers[] = {{2, 2, 1}, {3, 3, 1}, {4, 4, 1}, {6, 6, 1}, {8, 8, 1}, {4.0 / 3.0, 4, 3}};

// Against Q λ^(-1/p) Qᵀ with λ and Q known.
template <class T>
void known_spectrum(int64_t n, double condition, RootMethod method, const Power& power, double tolerance) {
  const auto Q = orthogonal(n, 1);
  const auto eigenvalues = log_uniform(n, condition);
  std::vector<double> root_values;
  for (const double x : eigenvalues) root_values.push_back(std::pow(x, -1.0 / power.p));
  const auto A = as<double, T>(with_spectrum(Q, eigenvalues));
  const RootOptions opts = options(power.p, power.r, power.s);
  const auto X = SAME_BITS([&](const Parallel& parallel) { return roots<T>(1, n, A, method, opts, parallel).X; });
  const auto figures = roots<T>(1, n, A, method, opts, serial());
  CHECK_SMALL(relative_error(X, with_spectrum(Q, root_values)), tolerance);
  CHECK(symmetric_to_the_bit(n, X.data()));
  CHECK(figures.info[0] == 0);
  CHECK_SMALL(static_cast<double>(figures.residual[0]), 100.0 * static_cast<double>(n) * condition * rounding<T>());
}

TEST(known_spectra) {
  for (const RootMethod method : kMethods)
    for (const Power& power : kPowers)
      for (const int64_t n : {1, 2, 5, 31, 32, 33, 65}) {
        known_spectrum<float>(n, 100.0, method, power, 3e-5);  // 0.1 κ u is 6e-7; rounding A itself moves the root
        known_spectrum<double>(n, 1e4, method, power, 1e-11);
      }
}

TEST(a_power_without_polynomials_has_none) {
  CHECK(has_root_polynomials(2) && has_root_polynomials(4) && has_root_polynomials(8));
  CHECK(!has_root_polynomials(7));
  known_spectrum<double>(9, 1e3, RootMethod::Eigh, {2.5, 0, 0}, 1e-11);
}

TEST(damping_is_absolute_and_relative) {
  // A = 3 (1×1): D = 3 + 1 + 0.5·3.
  RootOptions opts = options(2, 2, 1);
  opts.damping = 1.0;
  opts.relative_damping = 0.5;
  for (const RootMethod method : kMethods)
    CHECK_SMALL(std::abs(roots<double>(1, 1, {3.0}, method, opts, serial()).X[0] - 1.0 / std::sqrt(5.5)), 1e-15);
}

TEST(info_and_fallback_of_each_matrix) {
  const int64_t n = 33, size = n * n;
  const auto good = as<double, float>(with_spectrum(orthogonal(n, 2), log_uniform(n, 10.0)));
  std::vector<float> A;
  for (int k = 0; k < 4; ++k) A.insert(A.end(), good.begin(), good.end());
  for (int64_t i = 0; i < n; ++i) A[size + i * n + i] -= 2.0f;  // indefinite
  A[2 * size + 7] = A[2 * size + 7 * n] = std::nanf("");        // not finite
  const auto fallback = normal<float>(4 * size, 3);
  for (const RootMethod method : kMethods) {
    const RootOptions opts = options(4, 4, 1);
    const auto alone = roots<float>(1, n, good, method, opts, serial());
    const auto bare = roots<float>(4, n, A, method, opts, threads(3));
    const auto kept = roots<float>(4, n, A, method, opts, threads(2), fallback.data());
    CHECK((bare.info == std::vector<int32_t>{0, 2, 3, 0}));
    CHECK(std::isnan(bare.residual[1]) && std::isnan(bare.residual[2]));
    CHECK(std::isnan(bare.X[size]) && std::isnan(bare.X[3 * size - 1]));
    for (const int64_t b : {0, 3}) {
      CHECK(std::memcmp(bare.X.data() + b * size, alone.X.data(), size * sizeof(float)) == 0);
      CHECK(std::memcmp(kept.X.data() + b * size, alone.X.data(), size * sizeof(float)) == 0);
      CHECK(bare.residual[b] == alone.residual[0]);
    }
    CHECK(std::memcmp(kept.X.data() + size, fallback.data() + size, 2 * size * sizeof(float)) == 0);
  }
}

// Beyond the last quadrature eigenvectors do it, and their noise is the floor.
TEST(a_condition_beyond_quadratures) {
  for (const double least : {1e-15, 2e-16}) {
    const auto result = roots<double>(1, 2, {1.0, 0.0, 0.0, least}, RootMethod::Quadrature, options(2, 2, 1), serial());
    CHECK(result.info[0] == 0);
    CHECK_SMALL(std::abs(result.X[3] * std::sqrt(least) - 1.0), 0.1);
  }
}

TEST(too_few_steps_are_told) {
  const auto A = as<double, float>(with_spectrum(orthogonal(20, 4), log_uniform(20, 1e4)));
  RootOptions opts = options(4, 4, 1);
  opts.max_steps = 1;
  const auto result = roots<float>(1, 20, A, RootMethod::Polynomial, opts, serial());
  CHECK(result.info[0] == 1 && result.residual[0] > 0.1f);
}

TEST(the_residual_tells_a_wrong_root_from_a_right_one) {
  // Above n = 64 it is estimated: within a factor of two of ‖X² D X² − I‖_F/√n in float64.
  const int64_t n = 129;
  const auto A = as<double, float>(with_spectrum(orthogonal(n, 5), log_uniform(n, 1e3)));
  RootOptions opts = options(4, 4, 1);
  for (const int64_t max_steps : {2, 100}) {
    opts.max_steps = max_steps;
    const auto result = roots<float>(1, n, A, RootMethod::Polynomial, opts, serial());
    const auto XX = multiply(n, n, n, result.X.data(), false, result.X.data(), false);
    const auto XXA = multiply(n, n, n, XX.data(), false, A.data(), false);
    auto E = multiply(n, n, n, XXA.data(), false, XX.data(), false);
    double square = 0.0;
    for (int64_t i = 0; i < n * n; ++i) square += std::pow(E[i] - (i % (n + 1) == 0 ? 1.0 : 0.0), 2);
    const double exact = std::sqrt(square / static_cast<double>(n));
    const double ratio = static_cast<double>(result.residual[0]) / exact;
    CHECK(ratio > 0.5 && ratio < 2.0);
  }
}

TEST(scales_near_the_ends_of_the_range) {
  const auto Q = orthogonal(17, 6);
  const auto unit = log_uniform(17, 100.0);
  for (const double scale : {1e-30, 1e30}) {
    std::vector<double> eigenvalues, root_values;
    for (const double x : unit) {
      eigenvalues.push_back(scale * x);
      root_values.push_back(std::pow(scale * x, -0.25));
    }
    const auto A = as<double, float>(with_spectrum(Q, eigenvalues));
    for (const RootMethod method : kMethods) {
      const auto result = roots<float>(1, 17, A, method, options(4, 4, 1), serial());
      CHECK_SMALL(relative_error(result.X, with_spectrum(Q, root_values)), 3e-5);
      CHECK(result.info[0] == 0);
    }
  }
}

TEST(zero_and_empty) {
  for (const RootMethod method : kMethods) {
    const auto opts = options(4, 4, 1);
    CHECK(roots<float>(1, 3, std::vector<float>(9, 0.0f), method, opts, serial()).info[0] == 2);
    const auto empty = roots<float>(2, 0, {}, method, opts, threads(2));
    CHECK((empty.info == std::vector<int32_t>{0, 0}) && empty.residual[0] == 0.0f && empty.steps[1] == 0);
    roots<float>(0, 5, {}, method, opts, threads(2));
  }
  inverse_root<float>({}, options(2, 2, 1), threads(2));
}

TEST(a_ragged_list_has_the_bits_of_single_calls) {
  const int64_t sizes[] = {5, 64, 33, 1, 65};
  const auto opts = options(4, 4, 1);
  std::vector<std::vector<float>> As, Xs;
  for (const int64_t n : sizes) {
    As.push_back(definite<float>(2, n, 0.1, static_cast<unsigned>(n)));
    Xs.emplace_back(As.back().size());
  }
  for (const RootMethod method : kMethods) {
    std::vector<float> residual(10);
    std::vector<int32_t> steps(10), info(10);
    std::vector<RootGroup<float>> groups;
    for (size_t i = 0; i < As.size(); ++i)
      groups.push_back(
          {2, sizes[i], As[i].data(), nullptr, method, Xs[i].data(), &residual[2 * i], &steps[2 * i], &info[2 * i]});
    inverse_root(groups, opts, threads(3));
    for (size_t i = 0; i < As.size(); ++i) {
      const auto alone = roots<float>(2, sizes[i], As[i], method, opts, serial());
      CHECK(same_bits(alone.X, Xs[i]));
      CHECK(alone.residual[1] == residual[2 * i + 1] && alone.steps[0] == steps[2 * i]);
    }
  }
}

}  // namespace
