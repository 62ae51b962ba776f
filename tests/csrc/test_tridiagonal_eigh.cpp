#include "kernels/cpu/eigh/tridiagonal_eigh.h"

#include <cmath>
#include <numeric>

#include "cblas.h"
#include "instruction_sets.h"
#include "kernels/cpu/eigh/rank_one_update.h"
#include "kernels/cpu/simd/kernels.h"
#include "testing.h"
#include "tridiagonals.h"

using namespace kronla;
using namespace kronla::testing;

extern "C" {
void scipy_dstedc_(const char*, const int*, double*, double*, double*, const int*, double*, const int*, int*,
                   const int*, int*, size_t);
void scipy_sstedc_(const char*, const int*, float*, float*, float*, const int*, float*, const int*, int*, const int*,
                   int*, size_t);
}

namespace {

const std::vector<int64_t> kSizes = {0, 1, 2, 3, 5, 8, 9, 16, 17, 31, 32, 33, 48, 64, 65, 100, 128, 200, 257, 400};

// ---- measures ----

// In roundings of T: the largest ‖Tz − λz‖ over ‖T‖, and the largest element of ZZᵀ − I.
struct Errors {
  double residual = 0.0, orthogonality = 0.0;
};

template <class T>
Errors errors_of(const Tridiagonal& t, const std::vector<double>& eigenvalues, const std::vector<T>& Z) {
  const int64_t n = t.n();
  const double norm = t.norm() > 0.0 ? t.norm() : 1.0;
  const std::vector<double> rows(Z.begin(), Z.end());
  Errors errors;
  for (int64_t k = 0; k < n; ++k) {
    const double* z = rows.data() + k * n;
    double square = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      double r = (t.d[i] - eigenvalues[k]) * z[i];
      if (i > 0) r += t.e[i - 1] * z[i - 1];
      if (i + 1 < n) r += t.e[i] * z[i + 1];
      square += (r / norm) * (r / norm);
    }
    errors.residual = std::max(errors.residual, std::sqrt(square) / rounding<T>());
    if (square != square) errors.residual = square;
  }
  const int size = static_cast<int>(n);
  std::vector<double> gram(n * n);
  if (n > 0)
    scipy_cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, size, size, size, 1.0, rows.data(), size, rows.data(),
                      size, 0.0, gram.data(), size);
  for (int64_t i = 0; i < n * n; ++i) {
    const double gap = std::abs(gram[i] - (i % (n + 1) == 0 ? 1.0 : 0.0)) / rounding<T>();
    if (!(gap <= errors.orthogonality)) errors.orthogonality = gap;
  }
  return errors;
}

template <class T, class Routine>
void by_lapack(Routine&& stedc, const Tridiagonal& t, std::vector<T>& d, std::vector<T>& Z) {
  const int n = static_cast<int>(t.n()), ldz = std::max(n, 1), lwork = 1 + 4 * n + n * n, liwork = 3 + 5 * n;
  std::vector<T> e(t.e.begin(), t.e.end()), work(lwork);
  std::vector<int> iwork(liwork);
  e.push_back(T(0));
  d.assign(t.d.begin(), t.d.end());
  Z.assign(n * n, T(0));
  int info = 0;
  scipy_openblas_set_num_threads(1);
  stedc("I", &n, d.data(), e.data(), Z.data(), &ldz, work.data(), &lwork, iwork.data(), &liwork, &info, size_t{1});
  CHECK(info == 0);
}

Errors errors_of_lapack(const Tridiagonal& t, float) {
  std::vector<float> d, Z;
  by_lapack(scipy_sstedc_, t, d, Z);
  return errors_of(t, as<float, double>(d), Z);
}
Errors errors_of_lapack(const Tridiagonal& t, double) {
  std::vector<double> d, Z;
  by_lapack(scipy_dstedc_, t, d, Z);
  return errors_of(t, d, Z);
}

// What a float32 matrix holds: all routines then begin with the same one.
Tridiagonal as_float(Tridiagonal t) {
  for (double& x : t.d) x = static_cast<double>(static_cast<float>(x));
  for (double& x : t.e) x = static_cast<double>(static_cast<float>(x));
  return t;
}

template <class T>
struct Solved {
  bool converged;
  std::vector<double> eigenvalues;
  std::vector<T> Z;
};

template <class T>
Solved<T> solve(const Tridiagonal& t, const Parallel& team = {}) {
  std::vector<double> d = t.d, e = t.e;
  std::vector<T> Z(t.n() * t.n(), std::numeric_limits<T>::quiet_NaN());
  Worker worker;
  worker.team = team;
  const bool converged = tridiagonal_eigh(t.n(), d.data(), e.data(), Z.data(), worker);
  return {converged, d, Z};
}

// The largest distance of two eigenvalues of the same rank, over the norm and what size n is allowed.
double eigenvalue_error(const Tridiagonal& t, const std::vector<double>& found, const std::vector<double>& reference) {
  double gap = 0.0;
  for (int64_t i = 0; i < t.n(); ++i) gap = std::max(gap, std::abs(found[i] - reference[i]));
  return gap / std::max(t.norm(), 1e-300) / (10.0 + 4.0 * std::sqrt(static_cast<double>(t.n())));
}

template <class T>
void check(const char* name, Tridiagonal t) {
  if (sizeof(T) == sizeof(float)) t = as_float(t);
  const int before = failures();
  const int64_t n = t.n();
  const auto [converged, eigenvalues, Z] = solve<T>(t);
  CHECK(converged);
  CHECK(std::is_sorted(eigenvalues.begin(), eigenvalues.end()));
  const Errors errors = errors_of(t, eigenvalues, Z), lapack = errors_of_lapack(t, T(0));
  const double root = std::sqrt(static_cast<double>(n));
  // Not twice LAPACK's errors, which are close to none where little is to do.
  CHECK_SMALL(errors.residual, std::max(2.0 * lapack.residual, 8.0 + root));
  CHECK_SMALL(errors.orthogonality, std::max(2.0 * lapack.orthogonality, 16.0 + 2.0 * root));
  CHECK_SMALL(errors.residual, 10.0 + root);
  CHECK_SMALL(errors.orthogonality, 24.0 + 2.0 * root);
  std::vector<double> reference, unused;
  by_lapack(scipy_dstedc_, t, reference, unused);
  CHECK_SMALL(eigenvalue_error(t, eigenvalues, reference), rounding<T>());
  if (failures() > before) std::printf("  %s, n = %d\n", name, static_cast<int>(n));
}

template <class T>
void check_all() {
  for (const auto& [name, make] : kStructures)
    for (const int64_t n : kSizes) check<T>(name, make(n));
}

// ---- kernels ----

// Poles whose gaps are from 1e-14 to 1, and weights from 1e-14 to 1.
struct Update {
  std::vector<double> d, z;
  double rho;
};
Update uneven(int64_t k) {
  Update update{{}, {}, 0.6};
  const std::vector<double> x = normal<double>(2 * k, 11);
  double pole = -0.5, square = 0.0;
  for (int64_t i = 0; i < k; ++i) {
    pole += std::pow(10.0, -14.0 * std::abs(std::sin(3.0 * static_cast<double>(i)))) / static_cast<double>(k);
    update.d.push_back(pole);
    update.z.push_back(x[i] * std::pow(10.0, -13.0 * std::pow(std::cos(2.0 * static_cast<double>(i)), 6)));
    square += update.z[i] * update.z[i];
  }
  for (double& z : update.z) z /= std::sqrt(square);
  return update;
}

// Part of a Wilkinson matrix glued by 1e-14. At pole 18, of weight 4e-22, the other terms cancel to ten digits: its root is
// 3.5e-12 away, although all that is near the pole suggests 3e-22.
Update coincident() {
  return {
      {-0x1.201cef8317f1dp-3, 0x1.03e5abf8cb204p-5, 0x1.e52338e49049bp-4, 0x1.ca10ef992588cp-3, 0x1.10aaa88740bfdp-2,
       0x1.7b03332ae0e5cp-2,  0x1.858366c63459cp-2, 0x1.ff6999c4ed69ep-2, 0x1.003e405ea9a3fp-1, 0x1.3edf0955ead4ap-1,
       0x1.4000453d4ebf6p-1,  0x1.78b8c160d38ecp-1, 0x1.8003b2fae70e9p-1, 0x1.b618e6f7e6d69p-1, 0x1.c040bfe80fd08p-1,
       0x1.e57d86660310bp-1,  0x1.013f01723e987p+0, 0x1.0931ddb1cbc06p+0, 0x1.26bde125885c8p+0, 0x1.4d413cccfe77ap+0,
       0x1.57e0d29f81208p+0,  0x1.57e0d29f8121dp+0},
      {0x1.0c1d95d04498cp-19, -0x1.ec4565efb0058p-16, 0x1.ca702819c6ddfp-14,  -0x1.1c34ce6d4b2f3p-11,
       0x1.d2b7d897c976dp-11, -0x1.11b848d8414d3p-8,  0x1.23703fa20bb2ep-8,   -0x1.82e7c17c7f92ep-6,
       0x1.4ffdf77b74f57p-6,  -0x1.0c4a9d662d6d7p-3,  0x1.c2996c0c45b7p-10,   -0x1.665afbdd70175p-2,
       0x1.b4797052cc48cp-16, 0x1.ca01073e9d0f5p-2,   -0x1.5260f1233092bp-21, -0x1.4e7ae9144f0fcp-1,
       0x1.092d629b275ddp-27, -0x1.98b3cf75eed0ep-2,  -0x1.4bb7137f1be64p-36, -0x1.1517a7bdb389bp-2,
       0x1.868f2e3b3ef9fp-48, 0x1.16a1378ec7c14p-45},
      0.25};
}

// `least`: the z below which only absolute errors count.
template <class T>
void check_kernels(const kernels::Kernels<T>& set, const Update& update, double least = 0.0) {
  const auto& [d, z, rho] = update;
  const int64_t k = static_cast<int64_t>(d.size());
  using kernels::Secular;
  const int64_t padded = Secular::padded(k), lds = leading_dimension(k);
  std::vector<double> poles = d, squares(padded), origin(padded), offset(padded), weights(padded), row(lds);
  for (int64_t j = k; j < padded; ++j) poles.push_back(poles.back() + 2.0 * rho);
  for (int64_t j = 0; j < k; ++j) squares[j] = z[j] * z[j];
  const Secular equation{k, 1.0 / rho, poles.data(), squares.data(), origin.data(), offset.data()};
  CHECK(set.secular_roots(equation, 0, k));
  set.secular_weights(equation, 0, k, weights.data());
  double change = 0.0;
  for (int64_t j = 0; j < k; ++j) {
    const double above = j + 1 < k ? d[j + 1] : d[j] + 2.0 * rho;
    CHECK((origin[j] - d[j]) + offset[j] > 0.0 && (above - origin[j]) - offset[j] > 0.0);
    weights[j] = std::copysign(weights[j] / std::sqrt(rho), z[j]);
    change = std::max(change, std::abs(weights[j] - z[j]) / std::max(std::abs(z[j]), least));
  }
  CHECK_SMALL(change, 1e-15 * (8.0 + static_cast<double>(k)));
  std::vector<double> column_d = poles;
  for (int64_t j = k; j < padded; ++j) {
    column_d[j] = poles[k + 1];
    weights[j] = 0.0;
  }
  std::vector<T> S(k * lds);
  set.secular_vectors({k, column_d.data(), weights.data(), origin.data(), offset.data(), S.data(), lds, row.data()}, 0,
                      k);
  double gap = 0.0, residual = 0.0;
  for (int64_t i = 0; i < k; ++i) {
    double product = 0.0;
    for (int64_t c = 0; c < k; ++c) product += z[c] * static_cast<double>(S[i * lds + c]);
    for (int64_t c = 0; c < k; ++c)
      residual = std::max(residual, std::abs(((d[c] - origin[i]) - offset[i]) * static_cast<double>(S[i * lds + c]) +
                                             rho * product * z[c]));
    for (int64_t j = 0; j <= i; ++j) {
      double dot = i == j ? -1.0 : 0.0;
      for (int64_t c = 0; c < k; ++c) dot += static_cast<double>(S[i * lds + c]) * static_cast<double>(S[j * lds + c]);
      gap = std::max(gap, std::abs(dot));
    }
  }
  CHECK_SMALL(gap, 20.0 * rounding<T>());
  CHECK_SMALL(residual, 10.0 * rounding<T>());
}

// Leaves of different sizes side by side.
void check_ql(const kernels::Kernels<double>& set, unsigned seed) {
  using kernels::kLeaf, kernels::kLeaves;
  std::vector<Tridiagonal> matrices;
  kernels::Leaves leaves{};
  for (int64_t l = 0; l < kLeaves; ++l) {
    Tridiagonal t = random(1 + (l + seed) % kLeaf, seed + l);
    if ((seed + l) % 5 == 0) std::fill(t.e.begin(), t.e.end(), 0.0);
    const double scale = 1.0 / t.norm();
    for (double& x : t.d) x *= scale;
    for (double& x : t.e) x *= scale;
    for (int64_t i = 0; i < t.n(); ++i) {
      leaves.d[i][l] = t.d[i];
      leaves.e[i][l] = i + 1 < t.n() ? t.e[i] : 0.0;
    }
    matrices.push_back(t);
  }
  CHECK(set.ql(kLeaves, leaves));
  for (int64_t l = 0; l < kLeaves; ++l) {
    const int64_t n = matrices[l].n();
    std::vector<double> d(n), Z(n * n);
    for (int64_t i = 0; i < n; ++i) d[i] = leaves.d[i][l];
    for (int64_t i = 0; i < n * n; ++i) Z[i] = leaves.Z[i / n][i % n][l];
    const Errors errors = errors_of(matrices[l], d, Z);
    CHECK_SMALL(errors.residual, 15.0);
    CHECK_SMALL(errors.orthogonality, 30.0);
  }
}

}  // namespace

TEST(every_structure_float) { check_all<float>(); }
TEST(every_structure_double) { check_all<double>(); }

TEST(known_eigenvalues) {
  for (const int64_t n : {2, 7, 16, 30, 64, 150, 300}) {
    const auto toeplitz = solve<double>(tridiagonal(n, constant(2.0), constant(-1.0)));
    const auto clement = solve<double>(kStructures[13].second(n));
    double gap = 0.0, other = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      const double sine =
          std::sin(0.5 * 3.14159265358979323846 * static_cast<double>(i + 1) / static_cast<double>(n + 1));
      gap = std::max(gap, std::abs(toeplitz.eigenvalues[i] - 4.0 * sine * sine));
      other = std::max(other, std::abs(clement.eigenvalues[i] - static_cast<double>(2 * i - n + 1)));
    }
    CHECK_SMALL(gap, 40.0 * rounding<double>());
    CHECK_SMALL(other, 10.0 * static_cast<double>(n) * rounding<double>());
  }
}

TEST(threads_do_not_change_the_bits) {
  const auto compute = [](auto zero, const Tridiagonal& t) {
    using T = decltype(zero);
    SAME_BITS([&](const Parallel& team) {
      Solved<T> solved = solve<T>(t, team);
      solved.Z.insert(solved.Z.end(), solved.eigenvalues.begin(), solved.eigenvalues.end());
      return solved.Z;
    });
  };
  for (const Tridiagonal& t : {random(600, 4), glued_wilkinson(300, 1e-7)}) {
    compute(0.0f, t);
    compute(0.0, t);
  }
}

TEST(every_instruction_set) {
  for (const int64_t k : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 130, 301}) {
    for (const auto& [name, set] : every_set<float>()) check_kernels(*set, uneven(k));
    for (const auto& [name, set] : every_set<double>()) check_kernels(*set, uneven(k));
  }
  for (const auto& [name, set] : every_set<double>()) check_kernels(*set, coincident(), 1.0);
  for (unsigned seed = 1; seed < 100; ++seed)
    for (const auto& [name, set] : every_set<double>()) check_ql(*set, seed);
}

TEST(what_is_not_finite_comes_to_an_end) {
  for (const double value : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    for (const int64_t n : {1, 5, 16, 40, 130}) {
      Tridiagonal t = random(n, 6);
      t.d[n / 2] = value;
      solve<float>(t);
      solve<double>(t);
      if (n == 1) continue;
      t = random(n, 6);
      t.e[n / 3] = value;
      solve<float>(t);
      solve<double>(t);
    }
}
