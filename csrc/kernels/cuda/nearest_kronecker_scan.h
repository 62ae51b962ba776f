// The largest magnitudes of matrices of any gradient type, and whether they are finite.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/scalar_type.h"

namespace kronla::cuda {

// One for each piece of each matrix, infinity where it holds what is not finite.
struct Scan {
  int pieces = 0;
  double* largest = nullptr;  // [batch, pieces]
};

// Reads x[batch, count] once. At most 2048 pieces, so that one block can read what they found.
Scan scan(int64_t batch, int64_t count, const void* x, ScalarType type, const Stream& stream);

}  // namespace kronla::cuda
