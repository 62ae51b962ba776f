// x^(-1/p) as a sum of simple poles, which turns a root of a matrix into inverses of shifted matrices.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

namespace kronla {

// x^(-1/p) ≈ Σ_j weights[j] / (x + shifts[j]) for x in [1, condition]: all are positive, so nothing cancels.
struct RootQuadrature {
  std::vector<double> shifts, weights;
};

// With a relative error of at most `error` and, by rounding, 5e-15, for a p of has_root_quadrature (kernels/inverse_root.h)
// and a condition from 4 to 2^52. The sum is exact for p = 1; else the number of poles is a multiple of 4.
//
// Stieltjes' integral x^(-α) = sin(πα)/π ∫_0^∞ t^(-α)/(t + x) dt, α = 1/p, by Gauss's rule: where t = sc(u, k')², k = κ^(-½),
// the poles t = −x of the integrand are as far from the interval [0, K'] of u as they can be (Hale, Higham and Trefethen
// 2008, for α = ½ and the trapezoidal rule), and in c = cos(πu/K') its behaviour at the ends is Jacobi's weight
// (1 − c)^(-α) (1 + c)^(α−1). The error is 4 exp(−2π² count / (log κ + 4 log 2)): that of the best rational approximations
// for α = ½ (Zolotarev 1877).
RootQuadrature root_quadrature(int64_t p, double condition, double error);

// Those of one p and one error, made when first wanted, for conditions of whole powers of 4; for any number of threads.
class RootQuadratures {
 public:
  RootQuadratures(int64_t p, double error) : p_(p), error_(error) {}
  static constexpr double kLargestCondition = 0x1p52;

  // Of at least `condition`, which is at most kLargestCondition.
  const RootQuadrature& of(double condition);

 private:
  struct Entry {
    std::once_flag made;
    RootQuadrature quadrature;
  };
  int64_t p_;
  double error_;
  std::array<Entry, 26> entries_;  // 4, 16, …
};

}  // namespace kronla
