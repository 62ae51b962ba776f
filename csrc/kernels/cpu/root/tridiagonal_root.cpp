#include "kernels/cpu/root/tridiagonal_root.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/simd/kernels.h"

namespace kronla {
namespace {

using kernels::kLanes;
using kernels::kShifts;

constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// Gerschgorin's circles.
double largest_bound(int64_t n, const double* d, const double* e) {
  double bound = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double before = i > 0 ? std::abs(e[i - 1]) : 0.0, after = i + 1 < n ? std::abs(e[i]) : 0.0;
    bound = std::max(bound, d[i] + before + after);
  }
  return bound;
}

// The largest of upper · ratio^k, k = 1 … kShifts, below λmin; 0 if there is none.
double largest_below(int64_t n, const double* d, const double* e, double upper, double ratio,
                     const kernels::Kernels<double>& set) {
  double shifts[kShifts], least[kShifts];
  for (int64_t k = 0; k < kShifts; ++k) shifts[k] = upper *= ratio;
  set.least_pivots(n, d, e, shifts, least);
  for (int64_t k = 0; k < kShifts; ++k)
    if (least[k] > 0.0) return shifts[k];
  return 0.0;
}

}  // namespace

SpectrumBounds spectrum_bounds(int64_t n, const double* d, const double* e, const kernels::Kernels<double>& set) {
  const double upper = largest_bound(n, d, e), decade = largest_below(n, d, e, upper, 0.1, set);
  if (!(decade > 0.0)) return {0.0, upper};
  // Then within the decade. Its end is below λmin, so that one of them is.
  const double ratio = std::pow(0.1, 1.0 / static_cast<double>(kShifts));
  return {std::max(decade, largest_below(n, d, e, 10.0 * decade, ratio, set)), upper};
}

template <class T>
void tridiagonal_root(int64_t n, const double* d, const double* e, const SpectrumBounds& bounds, int64_t p,
                      const RootQuadrature& quadrature, T* F, Worker& worker, const kernels::Kernels<T>& set) {
  const Worker::Scope scope(worker);
  // T^(-1/p) = lower^(-1/p) (T/lower)^(-1/p), and the resolvents of T/lower are `lower` times those of T.
  const int64_t poles = static_cast<int64_t>(quadrature.shifts.size()), count = round_up(poles, kernels::kTerms),
                stride = round_up(count, kLanes / 2);
  double *shifts = worker.take<double>(stride), *weights = worker.take<double>(stride);
  const double unit = std::pow(bounds.lower, 1.0 - 1.0 / static_cast<double>(p));
  for (int64_t j = 0; j < stride; ++j) {
    shifts[j] = j < poles ? bounds.lower * quadrature.shifts[j] : bounds.upper;
    weights[j] = j < poles ? unit * quadrature.weights[j] : 0.0;
  }
  const kernels::Resolvents resolvents{n,
                                       d,
                                       e,
                                       count,
                                       stride,
                                       shifts,
                                       weights,
                                       worker.take<double>(n * stride),
                                       worker.take<double>(n * stride),
                                       worker.take<double>(stride)};
  set.resolvents(resolvents);
  const int64_t room_of_piece = (count + kernels::kTileRows) * kLanes;
  const double work = 0.5 * static_cast<double>(n * n * count);
  share_with_room<double>(worker, round_up(n, kLanes) / kLanes, room_of_piece, work, [&](int64_t piece, double* room) {
    set.resolvent_columns(resolvents, piece * kLanes, std::min((piece + 1) * kLanes, n), F, n, room);
  });
}

template void tridiagonal_root<float>(int64_t, const double*, const double*, const SpectrumBounds&, int64_t,
                                      const RootQuadrature&, float*, Worker&, const kernels::Kernels<float>&);
template void tridiagonal_root<double>(int64_t, const double*, const double*, const SpectrumBounds&, int64_t,
                                       const RootQuadrature&, double*, Worker&, const kernels::Kernels<double>&);

}  // namespace kronla
