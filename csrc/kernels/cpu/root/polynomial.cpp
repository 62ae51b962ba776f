#include "kernels/cpu/root/polynomial.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <type_traits>
#include <utility>

#include "kernels/cpu/dense.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"
#include "kernels/inverse_root.h"
#include "kernels/inverse_root_schedules.h"

namespace kronla {
namespace {

// Steps whose interval begins below run in float64. Over 1,715 cases (7 spectra, n = 16 to 257, conditions 1e1 to 1e7,
// p = 1, 4/3, 2, 3, 4, 6, 8) the error exceeded max(2 × that of a root through float32 eigh, 3e-6) in one case with
// 1e-4 or 1e-3 here, in none with 1e-2.
constexpr double kFloat64Below = 1e-2;

// Up to this size all steps run in float64: they cost next to nothing, and the rounding of few elements does not average
// out (errors of 7e-6 were seen at n = 3).
constexpr int64_t kFloat64Size = 16;

struct Chain {
  const RootStep* first = nullptr;
  int64_t count = 0;
};

Chain chain_of(int64_t r) {
  switch (r) {
    case 2:
      return {kRootSteps2, std::size(kRootSteps2)};
    case 3:
      return {kRootSteps3, std::size(kRootSteps3)};
    case 4:
      return {kRootSteps4, std::size(kRootSteps4)};
    case 6:
      return {kRootSteps6, std::size(kRootSteps6)};
    case 8:
      return {kRootSteps8, std::size(kRootSteps8)};
    default:
      return {};
  }
}

// C ← A B for commuting symmetric matrices, whose product is symmetric: one triangle, mirrored.
template <class T>
void multiply(int64_t n, const T* A, const T* B, T* C, Worker& worker) {
  if (A == B) {
    syrk(worker.team, Op::N, n, n, T(1), A, n, T(0), C, n);
  } else {
    gemmt(worker.team, Op::N, Op::N, n, n, T(1), A, n, B, n, T(0), C, n);
  }
  mirror_lower(n, C);
}

// The iterates and the room for one step, all n × n of one type. M and X change hands with the room.
template <class T>
struct Iterates {
  T *M, *X, *q, *room, *other;
  bool started = false;  // X is the identity until the first step

  Iterates(int64_t n, Worker& worker)
      : M(worker.take<T>(n * n)),
        X(worker.take<T>(n * n)),
        q(worker.take<T>(n * n)),
        room(worker.take<T>(n * n)),
        other(worker.take<T>(n * n)) {}
};

// q ← Σ_k c_k T_k(T1), T1 = (2/high) M − I, by two products: T2 = 2 T1² − I, T3 = 2 T2 T1 − T1, T4 = 2 T2² − I, so
// q = (c0 − c4) I + (c1 − c3) T1 + c2 T2 + T2 (2 c3 T1 + 2 c4 T2). In monomials the accuracy would be 25 times worse.
template <class T>
void evaluate(int64_t n, const RootStep& step, Iterates<T>& it, Worker& worker) {
  const int64_t size = n * n;
  T *T1 = it.q, *T2 = it.room, *sum = it.other;
  const T scale = static_cast<T>(2.0 / step.high);
  for (int64_t i = 0; i < size; ++i) T1[i] = scale * it.M[i];
  for (int64_t i = 0; i < n; ++i) T1[i * n + i] -= T(1);
  multiply(n, T1, T1, T2, worker);
  for (int64_t i = 0; i < size; ++i) T2[i] *= T(2);
  for (int64_t i = 0; i < n; ++i) T2[i * n + i] -= T(1);
  const T c3 = static_cast<T>(2.0 * step.c[3]), c4 = static_cast<T>(2.0 * step.c[4]);
  for (int64_t i = 0; i < size; ++i) sum[i] = c3 * T1[i] + c4 * T2[i];
  const T c1 = static_cast<T>(step.c[1] - step.c[3]), c2 = static_cast<T>(step.c[2]);
  for (int64_t i = 0; i < size; ++i) T1[i] = c1 * T1[i] + c2 * T2[i];
  for (int64_t i = 0; i < n; ++i) T1[i * n + i] += static_cast<T>(step.c[0] - step.c[4]);
  gemmt(worker.team, Op::N, Op::N, n, n, T(1), T2, n, sum, n, T(1), it.q, n);  // q is T1's buffer
  mirror_lower(n, it.q);
}

// X ← X q(M) and, unless it is the last step, M ← q(M)^r M.
template <class T>
void advance(int64_t n, const RootStep& step, int64_t r, bool last, Iterates<T>& it, Worker& worker) {
  evaluate(n, step, it, worker);
  if (it.started) {
    multiply(n, it.X, it.q, it.room, worker);
    std::swap(it.X, it.room);
  } else {
    std::copy_n(it.q, n * n, it.X);
    it.started = true;
  }
  if (last) return;
  // q² first, then r = 3: q² q; 4: (q²)²; 6: (q² q)²; 8: ((q²)²)².
  T *power = it.room, *spare = it.other;
  multiply(n, it.q, it.q, power, worker);
  const auto times = [&](const T* factor) {
    multiply(n, power, factor, spare, worker);
    std::swap(power, spare);
  };
  if (r % 3 == 0) times(it.q);
  if (r == 4 || r == 6 || r == 8) times(power);
  if (r == 8) times(power);
  multiply(n, power, it.M, spare, worker);
  std::copy_n(spare, n * n, it.M);
}

}  // namespace

bool has_root_polynomials(int64_t r) { return chain_of(r).count > 0; }

template <class T>
int64_t root_polynomial(int64_t n, const double* D, double low, double high, int64_t r, int64_t max_steps, T* Y,
                        Worker& worker) {
  const int64_t size = n * n;
  const Chain chain = chain_of(r);
  const int64_t end = std::is_same_v<T, double> ? chain.count : chain.count - 1;
  // The last step that this spectrum may enter, M = D · (its `high`)/high.
  int64_t entry = 0;
  while (entry + 2 < chain.count && chain.first[entry + 1].low <= low / high * chain.first[entry + 1].high) ++entry;
  const int64_t stop = entry + std::min(end - entry, max_steps);
  const double scale = chain.first[entry].high / high;

  int64_t k = entry;
  Iterates<double> wide(n, worker);
  for (int64_t i = 0; i < size; ++i) wide.M[i] = D[i] * scale;
  const bool all_float64 = std::is_same_v<T, double> || n <= kFloat64Size;
  const auto in_float64 = [&] { return all_float64 || chain.first[k].low < kFloat64Below; };
  for (; k < stop && in_float64(); ++k) advance(n, chain.first[k], r, k + 1 == stop, wide, worker);

  const double back = std::pow(scale, 1.0 / static_cast<double>(r));
  if (k == stop) {
    for (int64_t i = 0; i < size; ++i) Y[i] = static_cast<T>(wide.X[i] * back);
    return stop - entry;
  }
  Iterates<T> it(n, worker);
  it.started = wide.started;
  for (int64_t i = 0; i < size; ++i) it.M[i] = static_cast<T>(wide.M[i]);
  if (wide.started)
    for (int64_t i = 0; i < size; ++i) it.X[i] = static_cast<T>(wide.X[i]);
  for (; k < stop; ++k) advance(n, chain.first[k], r, k + 1 == stop, it, worker);
  for (int64_t i = 0; i < size; ++i) Y[i] = static_cast<T>(static_cast<double>(it.X[i]) * back);
  return stop - entry;
}

template <class T>
void symmetric_power(int64_t n, int64_t k, T* Y, Worker& worker) {
  if (k == 1) return;
  const int64_t size = n * n;
  T* result = worker.take<T>(size);
  T* base = worker.take<T>(size);
  T* room = worker.take<T>(size);
  std::copy_n(Y, size, base);
  bool started = false;
  for (; k > 0; k /= 2) {  // binary powers, the low bits first
    if (k % 2 == 1) {
      if (started) {
        multiply(n, result, base, room, worker);
        std::swap(result, room);
      } else {
        std::copy_n(base, size, result);
        started = true;
      }
    }
    if (k > 1) {
      multiply(n, base, base, room, worker);
      std::swap(base, room);
    }
  }
  std::copy_n(result, size, Y);
}

template int64_t root_polynomial<float>(int64_t, const double*, double, double, int64_t, int64_t, float*, Worker&);
template int64_t root_polynomial<double>(int64_t, const double*, double, double, int64_t, int64_t, double*, Worker&);
template void symmetric_power<float>(int64_t, int64_t, float*, Worker&);
template void symmetric_power<double>(int64_t, int64_t, double*, Worker&);

}  // namespace kronla
