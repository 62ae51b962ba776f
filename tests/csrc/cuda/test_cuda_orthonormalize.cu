// orthonormalize on the device against Gram–Schmidt in float64; what is nearly or wholly dependent.
#include <utility>

#include "device.h"
#include "gram_schmidt.h"
#include "kernels/cuda/eigenbasis.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

template <class T>
std::pair<std::vector<T>, std::vector<int32_t>> orthonormalized(int64_t batch, int64_t m, int64_t n,
                                                                const std::vector<T>& S) {
  const DeviceArray<T> S_device(S), Q(std::vector<T>(S.size()));
  const DeviceArray<int32_t> info(std::vector<int32_t>(batch, -1));
  TestStream stream;
  cuda::orthonormalize<T>(batch, m, n, S_device.data(), Q.data(), info.data(), stream);
  return {Q.values(), info.values()};
}

template <class T>
void orthonormal(int64_t m, int64_t n, double scale = 1.0) {
  auto S = normal<T>(m * n, 6);
  const auto S0 = S;
  for (T& s : S) s *= static_cast<T>(scale);
  const auto [Q, info] = orthonormalized<T>(1, m, n, S);
  CHECK(info[0] == 0);
  CHECK_SMALL(orthogonality(m, n, Q.data()), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
  auto expected = as<T, double>(S0);
  gram_schmidt(m, n, expected);
  CHECK_SMALL(relative_error(Q, expected), 200.0 * static_cast<double>(m) * rounding<T>());
}

TEST(orthonormalize_gives_the_q_of_qr) {
  for (const auto& [m, n] :
       {std::pair<int64_t, int64_t>{1, 1}, {5, 5}, {33, 1}, {65, 33}, {64, 64}, {129, 31}, {70, 66}}) {
    orthonormal<float>(m, n);
    orthonormal<double>(m, n);
  }
  orthonormal<float>(9, 4, 0x1p120);
  orthonormal<float>(80, 4, 0x1p-120);
  in_every_order([] {
    orthonormal<float>(20, 17);
    orthonormal<float>(70, 66);
  });
}

// Columns that are nearly dependent: S = U diag(1 … 1/κ) Vᵀ.
template <class T>
void ill_conditioned(int64_t n, double condition) {
  const auto U = orthogonal(n, 8), V = orthogonal(n, 12);
  const auto values = log_uniform(n, condition);
  auto scaled = U;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) scaled[i * n + j] *= values[j];
  const auto S = as<double, T>(multiply(n, n, n, scaled.data(), false, V.data(), true));
  const auto Q = orthonormalized<T>(1, n, n, S).first;
  CHECK_SMALL(orthogonality(n, n, Q.data()), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
}

TEST(orthonormalize_holds_where_the_gram_matrix_breaks_down) {
  for (const int64_t n : {32, 66}) {
    ill_conditioned<float>(n, 1e5);
    ill_conditioned<float>(n, 1e8);
    ill_conditioned<double>(n, 1e10);
    ill_conditioned<double>(n, 1e15);
  }
}

template <class T>
void dependent(int64_t m, int64_t n) {
  auto S = normal<T>(4 * m * n, 7);
  for (int64_t i = 0; i < m; ++i) S[m * n + i * n + 4] = S[m * n + i * n + 1];  // a column twice
  S[2 * m * n + 5] = std::numeric_limits<T>::quiet_NaN();
  for (int64_t i = 0; i < m * n; ++i) S[3 * m * n + i] = T(i % n == 0);  // one column of ones, the others 0
  const auto [Q, info] = orthonormalized<T>(4, m, n, S);
  const auto alone = orthonormalized<T>(1, m, n, {S.begin(), S.begin() + m * n}).first;
  CHECK((info == std::vector<int32_t>{0, 2, 3, 2}));
  CHECK(std::memcmp(alone.data(), Q.data(), alone.size() * sizeof(T)) == 0);
  for (const int64_t b : {1, 3})
    CHECK_SMALL(orthogonality(m, n, Q.data() + b * m * n), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
  CHECK(std::isnan(Q[2 * m * n]) && std::isnan(Q[3 * m * n - 1]));
  for (int64_t i = 0; i < m; ++i) CHECK_SMALL(std::abs(Q[3 * m * n + i * n] - 1.0 / std::sqrt(m)), 1e-6);
}

TEST(orthonormalize_completes_what_is_dependent) {
  dependent<float>(20, 6);
  dependent<double>(20, 6);
  dependent<float>(20, 20);
  dependent<float>(90, 6);
  dependent<double>(66, 66);
  const auto zero = orthonormalized<float>(1, 5, 5, std::vector<float>(25, 0.0f));
  CHECK(zero.second[0] == 2);
  CHECK_SMALL(orthogonality(5, 5, zero.first.data()), 1e-6);
  CHECK(orthonormalized<float>(0, 3, 2, {}).second.empty());
  CHECK(orthonormalized<float>(1, 3, 0, {}).second[0] == 0);
}

}  // namespace
