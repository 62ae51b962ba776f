#include "kernels/cpu/root/quadrature.h"

#include <algorithm>
#include <cmath>

#include "kernels/inverse_root.h"

namespace kronla {
namespace {

constexpr double kPi = 3.14159265358979323846;

double arithmetic_geometric_mean(double a, double b) {
  while (std::abs(a - b) > 1e-15 * a) {
    const double mean = (a + b) / 2.0;
    b = std::sqrt(a * b);
    a = mean;
  }
  return a;
}

// Jacobi's elliptic function sc(u, k'), k = κ^(-½), and its quarter period K' = K(k').
class Elliptic {
 public:
  explicit Elliptic(double condition)
      : period_(kPi / (2.0 * arithmetic_geometric_mean(1.0, std::sqrt(1.0 / condition)))),
        unit_(arithmetic_geometric_mean(1.0, std::sqrt(1.0 - 1.0 / condition))),  // π/2K
        nome_(std::exp(-2.0 * unit_ * period_)),
        factor_(2.0 * std::pow(nome_ * condition, 0.25)) {}

  double quarter_period() const { return period_; }

  // sc(u, k') = −i sn(iu, k) by theta series, whose terms fall like nome^(n²/2) where u ≤ K'/2; nome ≤ .018 for κ ≥ 4.
  double sc(double u) const {
    const double y = unit_ * u;
    double above = std::sinh(y), below = 1.0;
    for (int n = 1; n <= 4; ++n) {
      const double sign = n % 2 == 1 ? -1.0 : 1.0;
      above += sign * std::pow(nome_, n * (n + 1)) * std::sinh((2 * n + 1) * y);
      below += sign * std::pow(nome_, n * n) * 2.0 * std::cosh(2 * n * y);
    }
    return factor_ * above / below;
  }

 private:
  double period_, unit_, nome_, factor_;
};

// A node of Gauss's rule, c = cos θ, and d/dθ of the polynomial there, which is 1 at c = 1.
struct Node {
  double theta, slope;
};

// The j-th from c = 1 of `count` nodes for (1 − c)^(-α) (1 + c)^(-β), α + β = 1, j about count/2 at most: by Newton's
// method on Jacobi's polynomial in θ, where the nodes are nearly equally apart. Szegő 1939, 4.5.1 and 4.5.7, for
// polynomials that are 1 at c = 1, in their differences and s = sin²(θ/2): 1 − c would lose the digits of a small θ.
Node jacobi_node(int64_t count, int64_t j, double alpha, double beta) {
  const double N = static_cast<double>(count);
  Node node{(static_cast<double>(j) - 0.25 - 0.5 * alpha) * kPi / N, 0.0};
  for (int i = 0; i < 10; ++i) {
    const double half = std::sin(0.5 * node.theta), s = half * half;
    double difference = -s / beta, value = 1.0 + difference;  // of P_1
    for (double n = 1.0; n < N; n += 1.0) {
      difference = (2.0 * n + 1.0) / (n + beta) * ((n - beta) / (2.0 * n - 1.0) * difference - 2.0 * s * value);
      value += difference;
    }
    node.slope = 2.0 * N * ((N - beta) / (2.0 * N - 1.0) * difference - s * value) / std::sin(node.theta);
    const double step = value / node.slope;
    node.theta -= step;
    if (std::abs(step) < 1e-15 * node.theta) break;
  }
  return node;
}

int64_t pole_count(double condition, double error) {
  const double wanted = std::log(4.0 / error) * (std::log(condition) + 4.0 * std::log(2.0)) / (2.0 * kPi * kPi);
  return 4 * static_cast<int64_t>(std::ceil(std::max(wanted, 1.0) / 4.0));
}

}  // namespace

bool has_root_quadrature(double p) { return p >= 1.0 && p <= 16.0 && p == std::floor(p); }

RootQuadrature root_quadrature(int64_t p, double condition, double error) {
  if (p == 1) return {{0.0}, {1.0}};
  const double alpha = 1.0 / static_cast<double>(p), beta = static_cast<double>(p - 1) / static_cast<double>(p);
  const Elliptic elliptic(condition);
  const int64_t count = pole_count(condition, error);
  // The weights of Gauss's rule are scale·ends/slope², at the other end scale/(ends·slope²).
  const double scale = elliptic.quarter_period() * 2.0 * static_cast<double>(count) / kPi;
  double ends = 1.0;
  for (int64_t m = 0; m < count; ++m) ends *= (static_cast<double>(m) + alpha) / (static_cast<double>(m) + beta);
  RootQuadrature result;
  for (int64_t j = 1; j <= count; ++j) {
    // Beyond the middle by what is left to the other end: sc(u) sc(K' − u) = √κ.
    const bool near = 2 * j <= count;
    const Node node = near ? jacobi_node(count, j, alpha, beta) : jacobi_node(count, count + 1 - j, beta, alpha);
    const double sc = elliptic.sc(elliptic.quarter_period() * node.theta / kPi);
    const double t = near ? sc * sc : condition / (sc * sc);
    const double tangent = std::tan(0.5 * node.theta);
    result.shifts.push_back(t);
    result.weights.push_back(scale * (near ? ends : 1.0 / ends) / (node.slope * node.slope) * std::pow(t, -alpha) *
                             std::sqrt(t * (1.0 + t) * (1.0 + t / condition)) *
                             std::pow(tangent, near ? alpha - beta : beta - alpha));
  }
  return result;
}

const RootQuadrature& RootQuadratures::of(double condition) {
  int64_t k = 0;
  for (double bound = 4.0; bound < condition; bound *= 4.0) ++k;
  Entry& entry = entries_[k];
  std::call_once(entry.made,
                 [&] { entry.quadrature = root_quadrature(p_, std::ldexp(4.0, static_cast<int>(2 * k)), error_); });
  return entry.quadrature;
}

}  // namespace kronla
