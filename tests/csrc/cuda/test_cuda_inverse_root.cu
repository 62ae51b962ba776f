// inverse_root on the device: known spectra, every status, exact bits in any batch, against the definition in double.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "device.h"
#include "kernels/cuda/inverse_root.h"
#include "kernels/cuda/inverse_root_plan.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

template <class T>
struct Roots {
  std::vector<T> X, residual;
  std::vector<int32_t> steps, info;
};

template <class T>
struct Batch {
  int64_t batch, n;
  std::vector<T> A, fallback;
};

RootOptions options(double p, int64_t r, int64_t s) {
  RootOptions result{};
  result.p = p;
  result.r = r;
  result.s = s;
  result.rtol = 0.1;
  result.max_steps = 100;
  return result;
}

// On memory of exactly the sizes, filled so that what is not written is seen.
template <class T>
std::vector<Roots<T>> roots(const std::vector<Batch<T>>& batches, const RootOptions& options,
                            RootMethod method = RootMethod::Polynomial) {
  struct OnDevice {
    DeviceArray<T> A, fallback, X, residual;
    DeviceArray<int32_t> steps, info;
  };
  std::vector<std::unique_ptr<OnDevice>> memory;
  std::vector<RootGroup<T>> groups;
  for (const Batch<T>& one : batches) {
    const std::vector<T> poison(one.A.size(), T(-7)), figures(one.batch, T(-7));
    const std::vector<int32_t> counts(one.batch, -7);
    memory.emplace_back(new OnDevice{DeviceArray<T>(one.A), DeviceArray<T>(one.fallback), DeviceArray<T>(poison),
                                     DeviceArray<T>(figures), DeviceArray<int32_t>(counts),
                                     DeviceArray<int32_t>(counts)});
    OnDevice& d = *memory.back();
    groups.push_back({one.batch, one.n, d.A.data(), d.fallback.data(), method, d.X.data(), d.residual.data(),
                      d.steps.data(), d.info.data()});
  }
  TestStream stream;
  cuda::inverse_root<T>(groups, options, stream);
  std::vector<Roots<T>> result;
  for (const auto& d : memory)
    result.push_back({d->X.values(), d->residual.values(), d->steps.values(), d->info.values()});
  return result;
}

template <class T>
Roots<T> roots(int64_t batch, int64_t n, const std::vector<T>& A, const RootOptions& options,
               const std::vector<T>& fallback = {}, RootMethod method = RootMethod::Polynomial) {
  return roots<T>({{batch, n, A, fallback}}, options, method)[0];
}

struct Power {
  double p;
  int64_t r, s;
};
const Power kPowers[] = {{2, 2, 1}, {3, 3, 1},         {4, 4, 1}, {6, 6, 1},
                         {8, 8, 1}, {4.0 / 3.0, 4, 3}, {1, 2, 2}, {1.5, 3, 2}};

// ‖X^⌊k/2⌋ D X^⌈k/2⌉ − I‖_F/√n by naive products.
template <class T>
double residual_of(int64_t n, const std::vector<T>& X, const std::vector<T>& A, int k) {
  std::vector<double> product = as<T, double>(A);
  for (int i = 0; i < k; ++i) {
    product = i < k / 2 ? multiply(n, n, n, X.data(), false, product.data(), false)
                        : multiply(n, n, n, product.data(), false, X.data(), false);
  }
  double square = 0.0;
  for (int64_t i = 0; i < n * n; ++i) square += std::pow(product[i] - (i % (n + 1) == 0 ? 1.0 : 0.0), 2);
  return std::sqrt(square / static_cast<double>(n));
}

template <class T>
void known_spectrum(int64_t n, double condition, const Power& power, double tolerance,
                    RootMethod method = RootMethod::Polynomial) {
  const auto Q = orthogonal(n, 1);
  const auto eigenvalues = log_uniform(n, condition);
  std::vector<double> root_values;
  for (const double x : eigenvalues) root_values.push_back(std::pow(x, -1.0 / power.p));
  const auto A = as<double, T>(with_spectrum(Q, eigenvalues));
  const auto root = roots<T>(1, n, A, options(power.p, power.r, power.s), {}, method);
  CHECK_SMALL(relative_error(root.X, with_spectrum(Q, root_values)), tolerance);
  CHECK(symmetric_to_the_bit(n, root.X.data()));
  CHECK(root.info[0] == 0);
  const bool one_step = n == 1 || method == RootMethod::Eigh;
  CHECK(one_step ? root.steps[0] == 1 : root.steps[0] >= 2 && root.steps[0] <= 13);
  CHECK_SMALL(static_cast<double>(root.residual[0]), 100.0 * static_cast<double>(n) * condition * rounding<T>());
  if (power.p == std::floor(power.p) && power.p < 100.0 && n > 1) {
    const double truth = residual_of(n, root.X, A, static_cast<int>(power.p)), noise = 1e-12;
    const double told = static_cast<double>(root.residual[0]), factor = n <= 64 ? 1.001 : 2.0;
    CHECK(told <= truth * factor + noise && told >= truth / factor - noise);
  }
}

TEST(known_spectra) {
  for (const int64_t n : {1, 2, 5, 16, 17, 33})
    for (const Power& power : kPowers) {
      known_spectrum<float>(n, 100.0, power, 3e-5);  // 0.1 κ u is 6e-7; rounding A itself moves the root
      if (n <= 17) known_spectrum<double>(n, 1e4, power, 1e-11);
    }
}

TEST(large_known_spectra) {
  for (const int64_t n : {64, 65, 128}) known_spectrum<float>(n, 1e3, kPowers[2], 3e-5);
  known_spectrum<double>(65, 1e4, kPowers[1], 1e-11);
}

TEST(larger_than_a_block) {
  // n = 129 on the emulator takes seconds: each chain and each way through it once.
  for (const int k : {1, 3, 4, 5}) known_spectrum<float>(129, 10.0, kPowers[k], 3e-5);
  known_spectrum<double>(130, 10.0, kPowers[2], 1e-11);
}

TEST(known_spectra_by_eigh) {
  // An integer from 17 on is taken by squaring; 1e7 as any other number.
  for (const double p : {1.0, 2.0, 3.0, 0.7, 3.14159, 20.0, 33.0, 1e7})
    for (const int64_t n : {1, 2, 17, 33}) {
      known_spectrum<float>(n, 100.0, {p, 0, 0}, 3e-5, RootMethod::Eigh);
      if (n == 17) known_spectrum<double>(n, 1e4, {p, 0, 0}, 1e-11, RootMethod::Eigh);
    }
  known_spectrum<float>(64, 1e3, {4, 4, 1}, 3e-5, RootMethod::Eigh);
}

#if !defined(__CUDACC__)  // where the memory of the device is the host's
// In the place of cuSOLVER: classical Jacobi rotations, one after the other.
void rotations(const std::vector<BasisGroup<double>>& groups, const cuda::Stream&) {
  for (const BasisGroup<double>& group : groups) {
    const int64_t n = group.n;
    CHECK(group.batch == 1);
    std::vector<double> A(group.A, group.A + n * n);
    double* Q = group.Q;
    for (int64_t e = 0; e < n * n; ++e) Q[e] = e % (n + 1) == 0 ? 1.0 : 0.0;
    for (int sweep = 0; sweep < 12; ++sweep)
      for (int64_t p = 0; p < n; ++p)
        for (int64_t q = p + 1; q < n; ++q) {
          const double theta = 0.5 * std::atan2(2.0 * A[p * n + q], A[p * n + p] - A[q * n + q]);
          const double c = std::cos(theta), s = std::sin(theta);
          const auto turn = [&](double& x, double& y) {
            const double x0 = x, y0 = y;
            x = c * x0 + s * y0;
            y = c * y0 - s * x0;
          };
          for (int64_t k = 0; k < n; ++k) turn(A[p * n + k], A[q * n + k]);
          for (int64_t k = 0; k < n; ++k) turn(A[k * n + p], A[k * n + q]);
          for (int64_t k = 0; k < n; ++k) turn(Q[k * n + p], Q[k * n + q]);
        }
    for (int64_t i = 0; i < n; ++i) group.eigenvalues[i] = A[i * n + i];
    const int64_t largest = std::max_element(group.eigenvalues, group.eigenvalues + n) - group.eigenvalues;
    std::swap(group.eigenvalues[n - 1], group.eigenvalues[largest]);  // all of their order that is relied on
    for (int64_t i = 0; i < n; ++i) std::swap(Q[i * n + n - 1], Q[i * n + largest]);
  }
}

TEST(eigh_of_matrices_beyond_its_own_kernel) {
  const int64_t n = 70;
  const std::vector<double> eigenvalues = log_uniform(n, 100.0);
  const auto A = with_spectrum(orthogonal(n, 1), eigenvalues);
  for (const double p : {4.0, 0.7, 20.0}) {
    std::vector<double> root_values;
    for (const double x : eigenvalues) root_values.push_back(std::pow(x, -1.0 / p));
    const DeviceArray<double> source(A), X(std::vector<double>(A.size(), -7.0)), residual({-7.0});
    const DeviceArray<int32_t> steps({-7}), info({-7});
    TestStream stream;
    const RootGroup<double> group{
        1, n, source.data(), nullptr, RootMethod::Eigh, X.data(), residual.data(), steps.data(), info.data()};
    cuda::roots_by_eigh<double>({group}, cuda::plan_of(options(p, 0, 0), false), stream, rotations);
    CHECK_SMALL(relative_error(X.values(), with_spectrum(orthogonal(n, 1), root_values)), 1e-11);
    CHECK_SMALL(residual.values()[0], 1e-10);
    CHECK(info.values()[0] == 0 && steps.values()[0] == 1);
  }
}
#endif

TEST(wide_spectra_keep_their_accuracy) {
  for (const int64_t n : {17, 40}) {
    const auto Q = orthogonal(n, 8);
    const auto A = as<double, float>(with_spectrum(Q, log_uniform(n, 1e6)));
    const auto wide = roots<double>(1, n, as<float, double>(A), options(4, 4, 1));
    const auto root = roots<float>(1, n, A, options(4, 4, 1));
    CHECK_SMALL(relative_error(root.X, wide.X), 3e-5);
    CHECK(root.info[0] == 0);
  }
}

TEST(damping_is_absolute_and_relative) {
  RootOptions opts = options(2, 2, 1);  // A = 3 (1×1): D = 3 + 1 + 0.5·3
  opts.damping = 1.0;
  opts.relative_damping = 0.5;
  CHECK_SMALL(std::abs(roots<double>(1, 1, {3.0}, opts).X[0] - 1.0 / std::sqrt(5.5)), 1e-15);
  const int64_t n = 20;  // A = 2 I: D = (2 + 1 + 0.5·2√20) I
  std::vector<float> A(n * n, 0.0f);
  for (int64_t i = 0; i < n; ++i) A[i * n + i] = 2.0f;
  const auto root = roots<float>(1, n, A, opts);
  CHECK_SMALL(std::abs(root.X[21 * 3] - 1.0 / std::sqrt(3.0 + std::sqrt(20.0))), 1e-7);
  CHECK(root.X[1] == 0.0f);
}

TEST(damping_far_above_the_matrix) {
  auto opts = options(4, 4, 1);
  opts.damping = 1e10;
  for (const int64_t n : {5, 129}) {
    std::vector<double> A(static_cast<size_t>(n * n), 0.0);
    for (int64_t i = 0; i < n; ++i) A[i * n + i] = 2e-305;
    const auto root = roots<double>(1, n, A, opts);
    CHECK(root.info[0] == 0);
    CHECK_SMALL(std::abs(root.X[0] * std::pow(1e10, 0.25) - 1.0), 1e-12);
  }
}

TEST(a_root_that_leaves_the_range_is_not_good) {
  for (const auto method : {RootMethod::Polynomial, RootMethod::Eigh})
    for (const float scale : {1e-30f, 1e30f}) {  // A^(-2) is 1e60 or 1e-60
      const auto root = roots<float>(1, 3, {scale, 0, 0, 0, scale, 0, 0, 0, scale}, options(0.5, 2, 4), {}, method);
      CHECK(root.info[0] == 1 && std::isinf(root.residual[0]));
    }
}

// Bad matrices among good ones, in every order of turns; a good one has the bits that it has alone.
void statuses(int64_t n, RootMethod method) {
  const int64_t size = n * n;
  const auto good = as<double, float>(with_spectrum(orthogonal(n, 2), log_uniform(n, 10.0)));
  std::vector<float> A;
  for (int k = 0; k < 5; ++k) A.insert(A.end(), good.begin(), good.end());
  for (int64_t i = 0; i < n; ++i) A[size + i * n + i] -= 2.0f;   // indefinite
  A[2 * size + 7] = std::nanf("");                               // not finite, above the diagonal
  A[3 * size + 7 * n] = std::numeric_limits<float>::infinity();  // and below it
  const auto fallback = normal<float>(5 * size, 3);
  const RootOptions opts = options(4, 4, 1);
  const auto alone = roots<float>(1, n, good, opts, {}, method);
  in_every_order([&] {
    const auto bare = roots<float>(5, n, A, opts, {}, method);
    CHECK((bare.info == std::vector<int32_t>{0, 2, 3, 3, 0}));
    CHECK(bare.steps[1] == 0 && bare.steps[2] == 0);
    CHECK(std::isnan(bare.residual[1]) && std::isnan(bare.residual[2]));
    for (int64_t e = size; e < 4 * size; ++e) CHECK(std::isnan(bare.X[e]));
    for (const int64_t b : {0, 4}) {
      CHECK(std::memcmp(bare.X.data() + b * size, alone.X.data(), size * sizeof(float)) == 0);
      CHECK(bare.residual[b] == alone.residual[0] && bare.steps[b] == alone.steps[0]);
    }
  });
  const auto kept = roots<float>(5, n, A, opts, fallback, method);
  CHECK(std::memcmp(kept.X.data() + size, fallback.data() + size, 3 * size * sizeof(float)) == 0);
  CHECK(std::memcmp(kept.X.data(), alone.X.data(), size * sizeof(float)) == 0);
}

TEST(info_and_fallback_of_each_matrix) {
  statuses(18, RootMethod::Polynomial);
  statuses(18, RootMethod::Eigh);
}

TEST(too_few_steps_are_told) {
  for (const int64_t n : {9, 20}) {
    const auto A = as<double, float>(with_spectrum(orthogonal(n, 4), log_uniform(n, 1e4)));
    RootOptions opts = options(4, 4, 1);
    opts.max_steps = 1;
    const auto root = roots<float>(1, n, A, opts);
    CHECK(root.info[0] == 1 && root.residual[0] > 0.1f && root.steps[0] == 1);
    CHECK(symmetric_to_the_bit(n, root.X.data()));
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
    const auto root = roots<float>(1, 17, as<double, float>(with_spectrum(Q, eigenvalues)), options(4, 4, 1));
    CHECK_SMALL(relative_error(root.X, with_spectrum(Q, root_values)), 3e-5);
    CHECK(root.info[0] == 0);
  }
}

TEST(zero_and_empty) {
  const auto opts = options(4, 4, 1);
  CHECK(roots<float>(1, 3, std::vector<float>(9, 0.0f), opts).info[0] == 2);
  const auto empty = roots<float>(2, 0, {}, opts);
  CHECK((empty.info == std::vector<int32_t>{0, 0}) && empty.residual[0] == 0.0f && empty.steps[1] == 0);
  roots<float>(0, 5, {}, opts);
  roots<float>(0, 300, {}, opts);
  CHECK(roots<float>({}, opts).empty());
}

TEST(large_ones_among_bad_ones_and_small_ones) {
  const int64_t n = 129, size = n * n;
  auto opts = options(2, 2, 1);
  opts.relative_damping = 0.1;
  const auto good = definite<float>(1, n, 0.5, 9);
  std::vector<float> A;
  for (int k = 0; k < 3; ++k) A.insert(A.end(), good.begin(), good.end());
  A[size - 1] = -5.0f;  // the last pivot is negative
  A[size + 7] = std::nanf("");
  const auto fallback = normal<float>(3 * size, 3);
  const auto alone = roots<float>(1, n, good, opts);
  CHECK(alone.info[0] == 0);
  in_every_order([&] {
    const auto together = roots<float>({{1, 5, definite<float>(1, 5, 0.1, 1), {}}, {3, n, A, fallback}}, opts);
    const Roots<float>& large = together[1];
    CHECK(together[0].info[0] == 0);
    CHECK((large.info == std::vector<int32_t>{2, 3, 0}));
    CHECK(large.steps[0] == 0 && std::isnan(large.residual[1]));
    CHECK(std::memcmp(large.X.data(), fallback.data(), 2 * size * sizeof(float)) == 0);
    CHECK(std::memcmp(large.X.data() + 2 * size, alone.X.data(), size * sizeof(float)) == 0);
    CHECK(large.residual[2] == alone.residual[0] && large.steps[2] == alone.steps[0]);
  });
}

// D is what relative damping makes of an indefinite A: its condition is none that the damping promises, and the chain
// begins before the steps that are launched for it.
TEST(large_ones_that_are_less_definite_than_damping_promises) {
  const int64_t n = 129;
  std::vector<double> eigenvalues = log_uniform(n, 3.0);
  double squares = 0.0;
  for (int64_t i = 0; i + 1 < n; ++i) squares += eigenvalues[i] * eigenvalues[i];
  auto opts = options(2, 2, 1);
  opts.relative_damping = 0.1;
  // λ + 0.1 ‖A‖_F = 1e-5 for the last.
  double norm = std::sqrt(squares);
  for (int k = 0; k < 50; ++k) norm = std::sqrt(squares + std::pow(1e-5 - 0.1 * norm, 2));
  eigenvalues[n - 1] = 1e-5 - 0.1 * norm;
  const auto Q = orthogonal(n, 1);
  const auto root = roots<double>(1, n, with_spectrum(Q, eigenvalues), opts);
  std::vector<double> root_values;
  for (const double x : eigenvalues) root_values.push_back(1.0 / std::sqrt(x + 0.1 * norm));
  CHECK_SMALL(relative_error(root.X, with_spectrum(Q, root_values)), 1e-8);
  CHECK(root.info[0] == 0 && root.steps[0] >= 7);
}

TEST(a_ragged_list_has_the_bits_of_single_calls) {
  auto opts = options(2, 2, 1);
  opts.relative_damping = 0.01;
  std::vector<Batch<float>> batches;
  for (const int64_t n : {5, 33, 1, 20, 17})
    batches.push_back({2, n, definite<float>(2, n, 0.1, static_cast<unsigned>(n)), {}});
  in_every_order([&] {
    const auto together = roots<float>(batches, opts);
    for (size_t i = 0; i < batches.size(); ++i) {
      const auto alone = roots<float>(2, batches[i].n, batches[i].A, opts);
      CHECK(same_bits(alone.X, together[i].X));
      CHECK(alone.residual[1] == together[i].residual[1] && alone.steps[0] == together[i].steps[0]);
    }
  });
}

}  // namespace
