// Decompositions on the device against known spectra: own Jacobi for n ≤ 64, and what surrounds the solver beyond.
#include "basis_group.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

template <class T>
Result<T> decomposed(int64_t batch, int64_t n, const std::vector<T>& A) {
  const DeviceGroup<T> group(batch, n, A, {});
  TestStream stream;
  if (n > 64) {
    cuda::eigh_by_solver<T>({group.group(BasisMethod::Eigh)}, stream, kSolver<T>);
  } else {
    cuda::eigh<T>({group.group(BasisMethod::Eigh)}, stream);
  }
  return group.result();
}

std::vector<float> thrice(const std::vector<float>& x) {
  std::vector<float> result;
  for (int i = 0; i < 3; ++i) result.insert(result.end(), x.begin(), x.end());
  return result;
}

// The k-th largest eigenvalue goes to the column of the k-th largest old quotient, and signs continue.
template <class T>
void eigh_step(int64_t n) {
  const auto A = as<double, T>(with_spectrum(orthogonal(n, 4), log_uniform(n, 1e3)));
  const auto Q = as<double, T>(orthogonal(n, 9));
  const auto result = update<T>(1, n, A, Q, BasisMethod::Eigh, 0.0, 3);
  check_figures(n, A.data(), result.Q.data(), result.eigenvalues.data(), result.ratio[0]);
  CHECK_SMALL(result.ratio[0], 8.0 * static_cast<double>(std::max<int64_t>(n, 4)) * rounding<T>());
  CHECK(result.info[0] == 0 && result.steps[0] == 1);
  const auto B = rayleigh(n, A.data(), Q.data());
  for (int64_t i = 0; i < n; ++i) {
    double dot = 0.0;
    for (int64_t k = 0; k < n; ++k) dot += static_cast<double>(result.Q[k * n + i]) * static_cast<double>(Q[k * n + i]);
    CHECK(dot >= 0.0);
    for (int64_t j = 0; j < n; ++j)
      CHECK((B[i * n + i] > B[j * n + j]) == (result.eigenvalues[i] > result.eigenvalues[j]));
  }
}

TEST(a_step_by_eigh) {
  for (const int64_t n : {1, 2, 13, 33, 64, 65, 130}) eigh_step<float>(n);
  eigh_step<double>(15);
  eigh_step<double>(67);
  in_every_order([] {
    eigh_step<float>(11);
    eigh_step<float>(66);
  });
}

template <class T>
void eigh_of(int64_t n, std::vector<double> values, double scale = 1.0) {
  auto A = as<double, T>(with_spectrum(orthogonal(n, 4), values));
  for (T& a : A) a *= static_cast<T>(scale);
  auto result = decomposed<T>(1, n, A);
  for (T& a : A) a /= static_cast<T>(scale);
  for (T& x : result.eigenvalues) x /= static_cast<T>(scale);
  std::sort(values.begin(), values.end());
  const double tolerance = 8.0 * static_cast<double>(std::max<int64_t>(n, 4)) * rounding<T>();
  CHECK_SMALL(relative_error(result.eigenvalues, values), tolerance);
  CHECK_SMALL(off_diagonal(n, rayleigh(n, A.data(), result.Q.data())) / norm_of(n * n, A.data()), tolerance);
  CHECK_SMALL(orthogonality(n, n, result.Q.data()), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
  CHECK(std::is_sorted(result.eigenvalues.begin(), result.eigenvalues.end()));
  CHECK(result.info[0] == 0 && result.steps[0] == 1);
  for (int64_t k = 0; n > 64 && k < n; ++k) {  // the sign does not depend on the solver
    int64_t largest = 0;
    for (int64_t i = 1; i < n; ++i)
      if (std::abs(result.Q[i * n + k]) > std::abs(result.Q[largest * n + k])) largest = i;
    CHECK(result.Q[largest * n + k] > T(0));
  }
}

TEST(eigh_matches_known_spectra) {
  for (const int64_t n : {1, 2, 5, 16, 33, 64, 65, 129}) eigh_of<float>(n, log_uniform(n, 1e3));
  for (const int64_t n : {3, 20, 66}) eigh_of<double>(n, log_uniform(n, 1e3));
  eigh_of<float>(70, std::vector<double>(70, -2.0), 0x1p-110);
  eigh_of<float>(12, std::vector<double>(12, 2.0));
  eigh_of<float>(12, log_uniform(12, 1e6), 0x1p110);
  std::vector<double> signs(17, 1.0);
  for (int i = 0; i < 8; ++i) signs[i] = -1.0;
  eigh_of<float>(17, signs);
  in_every_order([] {
    eigh_of<float>(9, log_uniform(9, 1e2));
    eigh_of<float>(67, log_uniform(67, 1e2));
  });
}

TEST(eigh_tells_what_it_cannot_do) {
  const int64_t n = 6;
  auto A = definite<float>(3, n, 0.1, 5);
  A[n * n + 1] = std::nanf("");
  const DeviceGroup<float> group(3, n, A, {}), empty(2, 0, {}, {});
  TestStream stream;
  cuda::eigh<float>({group.group(BasisMethod::Eigh), empty.group(BasisMethod::Eigh)}, stream);
  const auto result = group.result();
  CHECK((result.info == std::vector<int32_t>{0, 3, 0}) && (result.steps == std::vector<int32_t>{1, 0, 1}));
  CHECK(std::isnan(result.ratio[1]) && std::isnan(result.eigenvalues[n]) && std::isnan(result.Q[n * n]));
  CHECK(empty.result().info[0] == 0 && empty.result().ratio[0] == 0.0f && empty.result().steps[0] == 0);
  const DeviceGroup<float> zero(1, n, std::vector<float>(n * n, 0.0f), {});
  cuda::eigh<float>({zero.group(BasisMethod::Eigh)}, stream);
  CHECK(zero.result().info[0] == 0 && zero.result().ratio[0] == 0.0f);
  CHECK_SMALL(orthogonality(n, n, zero.result().Q.data()), 1e-6);
}

// A matrix that is not finite, and one on which the solver fails, among good ones.
TEST(a_bad_matrix_does_not_reach_the_solver) {
  const int64_t n = 66, size = n * n;
  const auto A = definite<float>(4, n, 0.1, 5);
  auto bad = A;
  bad[size + 1] = bad[size + n] = std::numeric_limits<float>::infinity();
  const auto clean = decomposed<float>(4, n, A);
#if !defined(__CUDACC__)
  failing() = {2};
#endif
  const auto dirty = decomposed<float>(4, n, bad);
  const auto Q = as<double, float>(orthogonal(n, 3));
  const auto updated = update<float>(3, n, {A.begin(), A.begin() + 3 * size}, thrice(Q), BasisMethod::Eigh, 0.0, 1);
  failing().clear();
#if !defined(__CUDACC__)
  CHECK((dirty.info == std::vector<int32_t>{0, 3, 1, 0}) && (dirty.steps == std::vector<int32_t>{1, 0, 1, 1}));
  CHECK(std::isnan(dirty.Q[2 * size]) && std::isnan(dirty.eigenvalues[2 * n]) && std::isnan(dirty.ratio[2]));
  // Where there is no decomposition the old basis and its figures stay.
  CHECK((updated.steps == std::vector<int32_t>{1, 1, 0}) && (updated.info == std::vector<int32_t>{0, 0, 0}));
  CHECK(std::memcmp(&updated.Q[2 * size], Q.data(), size * sizeof(float)) == 0 && updated.ratio[2] > 0.01f);
#endif
  CHECK(std::isnan(dirty.Q[size]) && std::isnan(dirty.eigenvalues[n]) && std::isnan(dirty.ratio[1]));
  for (const int64_t b : {0, 3}) {
    CHECK(std::memcmp(&dirty.Q[b * size], &clean.Q[b * size], size * sizeof(float)) == 0);
    CHECK(dirty.ratio[b] == clean.ratio[b] && dirty.info[b] == 0);
  }
}

// Two groups of one size share a call of the solver.
TEST(a_ragged_list_of_decompositions) {
  const int64_t sizes[] = {66, 70, 66};
  std::vector<DeviceGroup<float>> groups;
  std::vector<BasisGroup<float>> list;
  for (int64_t i = 0; i < 3; ++i)
    groups.emplace_back(2, sizes[i], definite<float>(2, sizes[i], 0.1, static_cast<unsigned>(i)), std::vector<float>{});
  for (const auto& group : groups) list.push_back(group.group(BasisMethod::Eigh));
  TestStream stream;
  cuda::eigh_by_solver<float>(list, stream, kSolver<float>);
  for (int64_t i = 0; i < 3; ++i) {
    const auto alone = decomposed<float>(2, sizes[i], groups[i].A.values());
    CHECK(same_bits(alone.Q, groups[i].result().Q) && same_bits(alone.ratio, groups[i].result().ratio));
    CHECK(same_bits(alone.eigenvalues, groups[i].result().eigenvalues));
  }
}

#if !defined(__CUDACC__)
TEST(the_emulator_says_that_it_has_no_solver) {
  for (const bool eigh : {true, false}) {
    bool refused = false;
    TestStream stream;
    const DeviceGroup<float> large(1, 65, std::vector<float>(65 * 65), std::vector<float>(65 * 65));
    try {
      eigh ? cuda::eigh<float>({large.group(BasisMethod::Eigh)}, stream)
           : cuda::update_eigenbasis<float>({large.group(BasisMethod::Eigh)}, 0.0, 1, stream);
    } catch (const std::runtime_error&) {
      refused = true;
    }
    CHECK(refused);
  }
}
#endif

}  // namespace
