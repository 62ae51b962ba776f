// Both float32 factors of a small gradient in one go: it is read once, into shared memory, for G Gᵀ by its rows and Gᵀ G by
// its columns. The bits are those of two updates (factors.h).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/factors.h"

namespace kronla::cuda {

struct FactorPair {
  float* L;       // [batch, m, m]
  float* R;       // [batch, n, n]
  const void* G;  // [batch, m, n], not float64
  ScalarType G_type;
  int64_t batch, m, n;
};

// The largest m and n. Above it the halves of a gradient no longer lie in 18 KB, and enough blocks share a multiprocessor
// only because the second read comes from the L2 cache.
inline constexpr int64_t kMostOfPair = 64;

// Whether the two updates are those of one matrix, and small.
inline bool are_pair(const FactorGroup<float>& left, const FactorGroup<float>& right) {
  const int64_t m = left.dim, n = left.inner;
  return left.outer == 1 && right.outer == m && right.dim == n && right.inner == 1 && left.G == right.G &&
         left.G_type == right.G_type && left.batch == right.batch && left.W == nullptr && right.W == nullptr &&
         left.G_type != ScalarType::Float64 && m > 0 && n > 0 && m <= kMostOfPair && n <= kMostOfPair;
}

void update_factor_pairs(const std::vector<FactorPair>& pairs, double beta, double alpha, const Stream& stream);

}  // namespace kronla::cuda
