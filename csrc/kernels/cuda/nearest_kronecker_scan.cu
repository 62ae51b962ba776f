#include "kernels/cuda/nearest_kronecker_scan.h"

#include <algorithm>

#include "kernels/cuda/device/convert.cuh"
#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/tasks.cuh"

namespace kronla::cuda {
namespace {

using Bits = unsigned long long;

constexpr int kBlock = 256;
constexpr int64_t kMostPieces = 2048;

__device__ __forceinline__ double value_of(Bits bits, ScalarType) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
__device__ __forceinline__ double value_of(uint32_t bits, ScalarType) {
  return static_cast<double>(__uint_as_float(bits));
}
__device__ __forceinline__ double value_of(uint16_t bits, ScalarType type) {
  return static_cast<double>(type == ScalarType::BFloat16 ? bfloat16_to_float(bits) : float16_to_float(bits));
}

// Reads elements as unsigned integers: without the sign bit their order is that of the magnitudes, NaN the highest.
template <class Raw, bool kVectors>
__global__ void __launch_bounds__(kBlock)
    scan_kernel(const Raw* x, ScalarType type, int64_t count, int64_t piece, int pieces, double* largest) {
  KRONLA_SHARED_ARRAY(double, shared, kReduceRoom);
  constexpr int kWidth = kVectors ? 16 / static_cast<int>(sizeof(Raw)) : 1;
  constexpr Raw kMagnitude = static_cast<Raw>(static_cast<Raw>(-1) >> 1);
  const int64_t b = blockIdx.x / pieces, begin = blockIdx.x % pieces * piece;
  const int64_t end = begin + piece < count ? begin + piece : count;
  const Raw* from = x + b * count;
  Raw most = 0;
#pragma unroll 4
  for (int64_t i = begin + static_cast<int64_t>(threadIdx.x) * kWidth; i < end; i += kBlock * kWidth) {
    Raw values[kWidth];
    if constexpr (kVectors) {
      const uint4 vector = *reinterpret_cast<const uint4*>(from + i);
      memcpy(values, &vector, sizeof vector);
    } else {
      values[0] = from[i];
    }
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      const Raw magnitude = static_cast<Raw>(values[e] & kMagnitude);
      most = magnitude > most ? magnitude : most;
    }
  }
  const double all = block_max(magnitude(value_of(most, type)), shared);
  if (threadIdx.x == 0) largest[blockIdx.x] = all;
}

}  // namespace

Scan scan(int64_t batch, int64_t count, const void* x, ScalarType type, const Stream& stream) {
  Scan result;
  if (batch == 0 || count == 0) return result;
  // Whole vectors of all threads, about 32 KB of float32.
  constexpr int64_t kLeast = 8192;
  const int64_t piece = std::max(kLeast, ((count + kMostPieces - 1) / kMostPieces + kLeast - 1) / kLeast * kLeast);
  result.pieces = static_cast<int>((count + piece - 1) / piece);
  result.largest = stream.take<double>(batch * result.pieces);
  const int64_t size = element_size(type);
  const bool vectors = reinterpret_cast<uintptr_t>(x) % 16 == 0 && count * size % 16 == 0;
  const dim3 grid(static_cast<unsigned>(checked_int(batch * result.pieces)));
  const auto run = [&](auto raw, auto kernel) {
    launch("scan", kernel, grid, kBlock, 0, stream.handle, static_cast<const decltype(raw)*>(x), type, count, piece,
           result.pieces, result.largest);
  };
  if (size == 8) return run(Bits{}, vectors ? scan_kernel<Bits, true> : scan_kernel<Bits, false>), result;
  if (size == 4) return run(uint32_t{}, vectors ? scan_kernel<uint32_t, true> : scan_kernel<uint32_t, false>), result;
  return run(uint16_t{}, vectors ? scan_kernel<uint16_t, true> : scan_kernel<uint16_t, false>), result;
}

}  // namespace kronla::cuda
