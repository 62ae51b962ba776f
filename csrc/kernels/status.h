// The int32 `info` that every matrix gets. The highest that applies wins.
#pragma once

#include <cstdint>

namespace kronla {

enum Info : int32_t {
  kGood = 0,
  kNotConverged = 1,
  kNotPositiveDefinite = 2,  // roots: the float64 Cholesky factorisation of D breaks down
  kRankDeficient = 2,        // orthonormalize
  kNonFinite = 3,
};

}  // namespace kronla
