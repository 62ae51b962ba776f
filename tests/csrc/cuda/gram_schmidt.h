// The reference orthonormalisation of the tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace kronla::testing {

// The Q of W = QR with a positive diagonal, by modified Gram–Schmidt taken twice.
inline void gram_schmidt(int64_t m, int64_t n, std::vector<double>& W) {
  for (int64_t j = 0; j < n; ++j) {
    for (int twice = 0; twice < 2; ++twice)
      for (int64_t k = 0; k < j; ++k) {
        double dot = 0.0;
        for (int64_t i = 0; i < m; ++i) dot += W[i * n + k] * W[i * n + j];
        for (int64_t i = 0; i < m; ++i) W[i * n + j] -= dot * W[i * n + k];
      }
    double square = 0.0;
    for (int64_t i = 0; i < m; ++i) square += W[i * n + j] * W[i * n + j];
    for (int64_t i = 0; i < m; ++i) W[i * n + j] /= std::sqrt(square);
  }
}

}  // namespace kronla::testing
