// The power iterations of kernels/rearrangement.h. Everything is decided on the device: a matrix with info 3 is masked, and
// a step that gives 0 keeps the pair.
#include "kernels/cuda/device/convert.cuh"
#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/factors.h"
#include "kernels/cuda/nearest_kronecker_covariance.h"
#include "kernels/cuda/nearest_kronecker_scan.h"
#include "kernels/cuda/rearrangement.h"
#include "kernels/cuda/rearrangement_pass.h"
#include "kernels/status.h"

namespace kronla::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int kEach = 8;                // elements a thread holds
constexpr int kPiece = kBlock * kEach;  // elements of L or R in a block

// ---- the pair of a step: measured by pieces, then set to unit norm ----

struct Piece {
  double largest;  // magnitude
  double raw;      // of the start before its symmetric part is taken
  double squares;  // Σ x² with x scaled by its piece's own largest
};

template <class T>
struct Pair {
  int m, n;
  T* L;  // [batch, m, m]
  T* R;  // [batch, n, n]
  T* L_next;
  T* R_next;
  const int32_t* info;  // [batch]
  Piece* pieces;        // [batch, L_pieces + R_pieces]
  int L_pieces, R_pieces;
  // Where the next pair comes from, after a pass.
  PassTiles tiles;
  const double* L_parts;
  const double* R_sum;  // [batch, n, n]
};

enum class Source {
  Start,    // the symmetric part of L and R
  Pass,     // the sums of a pass
  Sampled,  // L_next and R_next as they are
};

// Row-major index of (i, k), k ≤ i, in the lower triangle.
__device__ __forceinline__ int64_t lower_index(int64_t i, int64_t k) {
  return i >= k ? i * (i + 1) / 2 + k : k * (k + 1) / 2 + i;
}

__device__ __forceinline__ double pass_sum(const double* L_parts, const PassTiles& tiles, int64_t b, int64_t index) {
  double sum = 0.0;
  for (int tile = 0; tile < tiles.column_tiles; ++tile)
    sum += L_parts[(b * tiles.column_tiles + tile) * tiles.rows + index];
  return sum;
}

// Element (i, k) of the next L or R; mirror images come from the same operands, and so are equal to the bit.
template <class T, Source kSource>
__device__ __forceinline__ T next_element(const Pair<T>& pair, int64_t b, bool left, int64_t i, int64_t k,
                                          double& raw) {
  const int64_t size = left ? pair.m : pair.n, base = b * size * size;
  if constexpr (kSource == Source::Start) {
    const T* A = (left ? pair.L : pair.R) + base;
    const T value = A[i * size + k], mirror = A[k * size + i];
    raw = magnitude(static_cast<double>(value));
    return i == k ? value : (value + mirror) / T(2);
  } else if constexpr (kSource == Source::Pass) {
    if (left) return static_cast<T>(pass_sum(pair.L_parts, pair.tiles, b, lower_index(i, k)));
    return static_cast<T>(0.5 * (pair.R_sum[base + i * size + k] + pair.R_sum[base + k * size + i]));
  } else {
    return (left ? pair.L_next : pair.R_next)[base + i * size + k];
  }
}

// Which piece a block works on.
struct Place {
  int64_t b;
  bool left;
  int first, count;  // pieces of L or of R
  int piece;
  int64_t size, begin;
};
template <class T>
__device__ __forceinline__ Place place_of(const Pair<T>& pair) {
  const int all = pair.L_pieces + pair.R_pieces, index = static_cast<int>(blockIdx.x) % all;
  Place at;
  at.b = blockIdx.x / all;
  at.left = index < pair.L_pieces;
  at.first = at.left ? 0 : pair.L_pieces;
  at.count = at.left ? pair.L_pieces : pair.R_pieces;
  at.piece = index - at.first;
  at.size = at.left ? pair.m : pair.n;
  at.begin = static_cast<int64_t>(at.piece) * kPiece + threadIdx.x;
  return at;
}

template <class T, Source kSource>
__global__ void __launch_bounds__(kBlock) measure_kernel(KRONLA_PARAMETER(Pair<T>) pair) {
  KRONLA_SHARED_ARRAY(double, shared, kReduceRoom);
  const Place at = place_of(pair);
  if (kSource != Source::Start && pair.info[at.b] != kGood) return;
  const int64_t elements = at.size * at.size;
  T* next = (at.left ? pair.L_next : pair.R_next) + at.b * elements;
  T x[kEach];
  double largest = 0.0, raw = 0.0;
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t index = at.begin + e * kBlock;
    x[e] = T(0);
    if (index >= elements) continue;
    double raw_here = 0.0;
    x[e] = next_element<T, kSource>(pair, at.b, at.left, index / at.size, index % at.size, raw_here);
    if (kSource != Source::Sampled) next[index] = x[e];
    const double here = magnitude(static_cast<double>(x[e]));
    largest = here > largest ? here : largest;
    raw = raw_here > raw ? raw_here : raw;
  }
  largest = block_max(largest, shared);
  if (kSource == Source::Start) raw = block_max(raw, shared);
  const double scale = power_of_two_scale(largest);
  double squares = 0.0;
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const double value = static_cast<double>(x[e]) * scale;
    squares += value * value;
  }
  squares = block_sum(squares, shared);
  if (threadIdx.x == 0) pair.pieces[blockIdx.x] = {largest, raw, squares};
}

// A ← next/‖next‖_F, the norm in float64 and safe from overflow. For 0 and for what is not finite A stays, or, at the
// start, becomes `next` as it is.
template <class T, bool kStart>
__global__ void __launch_bounds__(kBlock) accept_kernel(KRONLA_PARAMETER(Pair<T>) pair) {
  KRONLA_SHARED_ARRAY(double, shared, kReduceRoom);
  const Place at = place_of(pair);
  if (pair.info[at.b] != kGood) return;
  // Each block adds up all pieces of its matrix, in the same order.
  const Piece* pieces = pair.pieces + at.b * (pair.L_pieces + pair.R_pieces) + at.first;
  double largest = 0.0;
  for (int p = static_cast<int>(threadIdx.x); p < at.count; p += kBlock)
    largest = pieces[p].largest > largest ? pieces[p].largest : largest;
  largest = block_max(largest, shared);
  const double scale = power_of_two_scale(largest);
  double sum = 0.0;
  for (int p = static_cast<int>(threadIdx.x); p < at.count; p += kBlock) {
    const double ratio = scale / power_of_two_scale(pieces[p].largest);
    sum += pieces[p].squares * ratio * ratio;
  }
  sum = block_sum(sum, shared);
  const bool usable = largest <= Limits<double>::kMax && sum > 0.0;
  if (!usable && !kStart) return;

  const int64_t elements = at.size * at.size;
  const T* next = (at.left ? pair.L_next : pair.R_next) + at.b * elements;
  T* A = (at.left ? pair.L : pair.R) + at.b * elements;
  const double norm = sqrt(sum);
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t index = at.begin + e * kBlock;
    if (index >= elements) continue;
    A[index] = usable ? static_cast<T>(static_cast<double>(next[index]) * scale / norm) : next[index];
  }
}

// info and the scale of H or G, from what the scan and the start's pieces say.
template <class T>
__global__ void __launch_bounds__(kBlock)
    judge_kernel(Scan scan, const Piece* pieces, int count, int32_t* info, double* scale) {
  KRONLA_SHARED_ARRAY(double, shared, kReduceRoom);
  const int64_t b = blockIdx.x;
  double largest = 0.0, raw = 0.0;
  for (int p = static_cast<int>(threadIdx.x); p < scan.pieces; p += kBlock) {
    const double here = scan.largest[b * scan.pieces + p];
    largest = here > largest ? here : largest;
  }
  for (int p = static_cast<int>(threadIdx.x); p < count; p += kBlock) {
    const double here = pieces[b * count + p].raw;
    raw = here > raw ? here : raw;
  }
  largest = block_max(largest, shared);
  raw = block_max(raw, shared);
  if (threadIdx.x > 0) return;
  const T in_T = static_cast<T>(largest);  // a float64 gradient may not be finite as a float32
  info[b] = in_T <= Limits<T>::kMax && raw <= Limits<double>::kMax ? kGood : kNonFinite;
  scale[b] = power_of_two_scale(in_T);
}

// ---- the end ----

template <class T>
struct Finish {
  NearestKronecker<T> result;
  const double* scale;    // [batch]
  PassTiles tiles;        // of the last pass
  const double* L_parts;  // or nullptr: then L_next
  const double* square_parts;
  const T* L_next;
  const double* norm;  // [batch], with L_next
};

// sigma = ⟨L, Ĥ(R)⟩ and cosine; NaN everywhere for a matrix with info 3. One block a matrix.
template <class T>
__global__ void __launch_bounds__(kBlock) finish_kernel(KRONLA_PARAMETER(Finish<T>) task) {
  KRONLA_SHARED_ARRAY(double, shared, kReduceRoom);
  const NearestKronecker<T>& result = task.result;
  const int64_t b = blockIdx.x, m = result.m, n = result.n;
  const int thread = static_cast<int>(threadIdx.x);
  T* L = result.L + b * m * m;
  T* R = result.R + b * n * n;
  if (result.info[b] == kNonFinite) {
    const T nan = Limits<T>::kNaN;
    for (int64_t i = thread; i < m * m; i += kBlock) L[i] = nan;
    for (int64_t i = thread; i < n * n; i += kBlock) R[i] = nan;
    if (thread == 0) result.sigma[b] = result.cosine[b] = nan;
    return;
  }
  double sigma = 0.0, norm = 0.0, scale = task.scale[b];
  if (task.L_parts != nullptr) {
    for (int index = thread; index < task.tiles.rows; index += kBlock) {
      int i, k;
      triangular_tile(index, i, k);
      const double sum = pass_sum(task.L_parts, task.tiles, b, index);
      sigma += (k < i ? 2.0 : 1.0) * sum * static_cast<double>(L[i * m + k]);
    }
    const int parts = task.tiles.row_tiles * task.tiles.column_tiles;
    for (int part = thread; part < parts; part += kBlock) norm += task.square_parts[b * parts + part];
    norm = sqrt(block_sum(norm, shared));
  } else if (task.L_next != nullptr) {
    for (int64_t i = thread; i < m * m; i += kBlock)
      sigma += static_cast<double>(L[i]) * static_cast<double>(task.L_next[b * m * m + i]);
    norm = task.norm[b];
    scale *= scale;
  }
  sigma = block_sum(sigma, shared);
  if (thread > 0) return;
  result.sigma[b] = static_cast<T>(sigma / scale);
  result.cosine[b] = norm > 0.0 ? static_cast<T>(sigma / norm) : T(0);
}

// ---- launchers of the parts ----

template <class T>
class Iteration {
 public:
  Iteration(const NearestKronecker<T>& result, const Stream& stream) : result_(result), stream_(stream) {
    const int64_t m = result.m, n = result.n;
    pair_.m = checked_int(m);
    pair_.n = checked_int(n);
    pair_.L = result.L;
    pair_.R = result.R;
    pair_.L_next = stream.take<T>(result.batch * m * m);
    pair_.R_next = stream.take<T>(result.batch * n * n);
    pair_.info = result.info;
    scale_ = stream.take<double>(result.batch);
    pair_.L_pieces = checked_int((m * m + kPiece - 1) / kPiece);
    pair_.R_pieces = checked_int((n * n + kPiece - 1) / kPiece);
    pair_.pieces = stream.take<Piece>(result.batch * (pair_.L_pieces + pair_.R_pieces));
  }

  Pair<T>& pair() { return pair_; }
  double* scale() const { return scale_; }

  // The start at unit norm, info, and the scale of the matrices that were scanned.
  void start(const Scan& scanned) {
    run("start", measure_kernel<T, Source::Start>);
    launch("judge", judge_kernel<T>, dim3(static_cast<unsigned>(checked_int(result_.batch))), kBlock, 0, stream_.handle,
           scanned, pair_.pieces, pair_.L_pieces + pair_.R_pieces, result_.info, scale_);
    run("start", accept_kernel<T, true>);
  }

  template <Source kSource>
  void accept() {
    run("measure", measure_kernel<T, kSource>);
    run("accept", accept_kernel<T, false>);
  }

  void finish(Finish<T> task) {
    task.result = result_;
    task.scale = scale_;
    launch("finish", finish_kernel<T>, dim3(static_cast<unsigned>(result_.batch)), kBlock, 0, stream_.handle, task);
  }

 private:
  template <class Kernel>
  void run(const char* name, Kernel kernel) {
    const int blocks = checked_int(result_.batch * (pair_.L_pieces + pair_.R_pieces));
    if (blocks > 0) launch(name, kernel, dim3(static_cast<unsigned>(blocks)), kBlock, 0, stream_.handle, pair_);
  }

  NearestKronecker<T> result_;
  Stream stream_;
  Pair<T> pair_{};
  double* scale_;
};

// X[batch, count] ← G in T, scaled.
template <class T>
__global__ void __launch_bounds__(kBlock)
    scale_kernel(const void* G, ScalarType type, int64_t count, int64_t blocks_each, const double* scale, T* X) {
  const int64_t b = blockIdx.x / blocks_each, begin = blockIdx.x % blocks_each * kPiece + threadIdx.x;
  const T factor = static_cast<T>(scale[b]);
  T values[kEach];
#pragma unroll
  for (int e = 0; e < kEach; ++e)
    if (begin + e * kBlock < count) values[e] = read_as<T>(G, type, b * count + begin + e * kBlock);
#pragma unroll
  for (int e = 0; e < kEach; ++e)
    if (begin + e * kBlock < count) X[b * count + begin + e * kBlock] = values[e] * factor;
}

}  // namespace

template <class T>
void nearest_kronecker(const NearestKronecker<T>& result, const T* H, int64_t steps, const Stream& stream) {
  const int64_t batch = result.batch, m = result.m, n = result.n, mn = m * n;
  if (batch == 0) return;
  Iteration<T> iteration(result, stream);
  iteration.start(scan(batch, mn * mn, H, scalar_type_of<T>(), stream));
  if (mn == 0) return iteration.finish({});

  Pass<T> pass{};
  pass.tiles = pass_tiles(m, n, true);
  pass.H = H;
  pass.L = result.L;
  pass.R = result.R;
  pass.info = result.info;
  pass.scale = iteration.scale();
  pass.L_parts = stream.take<double>(batch * pass.tiles.column_tiles * pass.tiles.rows);
  pass.square_parts = stream.take<double>(batch * pass.tiles.column_tiles * pass.tiles.row_tiles);
  double* R_sum = nullptr;
  if (steps > 0) {
    pass.R_parts = stream.take<T>(batch * pass.tiles.row_tiles * pass.tiles.columns);
    R_sum = stream.take<double>(batch * n * n);
  }
  iteration.pair().tiles = pass.tiles;
  iteration.pair().L_parts = pass.L_parts;
  iteration.pair().R_sum = R_sum;
  for (int64_t step = 0; step < steps; ++step) {
    run_pass(PassKind::Both, batch, pass, stream);
    sum_parts(batch, pass.tiles.row_tiles, n * n, pass.R_parts, R_sum, stream);
    iteration.template accept<Source::Pass>();
  }
  run_pass(PassKind::Evaluate, batch, pass, stream);
  Finish<T> task{};
  task.tiles = pass.tiles;
  task.L_parts = pass.L_parts;
  task.square_parts = pass.square_parts;
  iteration.finish(task);
}

template <class T>
void nearest_kronecker_from_gradients(const NearestKronecker<T>& result, int64_t samples, const void* G,
                                      ScalarType G_type, int64_t steps, const Stream& stream) {
  const int64_t batch = result.batch, m = result.m, n = result.n, count = samples * m * n;
  if (batch == 0) return;
  Iteration<T> iteration(result, stream);
  iteration.start(scan(batch, count, G, G_type, stream));
  if (count == 0) return iteration.finish({});

  // G once in T and scaled, so that no product overflows and none converts it again.
  T* X = stream.take<T>(batch * count);
  const int64_t blocks_each = (count + kPiece - 1) / kPiece;
  launch("scale", scale_kernel<T>, dim3(static_cast<unsigned>(checked_int(batch * blocks_each))), kBlock, 0,
         stream.handle, G, G_type, count, blocks_each, static_cast<const double*>(iteration.scale()), X);
  double* norm = stream.take<double>(batch);
  covariance_norm(batch, samples, m * n, X, norm, stream);

  Pair<T>& pair = iteration.pair();
  PowerStep<T> power{batch,    samples,  m,           n,           X,      scalar_type_of<T>(),
                     result.L, result.R, pair.L_next, pair.R_next, nullptr};
  for (int64_t step = 0; step < steps; ++step) {
    kron_power_step(power, stream);
    iteration.template accept<Source::Sampled>();
  }
  power.R_next = nullptr;
  kron_power_step(power, stream);
  Finish<T> task{};
  task.L_next = pair.L_next;
  task.norm = norm;
  iteration.finish(task);
}

template void nearest_kronecker<float>(const NearestKronecker<float>&, const float*, int64_t, const Stream&);
template void nearest_kronecker<double>(const NearestKronecker<double>&, const double*, int64_t, const Stream&);
template void nearest_kronecker_from_gradients<float>(const NearestKronecker<float>&, int64_t, const void*, ScalarType,
                                                      int64_t, const Stream&);
template void nearest_kronecker_from_gradients<double>(const NearestKronecker<double>&, int64_t, const void*,
                                                       ScalarType, int64_t, const Stream&);

}  // namespace kronla::cuda
