#include "kernels/eigenbasis.h"

#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

const BasisMethod kMethods[] = {BasisMethod::Automatic, BasisMethod::Rotation, BasisMethod::Qr, BasisMethod::Eigh};

template <class T>
struct Bases {
  std::vector<T> Q, eigenvalues, ratio;
  std::vector<int32_t> steps, info;
  Bases(int64_t batch, int64_t n)
      : Q(batch * n * n), eigenvalues(batch * n), ratio(batch), steps(batch, -1), info(batch, -1) {}
  BasisGroup<T> group(int64_t n, const std::vector<T>& A, const std::vector<T>& Q_old, BasisMethod method) {
    const auto batch = static_cast<int64_t>(info.size());
    return {batch,        n,          A.data(), Q_old.data(), method, Q.data(), eigenvalues.data(), ratio.data(),
            steps.data(), info.data()};
  }
  std::vector<T> all() const {
    std::vector<T> x = Q;
    for (const auto* part : {&eigenvalues, &ratio}) x.insert(x.end(), part->begin(), part->end());
    return x;
  }
};

template <class T>
Bases<T> update(int64_t batch, int64_t n, const std::vector<T>& A, const std::vector<T>& Q, BasisMethod method,
                double tol, int64_t max_steps, const Parallel& parallel) {
  Bases<T> result(batch, n);
  update_eigenbasis<T>({result.group(n, A, Q, method)}, tol, max_steps, parallel);
  return result;
}

// QᵀAQ, naively and in float64: its diagonal, and the norm of the rest over ‖A‖_F.
template <class T>
std::pair<std::vector<double>, double> rayleigh(int64_t n, const T* A, const T* Q) {
  const auto AQ = multiply(n, n, n, A, false, Q, false);
  const auto B = multiply(n, n, n, Q, true, AQ.data(), false);
  std::vector<double> diagonal(static_cast<size_t>(n));
  double off = 0.0, norm = 0.0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      (i == j ? diagonal[i] : off) += i == j ? B[i * n + j] : B[i * n + j] * B[i * n + j];
      norm += static_cast<double>(A[i * n + j]) * static_cast<double>(A[i * n + j]);
    }
  return {diagonal, norm > 0.0 ? std::sqrt(off / norm) : 0.0};
}

// Givens rotations of neighbours among the first columns of Q[n,n].
void turn_neighbours(int64_t n, int64_t columns, double angle, std::vector<double>& Q) {
  for (int64_t j = 0; j + 1 < columns; ++j)
    for (int64_t i = 0; i < n; ++i) {
      const double a = Q[i * n + j], b = Q[i * n + j + 1];
      Q[i * n + j] = std::cos(angle) * a + std::sin(angle) * b;
      Q[i * n + j + 1] = std::cos(angle) * b - std::sin(angle) * a;
    }
}

// A with a known basis, and that basis turned a little.
template <class T>
std::pair<std::vector<T>, std::vector<T>> drifted(int64_t n, unsigned seed, double angle = 0.02) {
  const auto Q = orthogonal(n, seed);
  auto turned = Q;
  turn_neighbours(n, n, angle, turned);
  return {as<double, T>(with_spectrum(Q, log_uniform(n, 1e3))), as<double, T>(turned)};
}

template <class T>
void one_step(int64_t n, BasisMethod method) {
  const auto [A, Q] = drifted<T>(n, 1);
  const auto all = SAME_BITS(
      [&, &A = A, &Q = Q](const Parallel& parallel) { return update<T>(1, n, A, Q, method, 0.0, 1, parallel).all(); });
  const auto result = update<T>(1, n, A, Q, method, 0.0, 1, serial());
  CHECK(same_bits(all, result.all()));
  const double tolerance = 8.0 * static_cast<double>(std::max<int64_t>(n, 4)) * rounding<T>();
  const auto [diagonal, ratio] = rayleigh(n, A.data(), result.Q.data());
  const double before = rayleigh(n, A.data(), Q.data()).second;
  CHECK_SMALL(orthogonality(n, n, result.Q.data()), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
  CHECK_SMALL(relative_error(result.eigenvalues, diagonal), tolerance);
  CHECK_SMALL(std::abs(static_cast<double>(result.ratio[0]) - ratio), tolerance);
  CHECK_SMALL(ratio, before + tolerance);
  CHECK(result.info[0] == 0 && result.steps[0] == 1);
  for (int64_t j = 0; j < n; ++j) {  // diag(QᵀQ_old) ≥ 0, and columns stay where they were
    double dot = 0.0;
    for (int64_t i = 0; i < n; ++i) dot += static_cast<double>(result.Q[i * n + j]) * static_cast<double>(Q[i * n + j]);
    CHECK(dot > 0.9);
  }
}

TEST(a_step_keeps_order_and_signs_and_tells_the_truth) {
  for (const BasisMethod method : kMethods)
    for (const int64_t n : {1, 2, 5, 31, 32, 33, 65}) {
      one_step<float>(n, method);
      one_step<double>(n, method);
    }
}

TEST(the_order_of_the_caller_is_kept) {
  // The columns of a good basis, reversed: they must come back reversed.
  const int64_t n = 12;
  const auto Q = orthogonal(n, 2);
  const auto values = log_uniform(n, 100.0);
  const auto A = with_spectrum(Q, values);
  std::vector<double> reversed(Q.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) reversed[i * n + j] = -Q[i * n + n - 1 - j];
  for (const BasisMethod method : kMethods) {
    const auto result = update<double>(1, n, A, reversed, method, 0.0, 1, serial());
    CHECK_SMALL(relative_error(result.Q, reversed), 1e-11);
  }
}

// Half of the columns are null, the others turned among themselves; all in a mixed order.
void null_columns(int64_t n) {
  const int64_t rank = n / 2;
  const auto Q = orthogonal(n, 30);
  auto values = log_uniform(n, 1e3);
  std::fill(values.begin() + rank, values.end(), 0.0);
  const auto A = as<double, float>(with_spectrum(Q, values));
  auto turned = Q;
  turn_neighbours(n, rank, 0.1, turned);
  std::vector<float> old(Q.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) old[i * n + j * 37 % n] = static_cast<float>(turned[i * n + j]);
  const auto step = [&](const Parallel& parallel) {
    return update<float>(1, n, A, old, BasisMethod::Rotation, 0.0, 1, parallel);
  };
  const auto found = step(serial());
  CHECK(same_bits(found.all(), SAME_BITS([&](const Parallel& parallel) { return step(parallel).all(); })));
  CHECK_SMALL(rayleigh(n, A.data(), found.Q.data()).second, 0.2 * rayleigh(n, A.data(), old.data()).second);
  for (int64_t j = rank; j < n; ++j) {
    double moved = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      const double d = static_cast<double>(found.Q[i * n + j * 37 % n]) - static_cast<double>(old[i * n + j * 37 % n]);
      moved += d * d;
    }
    CHECK_SMALL(std::sqrt(moved), 2e-6);
  }
}

TEST(null_columns_stay_where_they_are) {
  for (const int64_t n : {64, 80, 97, 128}) null_columns(n);
}

TEST(below_the_tolerance_nothing_moves) {
  const int64_t n = 33;
  const auto [A, Q] = drifted<float>(n, 3);
  for (const BasisMethod method : kMethods) {
    const auto still = update<float>(1, n, A, Q, method, 0.9, 5, serial());
    CHECK(same_bits(still.Q, Q) && still.steps[0] == 0 && still.info[0] == 0);
    const auto looked = update<float>(1, n, A, Q, method, 0.0, 0, serial());
    CHECK(same_bits(looked.Q, Q) && looked.steps[0] == 0 && looked.info[0] == 0);
    const auto short_of = update<float>(1, n, A, Q, method, 1e-12, 0, serial());
    CHECK(same_bits(short_of.Q, Q) && short_of.info[0] == 1);
  }
}

TEST(equal_diagonals_escape_from_the_identity) {
  // Toeplitz: the diagonal is constant, and I is a stationary point of first-order rotations.
  const int64_t n = 16;
  std::vector<double> A(n * n), I(n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    I[i * n + i] = 1.0;
    for (int64_t j = 0; j < n; ++j) A[i * n + j] = std::pow(0.9, static_cast<double>(std::abs(i - j)));
  }
  for (const BasisMethod method : {BasisMethod::Automatic, BasisMethod::Rotation, BasisMethod::Eigh}) {
    const auto result = update<double>(1, n, A, I, method, 1e-6, 40, serial());
    CHECK(result.info[0] == 0);
    CHECK_SMALL(static_cast<double>(result.ratio[0]), 1e-6);
  }
}

TEST(a_bad_matrix_keeps_its_basis_and_touches_no_other) {
  const int64_t n = 20, size = n * n;
  std::vector<float> A, Q;
  for (unsigned b = 0; b < 4; ++b) {
    const auto [a, q] = drifted<float>(n, 10 + b);
    A.insert(A.end(), a.begin(), a.end());
    Q.insert(Q.end(), q.begin(), q.end());
  }
  for (const BasisMethod method : kMethods) {
    const auto clean = update<float>(4, n, A, Q, method, 0.0, 2, threads(3));
    auto A_bad = A, Q_bad = Q;
    A_bad[size + 3] = A_bad[size + 3 * n] = std::numeric_limits<float>::infinity();
    Q_bad[2 * size] = std::nanf("");
    const auto dirty = update<float>(4, n, A_bad, Q_bad, method, 0.0, 2, threads(3));
    CHECK((dirty.info == std::vector<int32_t>{0, 3, 3, 0}));
    CHECK(std::isnan(dirty.ratio[1]) && std::isnan(dirty.eigenvalues[n]) && std::isnan(dirty.ratio[2]));
    CHECK(std::memcmp(dirty.Q.data() + size, Q_bad.data() + size, 2 * size * sizeof(float)) == 0);
    for (const int64_t b : {0, 3}) {
      CHECK(std::memcmp(dirty.Q.data() + b * size, clean.Q.data() + b * size, size * sizeof(float)) == 0);
      CHECK(dirty.ratio[b] == clean.ratio[b]);
    }
  }
}

template <class T>
void eigh_of(int64_t n) {
  const auto values = log_uniform(n, 1e3);
  const auto A = as<double, T>(with_spectrum(orthogonal(n, 4), values));
  const std::vector<double> ascending(values.rbegin(), values.rend());
  const auto all = SAME_BITS([&](const Parallel& parallel) {
    Bases<T> result(1, n);
    eigh<T>({result.group(n, A, A, BasisMethod::Eigh)}, parallel);
    return result.all();
  });
  Bases<T> result(1, n);
  eigh<T>({result.group(n, A, A, BasisMethod::Eigh)}, serial());
  CHECK(same_bits(all, result.all()));
  const double tolerance = 8.0 * static_cast<double>(std::max<int64_t>(n, 4)) * rounding<T>();
  CHECK_SMALL(relative_error(result.eigenvalues, ascending), tolerance);
  CHECK_SMALL(rayleigh(n, A.data(), result.Q.data()).second, tolerance);
  CHECK_SMALL(orthogonality(n, n, result.Q.data()), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
  CHECK(std::is_sorted(result.eigenvalues.begin(), result.eigenvalues.end()) && result.info[0] == 0);
}

TEST(eigh_matches_known_spectra) {
  for (const int64_t n : {1, 2, 5, 33, 65}) {
    eigh_of<float>(n);
    eigh_of<double>(n);
  }
}

TEST(a_ragged_list_has_the_bits_of_single_calls) {
  const int64_t sizes[] = {5, 64, 1, 33};
  std::vector<std::vector<float>> As, Qs;
  std::vector<Bases<float>> results;
  std::vector<BasisGroup<float>> groups;
  for (const int64_t n : sizes) {
    const auto [A, Q] = drifted<float>(n, static_cast<unsigned>(n));
    As.push_back(A);
    Qs.push_back(Q);
    results.emplace_back(1, n);
  }
  for (size_t i = 0; i < As.size(); ++i)
    groups.push_back(results[i].group(sizes[i], As[i], Qs[i], BasisMethod::Automatic));
  update_eigenbasis(groups, 0.0, 2, threads(3));
  for (size_t i = 0; i < As.size(); ++i) {
    const auto alone = update<float>(1, sizes[i], As[i], Qs[i], BasisMethod::Automatic, 0.0, 2, serial());
    CHECK(same_bits(alone.all(), results[i].all()));
  }
}

TEST(empty_and_zero) {
  for (const BasisMethod method : kMethods) {
    const auto empty = update<float>(2, 0, {}, {}, method, 0.0, 3, threads(2));
    CHECK((empty.info == std::vector<int32_t>{0, 0}) && empty.ratio[0] == 0.0f);
    update<float>(0, 4, {}, {}, method, 0.0, 3, threads(2));
    const auto Q = as<double, float>(orthogonal(6, 5));
    const auto zero = update<float>(1, 6, std::vector<float>(36, 0.0f), Q, method, 0.1, 3, serial());
    CHECK(zero.info[0] == 0 && zero.ratio[0] == 0.0f && same_bits(zero.Q, Q));
  }
  update_eigenbasis<float>({}, 0.0, 1, threads(2));
}

TEST(the_ratio_alone) {
  const int64_t batch = 3, n = 33;
  std::vector<float> A, Q;
  for (unsigned b = 0; b < batch; ++b) {
    const auto [a, q] = drifted<float>(n, 20 + b, 0.3);
    A.insert(A.end(), a.begin(), a.end());
    Q.insert(Q.end(), q.begin(), q.end());
  }
  const auto ratio = SAME_BITS([&](const Parallel& parallel) {
    std::vector<float> out(batch);
    off_diagonal_ratio<float>(batch, n, A.data(), Q.data(), out.data(), parallel);
    return out;
  });
  for (int64_t b = 0; b < batch; ++b) {
    const double exact = rayleigh(n, A.data() + b * n * n, Q.data() + b * n * n).second;
    CHECK_SMALL(std::abs(static_cast<double>(ratio[b]) - exact), 1e-5);
  }
}

// `common` times one vector is added to all columns: nearly parallel ones, where it is large.
template <class T>
void orthonormal(int64_t m, int64_t n, double common = 0.0) {
  auto S = normal<T>(m * n, 6);
  const auto direction = normal<double>(m, 8);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) S[i * n + j] += static_cast<T>(common * direction[i]);
  std::vector<int32_t> info(1, -1);
  const auto Q = SAME_BITS([&](const Parallel& parallel) {
    std::vector<T> out(S.size());
    orthonormalize<T>(1, m, n, S.data(), out.data(), info.data(), parallel);
    return out;
  });
  CHECK(info[0] == 0);
  CHECK_SMALL(orthogonality(m, n, Q.data()), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<T>());
  // R = QᵀS is upper triangular with a positive diagonal.
  const auto R = multiply(n, n, m, Q.data(), true, S.data(), false);
  double below = 0.0, norm = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    CHECK(R[i * n + i] > 0.0);
    for (int64_t j = 0; j < n; ++j) {
      norm += R[i * n + j] * R[i * n + j];
      if (j < i) below += R[i * n + j] * R[i * n + j];
    }
  }
  CHECK_SMALL(std::sqrt(below / norm), 16.0 * static_cast<double>(m) * rounding<T>());
}

TEST(orthonormalize_gives_the_q_of_qr) {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 1}, {5, 5}, {33, 1}, {65, 33}, {64, 64}, {129, 31}}) {
    orthonormal<float>(m, n);
    orthonormal<double>(m, n);
  }
  // Several panels; Gram matrices that one pass of Cholesky does, and that two do.
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{65, 65}, {140, 128}, {135, 129}, {200, 193}})
    for (const double common : {0.0, 1e2, 1e4}) {
      orthonormal<float>(m, n, common);
      orthonormal<double>(m, n, common);
    }
}

TEST(dependent_columns_of_different_panels) {
  const int64_t m = 210, n = 150;
  for (const int64_t copy : {1, 63, 64, 100, 149}) {
    auto S = normal<float>(m * n, 9);
    for (int64_t i = 0; i < m; ++i) S[i * n + copy] = S[i * n];
    std::vector<float> Q(S.size());
    std::vector<int32_t> info(1);
    orthonormalize<float>(1, m, n, S.data(), Q.data(), info.data(), serial());
    CHECK(info[0] == 2);
    CHECK_SMALL(orthogonality(m, n, Q.data()), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<float>());
  }
}

TEST(orthonormalize_completes_what_is_dependent) {
  const int64_t m = 20, n = 6;
  auto S = normal<float>(3 * m * n, 7);
  for (int64_t i = 0; i < m; ++i) S[m * n + i * n + 4] = S[m * n + i * n + 1];  // a column twice
  S[2 * m * n + 5] = std::nanf("");
  std::vector<float> Q(S.size()), alone(m * n);
  std::vector<int32_t> info(3), info_alone(1);
  orthonormalize<float>(3, m, n, S.data(), Q.data(), info.data(), threads(2));
  orthonormalize<float>(1, m, n, S.data(), alone.data(), info_alone.data(), serial());
  CHECK((info == std::vector<int32_t>{0, 2, 3}));
  CHECK(std::memcmp(alone.data(), Q.data(), alone.size() * sizeof(float)) == 0);
  CHECK_SMALL(orthogonality(m, n, Q.data() + m * n), 84.0 * std::sqrt(static_cast<double>(n)) * rounding<float>());
  CHECK(std::isnan(Q[2 * m * n]));
  orthonormalize<float>(0, 3, 2, nullptr, nullptr, nullptr, threads(2));
  orthonormalize<float>(1, 3, 0, nullptr, nullptr, info.data(), serial());
  CHECK(info[0] == 0);
}

}  // namespace
