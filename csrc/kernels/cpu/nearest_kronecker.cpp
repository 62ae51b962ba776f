// The power iterations of kernels/rearrangement.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/passes.h"
#include "kernels/factors.h"
#include "kernels/rearrangement.h"
#include "kernels/status.h"

namespace kronla {
namespace {

// x ← x/‖x‖_F, the norm in float64 and safe from overflow. False, and x as it was, for 0 and for non-finite x.
template <class T>
bool normalize(int64_t count, T* x) {
  if (!all_finite(count, x)) return false;
  const double scale = power_of_two_scale(largest_magnitude(count, x));
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    const double v = static_cast<double>(x[i]) * scale;
    sum += v * v;
  }
  if (sum == 0.0) return false;
  for (int64_t i = 0; i < count; ++i) x[i] = static_cast<T>(static_cast<double>(x[i]) * scale / std::sqrt(sum));
  return true;
}

template <class T>
void symmetrize(int64_t n, T* A) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < i; ++j) A[i * n + j] = A[j * n + i] = (A[i * n + j] + A[j * n + i]) / T(2);
}

// Sets the start to unit norm; info 3 for a start that is not finite.
template <class T>
void prepare_start(const NearestKronecker<T>& result, int64_t b) {
  const int64_t m = result.m, n = result.n;
  T* L = result.L + b * m * m;
  T* R = result.R + b * n * n;
  if (!all_finite(m * m, L) || !all_finite(n * n, R)) result.info[b] = kNonFinite;
  symmetrize(m, L);
  symmetrize(n, R);
  normalize(m * m, L);
  normalize(n * n, R);
}

// The pair of the next step, unless it is 0: then the last one stays.
template <class T>
void accept(const NearestKronecker<T>& result, int64_t b, T* L_next, T* R_next) {
  const int64_t m = result.m, n = result.n;
  if (normalize(m * m, L_next)) std::copy_n(L_next, m * m, result.L + b * m * m);
  if (normalize(n * n, R_next)) std::copy_n(R_next, n * n, result.R + b * n * n);
}

template <class T>
double inner_product(int64_t count, const T* x, const T* y) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum;
}

// sigma, cosine and, for a matrix with info 3, NaN everywhere. `scale` was multiplied onto H.
template <class T>
void finish(const NearestKronecker<T>& result, int64_t b, double sigma, double norm, double scale) {
  const int64_t m = result.m, n = result.n;
  if (result.info[b] == kNonFinite) {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    std::fill_n(result.L + b * m * m, m * m, nan);
    std::fill_n(result.R + b * n * n, n * n, nan);
    result.sigma[b] = result.cosine[b] = nan;
    return;
  }
  result.sigma[b] = static_cast<T>(sigma / scale);
  result.cosine[b] = norm > 0.0 ? static_cast<T>(sigma / norm) : T(0);
}

// Row i of a symmetric H's lower blocks: Ĥ(R)_ik for k ≤ i into L_row, and into R_part the sum over k ≤ i of
// L_ik H_ik, twice where k < i (for H_ki = H_ikᵀ; the symmetric part is taken at the end). One pass.
template <class T>
void pass_over_row(int64_t m, int64_t n, int64_t i, const T* H, const T* L, const T* R, double* L_row, T* R_part,
                   Worker& worker) {
  T* weights = worker.take<T>(i + 1);
  for (int64_t k = 0; k <= i; ++k) weights[k] = k < i ? T(2) * L[i * m + k] : L[i * m + k];
  sum_block_rows<T>(
      {n, i + 1, n, H + i * n * m * n, m * n, R, weights, 0, L_row, R_part, worker.take<T>((i + 1) * kernels::kLanes)});
}

// ‖scale · (the rows (i, ·) of H)‖_F² by the lower blocks.
template <class T>
double squares_of_row(int64_t m, int64_t n, int64_t i, const T* H, double scale, Worker& worker) {
  const int64_t mn = m * n, width = (i + 1) * n;
  T* row = worker.take<T>(width);
  double lower = 0.0, diagonal = 0.0;
  for (int64_t j = 0; j < n; ++j) {
    const T* source = H + (i * n + j) * mn;
    for (int64_t c = 0; c < width; ++c) row[c] = static_cast<T>(static_cast<double>(source[c]) * scale);
    lower += sum_of_squares(i * n, row);
    diagonal += sum_of_squares(n, row + i * n);
  }
  return 2.0 * lower + diagonal;
}

// ‖1/N Σ_s g_s g_sᵀ‖_F for the rows g_s of G[samples, size], scaled: the Gram matrix of the samples or that of the
// coordinates has the same norm; the smaller is taken, tile by tile (256 × 256, the lower ones twice).
template <class T>
double covariance_norm(int64_t samples, int64_t size, const void* G, ScalarType type, double scale, Worker& worker) {
  constexpr int64_t tile = 256;
  const bool by_samples = samples <= size;
  const int64_t rows = by_samples ? samples : size, inner = by_samples ? size : samples;
  T* X = worker.take<T>(samples * size);
  convert(type, G, samples * size, X);
  for (int64_t i = 0; i < samples * size; ++i) X[i] *= static_cast<T>(scale);
  T* C = worker.take<T>(tile * tile);
  double sum = 0.0;
  for (int64_t i = 0; i < rows; i += tile)
    for (int64_t j = 0; j <= i; j += tile) {
      const int64_t height = std::min(tile, rows - i), width = std::min(tile, rows - j);
      if (by_samples) {
        gemm(worker.team, Op::N, Op::T, height, width, inner, T(1), X + i * size, size, X + j * size, size, T(0), C,
             width);
      } else {
        gemm(worker.team, Op::T, Op::N, height, width, inner, T(1), X + i, size, X + j, size, T(0), C, width);
      }
      sum += (j < i ? 2.0 : 1.0) * sum_of_squares(height * width, C);
    }
  return std::sqrt(sum) / static_cast<double>(samples);
}

}  // namespace

template <class T>
void nearest_kronecker(const NearestKronecker<T>& result, const T* H, int64_t steps, const Parallel& parallel) {
  const int64_t m = result.m, n = result.n, mn = m * n, pair = m * m + n * n;
  if (mn == 0) {
    for (int64_t b = 0; b < result.batch; ++b) {
      result.info[b] = kGood;
      prepare_start(result, b);
      finish(result, b, 0.0, 0.0, 1.0);
    }
    return;
  }
  Worker shared;
  double* L_next = shared.take<double>(result.batch * m * m);
  T* R_parts = shared.take<T>(result.batch * m * n * n);
  T* next = shared.take<T>(result.batch * pair);
  double* row_squares = shared.take<double>(result.batch * m);
  double* scale = shared.take<double>(result.batch);

  for_each(worth(parallel, static_cast<double>(result.batch * mn * mn)), result.batch, [&](int64_t b, Worker&) {
    const T* matrix = H + b * mn * mn;
    result.info[b] = all_finite(mn * mn, matrix) ? kGood : kNonFinite;
    scale[b] = power_of_two_scale(largest_magnitude(mn * mn, matrix));
    prepare_start(result, b);
  });
  for (int64_t step = 0; step <= steps; ++step) {  // the last pass only evaluates
    for_each(worth(parallel, static_cast<double>(result.batch * mn * mn)), result.batch * m,
             [&](int64_t piece, Worker& worker) {
               const int64_t b = piece / m, i = piece % m;
               if (result.info[b] != kGood) return;
               const T* matrix = H + b * mn * mn;
               pass_over_row(m, n, i, matrix, result.L + b * m * m, result.R + b * n * n, L_next + b * m * m + i * m,
                             R_parts + piece * n * n, worker);
               if (step == steps) row_squares[piece] = squares_of_row(m, n, i, matrix, scale[b], worker);
             });
    for_each(worth(parallel, static_cast<double>(result.batch * m * n * n)), result.batch,
             [&](int64_t b, Worker& worker) {
               if (result.info[b] != kGood) return finish(result, b, 0.0, 0.0, 1.0);
               const double* L_sum = L_next + b * m * m;
               if (step == steps) {
                 double sigma = 0.0, squares = 0.0;
                 for (int64_t i = 0; i < m; ++i) {
                   for (int64_t k = 0; k <= i; ++k)
                     sigma += (k < i ? 2.0 : 1.0) * L_sum[i * m + k] * scale[b] *
                              static_cast<double>(result.L[(b * m + i) * m + k]);
                   squares += row_squares[b * m + i];
                 }
                 return finish(result, b, sigma, std::sqrt(squares), scale[b]);
               }
               T* L_new = next + b * pair;
               T* R_new = L_new + m * m;
               for (int64_t i = 0; i < m; ++i)
                 for (int64_t k = 0; k <= i; ++k) L_new[i * m + k] = static_cast<T>(L_sum[i * m + k]);
               mirror_lower(m, L_new);
               double* R_sum = worker.take<double>(n * n);
               std::fill_n(R_sum, n * n, 0.0);
               for (int64_t i = 0; i < m; ++i)
                 for (int64_t c = 0; c < n * n; ++c) R_sum[c] += static_cast<double>(R_parts[(b * m + i) * n * n + c]);
               for (int64_t j = 0; j < n; ++j)
                 for (int64_t k = 0; k <= j; ++k)
                   R_new[j * n + k] = static_cast<T>(0.5 * (R_sum[j * n + k] + R_sum[k * n + j]));
               mirror_lower(n, R_new);
               accept(result, b, L_new, R_new);
             });
  }
}

template <class T>
void nearest_kronecker_from_gradients(const NearestKronecker<T>& result, int64_t samples, const void* G,
                                      ScalarType G_type, int64_t steps, const Parallel& parallel) {
  const int64_t m = result.m, n = result.n, slab = samples * m * n, pair = m * m + n * n;
  Worker shared;
  T* next = shared.take<T>(result.batch * pair);
  double* scale = shared.take<double>(result.batch);
  double* norm = shared.take<double>(result.batch);
  T* L_next = next;
  T* R_next = next + result.batch * m * m;

  for_each(parallel, result.batch, [&](int64_t b, Worker& worker) {
    const T* X = read_as<T>(G_type, G, b * slab, slab, worker);
    result.info[b] = all_finite(slab, X) ? kGood : kNonFinite;
    scale[b] = power_of_two_scale(largest_magnitude(slab, X));
    prepare_start(result, b);
    norm[b] = 0.0;
    if (result.info[b] == kGood && slab > 0) {
      const void* source = static_cast<const char*>(G) + b * slab * element_size(G_type);
      norm[b] = covariance_norm<T>(samples, m * n, source, G_type, scale[b], worker);
    }
  });
  PowerStep<T> power{result.batch, samples, m, n, G, G_type, result.L, result.R, L_next, R_next, scale};
  for (int64_t step = 0; step < steps; ++step) {
    kron_power_step(power, parallel);
    for (int64_t b = 0; b < result.batch; ++b)
      if (result.info[b] == kGood) accept(result, b, L_next + b * m * m, R_next + b * n * n);
  }
  power.R_next = nullptr;
  kron_power_step(power, parallel);
  for (int64_t b = 0; b < result.batch; ++b) {
    const double sigma = inner_product(m * m, result.L + b * m * m, L_next + b * m * m);
    finish(result, b, sigma, norm[b], scale[b] * scale[b]);
  }
}

template void nearest_kronecker<float>(const NearestKronecker<float>&, const float*, int64_t, const Parallel&);
template void nearest_kronecker<double>(const NearestKronecker<double>&, const double*, int64_t, const Parallel&);
template void nearest_kronecker_from_gradients<float>(const NearestKronecker<float>&, int64_t, const void*, ScalarType,
                                                      int64_t, const Parallel&);
template void nearest_kronecker_from_gradients<double>(const NearestKronecker<double>&, int64_t, const void*,
                                                       ScalarType, int64_t, const Parallel&);

}  // namespace kronla
