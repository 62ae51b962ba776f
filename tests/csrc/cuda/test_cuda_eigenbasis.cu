// The eigenbasis on the device against float64 loops: a step, masks and info, order and signs, bad matrices among good ones.
#include <numeric>
#include <utility>

#include "basis_group.h"
#include "gram_schmidt.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

const BasisMethod kMethods[] = {BasisMethod::Automatic, BasisMethod::Rotation, BasisMethod::Qr};

// One step as kernels/eigenbasis.h defines it, in float64; `u` is the unit roundoff of the type it stands for.
template <class T>
std::vector<double> expected_step(int64_t n, const T* A, const T* Q, bool qr) {
  const double u = rounding<T>(), norm = norm_of(n * n, A);
  const auto AQ = multiply(n, n, n, A, false, Q, false), B = rayleigh(n, A, Q);
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return B[a * n + a] > B[b * n + b]; });
  std::vector<double> turned(n * n), W(n * n);
  if (qr) {
    for (int64_t i = 0; i < n * n; ++i) turned[i] = AQ[i] + static_cast<double>(n) * u * norm * Q[i];
  } else {
    const double mean = off_diagonal(n, B) / static_cast<double>(n), noise = 4.0 * u * norm;
    std::vector<double> I_T(n * n, 0.0);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const double o = B[std::max(i, j) * n + std::min(i, j)], d = B[j * n + j] - B[i * n + i];
        const double upper = i < j ? d : -d, sign = (i < j ? 1.0 : -1.0) * (upper >= 0.0 ? 1.0 : -1.0);
        const double bottom = d * d + 2.0 * o * o + mean * mean + noise * noise;
        I_T[i * n + j] = i == j ? 1.0 : bottom > 0.0 ? sign * o * std::sqrt(d * d + o * o) / bottom : 0.0;
      }
    turned = multiply(n, n, n, Q, false, I_T.data(), false);
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < n; ++k) W[i * n + k] = turned[i * n + order[k]];
  gram_schmidt(n, n, W);
  std::vector<double> result(n * n);
  for (int64_t k = 0; k < n; ++k) {
    double dot = 0.0;
    for (int64_t i = 0; i < n; ++i) dot += W[i * n + k] * static_cast<double>(Q[i * n + order[k]]);
    for (int64_t i = 0; i < n; ++i) result[i * n + order[k]] = dot < 0.0 ? -W[i * n + k] : W[i * n + k];
  }
  return result;
}

template <class T>
void one_step(int64_t n, BasisMethod method, double angle, double scale) {
  auto [A, Q] = drifted<T>(n, 1, angle);
  for (T& a : A) a *= static_cast<T>(scale);
  const Result<T> result = update<T>(1, n, A, Q, method, 0.0, 1);
  const double before = off_diagonal(n, rayleigh(n, A.data(), Q.data())) / norm_of(n * n, A.data());
  const bool qr = method == BasisMethod::Qr || (method == BasisMethod::Automatic && before > 0.3);
  std::vector<T> unit = A;  // the sum of squares of a large A overflows nowhere here
  for (T& a : unit) a /= static_cast<T>(scale);
  const auto expected = expected_step(n, unit.data(), Q.data(), qr);
  // A QR step loses what the condition of AQ, up to 1e3 here, takes.
  CHECK_SMALL(relative_error(result.Q, expected), (qr ? 2000.0 : 40.0) * static_cast<double>(n) * rounding<T>());
  std::vector<T> eigenvalues = result.eigenvalues;
  for (T& x : eigenvalues) x /= static_cast<T>(scale);
  check_figures(n, unit.data(), result.Q.data(), eigenvalues.data(), result.ratio[0]);
  CHECK(result.info[0] == 0 && result.steps[0] == 1);
}

TEST(a_step_is_the_one_of_the_contract) {
  for (const BasisMethod method : kMethods) {
    for (const int64_t n : {1, 2, 5, 17, 33, 64}) {
      one_step<float>(n, method, 0.02, 1.0);
      one_step<float>(n, method, 1.2, 1.0);
    }
    for (const int64_t n : {3, 31, 64}) one_step<double>(n, method, 0.02, 1.0);
    one_step<float>(12, method, 0.02, 0x1p120);
    one_step<float>(12, method, 0.02, 0x1p-120);
  }
  in_every_order([] { one_step<float>(48, BasisMethod::Automatic, 0.02, 1.0); });
  in_every_order([] { one_step<float>(20, BasisMethod::Qr, 1.2, 1.0); });
}

TEST(a_step_of_a_large_matrix) {
  on_both_ways([] {
    for (const BasisMethod method : kMethods) one_step<float>(65, method, 0.02, 1.0);
    one_step<float>(70, BasisMethod::Qr, 1.2, 0x1p120);
    in_every_order([] { one_step<float>(66, BasisMethod::Automatic, 1.2, 1.0); });
  });
  one_step<float>(129, BasisMethod::Automatic, 0.02, 1.0);
  one_step<double>(66, BasisMethod::Rotation, 0.02, 1.0);
  one_step<double>(66, BasisMethod::Qr, 0.02, 1.0);
}

TEST(a_step_of_one_block_up_to_128) {
  for (const int64_t n : {80, 97, 128}) one_step<float>(n, BasisMethod::Rotation, 0.02, 1.0);
  one_step<float>(113, BasisMethod::Qr, 0.02, 0x1p-120);
  in_every_order([] { one_step<float>(84, BasisMethod::Rotation, 0.02, 1.0); });
}

// Q is finite, and QᵀAQ is not.
TEST(a_basis_far_from_orthogonal_comes_back) {
  on_both_ways([] {
    for (const int64_t n : {40, 66})
      for (const BasisMethod method : {BasisMethod::Automatic, BasisMethod::Rotation}) {
        const auto A = definite<float>(2, n, 0.1, 5);
        auto Q = normal<float>(2 * n * n, 6);
        for (int64_t i = 0; i < n * n; ++i) Q[i] *= 5e37f;
        const auto result = update<float>(2, n, A, Q, method, 0.0, 2);
        CHECK((result.info == std::vector<int32_t>{1, 0}) && std::isnan(result.ratio[0]));
        CHECK(std::isnan(result.eigenvalues[0]) && std::isfinite(result.eigenvalues[n]));
        CHECK(std::memcmp(result.Q.data(), Q.data(), n * n * sizeof(float)) == 0);
      }
  });
}

TEST(the_order_of_the_caller_is_kept) {
  for (const int64_t n : {12, 66}) {
    const auto Q = orthogonal(n, 2);
    const auto A = with_spectrum(Q, log_uniform(n, 100.0));
    std::vector<double> reversed(Q.size());
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) reversed[i * n + j] = -Q[i * n + n - 1 - j];
    for (const BasisMethod method : kMethods)
      CHECK_SMALL(relative_error(update<double>(1, n, A, reversed, method, 0.0, 1).Q, reversed), 1e-11);
  }
}

TEST(below_the_tolerance_nothing_moves) {
  const auto stays = [](int64_t n) {
    const auto [A, Q] = drifted<float>(n, 3);
    for (const BasisMethod method : {kMethods[0], kMethods[1], kMethods[2], BasisMethod::Eigh}) {
      const auto still = update<float>(1, n, A, Q, method, 0.9, 2);
      CHECK(same_bits(still.Q, Q) && still.steps[0] == 0 && still.info[0] == 0);
      const auto looked = update<float>(1, n, A, Q, method, 0.0, 0);
      CHECK(same_bits(looked.Q, Q) && looked.steps[0] == 0 && looked.info[0] == 0);
      const auto short_of = update<float>(1, n, A, Q, method, 1e-12, 0);
      CHECK(same_bits(short_of.Q, Q) && short_of.info[0] == 1);
    }
  };
  stays(33);
  on_both_ways([&] { stays(67); });
}

TEST(equal_diagonals_escape_from_the_identity) {
  const int64_t n = 16;  // Toeplitz: I is a stationary point of first-order rotations
  std::vector<double> A(n * n), I(n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    I[i * n + i] = 1.0;
    for (int64_t j = 0; j < n; ++j) A[i * n + j] = std::pow(0.9, static_cast<double>(std::abs(i - j)));
  }
  for (const BasisMethod method : {BasisMethod::Automatic, BasisMethod::Rotation}) {
    const auto result = update<double>(1, n, A, I, method, 1e-6, 40);
    CHECK(result.info[0] == 0 && result.steps[0] < 40);
    CHECK_SMALL(result.ratio[0], 1e-6);
  }
}

// A of rank 3: the null space is held where it was, and Q stays orthonormal. A = 0 is left alone.
void of_rank_3(int64_t n) {
  const auto Q = orthogonal(n, 4);
  std::vector<double> values(n, 0.0);
  values[0] = 3.0, values[1] = 2.0, values[2] = 1.0;
  const auto A = as<double, float>(with_spectrum(Q, values)), Q32 = as<double, float>(Q);
  for (const BasisMethod method : {kMethods[0], kMethods[1], kMethods[2], BasisMethod::Eigh}) {
    const auto result = update<float>(1, n, A, Q32, method, 0.0, 1);
    CHECK_SMALL(orthogonality(n, n, result.Q.data()), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<float>());
    CHECK_SMALL(relative_error(result.Q, Q), 1e-2);
    const auto zero = update<float>(1, n, std::vector<float>(n * n, 0.0f), Q32, method, 0.1, 3);
    CHECK(zero.info[0] == 0 && zero.steps[0] == 0 && zero.ratio[0] == 0.0f && same_bits(zero.Q, Q32));
  }
}

TEST(deficient_rank) {
  of_rank_3(24);
  on_both_ways([] { of_rank_3(66); });
}

void bad_among_good(int64_t n, BasisMethod method) {
  const int64_t size = n * n, batch = 4;
  std::vector<float> A, Q;
  for (unsigned b = 0; b < batch; ++b) {
    const auto [a, q] = drifted<float>(n, 10 + b, b == 3 ? 1.2 : 0.02);
    A.insert(A.end(), a.begin(), a.end());
    Q.insert(Q.end(), q.begin(), q.end());
  }
  const auto clean = update<float>(batch, n, A, Q, method, 0.0, 1);
  auto A_bad = A, Q_bad = Q;
  A_bad[size + 3] = A_bad[size + 3 * n] = std::numeric_limits<float>::infinity();
  Q_bad[2 * size] = std::nanf("");
  const auto dirty = update<float>(batch, n, A_bad, Q_bad, method, 0.0, 1);
  CHECK((dirty.info == std::vector<int32_t>{0, 3, 3, 0}) && (dirty.steps == std::vector<int32_t>{1, 0, 0, 1}));
  CHECK(std::isnan(dirty.ratio[1]) && std::isnan(dirty.eigenvalues[n]) && std::isnan(dirty.ratio[2]));
  CHECK(std::memcmp(dirty.Q.data() + size, Q_bad.data() + size, 2 * size * sizeof(float)) == 0);
  for (const int64_t b : {0, 3}) {
    CHECK(std::memcmp(dirty.Q.data() + b * size, clean.Q.data() + b * size, size * sizeof(float)) == 0);
    CHECK(dirty.ratio[b] == clean.ratio[b]);
    const auto alone = update<float>(1, n, {A.begin() + b * size, A.begin() + (b + 1) * size},
                                     {Q.begin() + b * size, Q.begin() + (b + 1) * size}, method, 0.0, 1);
    CHECK(std::memcmp(alone.Q.data(), clean.Q.data() + b * size, size * sizeof(float)) == 0);
    CHECK(alone.ratio[0] == clean.ratio[b]);
  }
}

TEST(a_bad_matrix_keeps_its_basis_and_touches_no_other) {
  in_every_order([] { bad_among_good(20, BasisMethod::Automatic); });
  bad_among_good(33, BasisMethod::Qr);
  on_both_ways([] { bad_among_good(66, BasisMethod::Automatic); });
  bad_among_good(33, BasisMethod::Eigh);
  bad_among_good(66, BasisMethod::Eigh);
}

TEST(a_ragged_list_has_the_bits_of_single_calls) {
  const int64_t sizes[] = {5, 64, 1, 66, 33, 0, 70, 130, 66};
  std::vector<DeviceGroup<float>> groups;
  std::vector<BasisGroup<float>> list;
  std::vector<std::pair<std::vector<float>, std::vector<float>>> inputs;
  for (const int64_t n : sizes) {
    inputs.push_back(n == 0 ? std::pair<std::vector<float>, std::vector<float>>{}
                            : drifted<float>(n, static_cast<unsigned>(n)));
    groups.emplace_back(1, n, inputs.back().first, inputs.back().second);
  }
  for (const auto& group : groups) list.push_back(group.group(BasisMethod::Automatic));
  TestStream stream;
  cuda::update_eigenbasis(list, 0.0, 2, stream);
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto alone = update<float>(1, sizes[i], inputs[i].first, inputs[i].second, BasisMethod::Automatic, 0.0, 2);
    const auto listed = groups[i].result();
    CHECK(same_bits(alone.Q, listed.Q) && same_bits(alone.eigenvalues, listed.eigenvalues) &&
          same_bits(alone.ratio, listed.ratio) && alone.info == listed.info);
    CHECK(listed.info[0] == 0);
  }
  cuda::update_eigenbasis<float>({}, 0.0, 1, stream);
}

// Matrices of one group that need 0, 1 and more steps: those that are done leave the lists of work, and nobody minds.
template <class T>
void at_their_own_pace(int64_t n) {
  const double angles[] = {0.3, 1e-5, 0.05, 1.2, 1e-5, 0.2};
  const int64_t batch = 6, size = n * n;
  std::vector<T> A, Q;
  for (unsigned b = 0; b < batch; ++b) {
    const auto [a, q] = drifted<T>(n, 30 + b, angles[b]);
    A.insert(A.end(), a.begin(), a.end());
    Q.insert(Q.end(), q.begin(), q.end());
  }
  const auto together = update<T>(batch, n, A, Q, BasisMethod::Automatic, 1e-3, 6);
  CHECK(together.steps[1] == 0 && together.steps[4] == 0 && together.steps[3] > together.steps[2]);
  for (int64_t b = 0; b < batch; ++b) {
    const auto alone = update<T>(1, n, {A.begin() + b * size, A.begin() + (b + 1) * size},
                                 {Q.begin() + b * size, Q.begin() + (b + 1) * size}, BasisMethod::Automatic, 1e-3, 6);
    CHECK(std::memcmp(alone.Q.data(), &together.Q[b * size], size * sizeof(T)) == 0);
    CHECK(alone.steps[0] == together.steps[b] && alone.ratio[0] == together.ratio[b] && together.info[b] == 0);
    CHECK_SMALL(orthogonality(n, n, alone.Q.data()), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
  }
}

TEST(each_matrix_steps_at_its_own_pace) {
  at_their_own_pace<float>(20);
  on_both_ways([] { at_their_own_pace<float>(66); });
}

TEST(the_ratio_alone) {
  for (const int64_t n : {33, 65}) {
    const int64_t batch = 3;
    std::vector<float> A, Q;
    for (unsigned b = 0; b < batch; ++b) {
      const auto [a, q] = drifted<float>(n, 20 + b, b == 0 ? 1e-3 : 0.3);
      A.insert(A.end(), a.begin(), a.end());
      Q.insert(Q.end(), q.begin(), q.end());
    }
    A[2 * n * n] = std::nanf("");
    const DeviceArray<float> A_device(A), Q_device(Q), ratio(std::vector<float>(batch, -1.0f));
    TestStream stream;
    cuda::off_diagonal_ratio<float>(batch, n, A_device.data(), Q_device.data(), ratio.data(), stream);
    for (int64_t b = 0; b < 2; ++b) {
      const float *a = &A[b * n * n], *q = &Q[b * n * n];
      const double exact = off_diagonal(n, rayleigh(n, a, q)) / norm_of(n * n, a);
      CHECK_SMALL(std::abs(ratio.values()[b] - exact), 1e-6);
    }
    CHECK(std::isnan(ratio.values()[2]));
  }
}

}  // namespace
