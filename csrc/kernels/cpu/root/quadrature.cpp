#include "kernels/cpu/root/quadrature.h"

#include <algorithm>
#include <cmath>

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

// A node c = cos θ of Gauss's rule, and d/dθ of the polynomial there.
struct Node {
  double theta, slope;
};

// The j-th from c = 1 of `count` nodes for (1 − c)^(-α) (1 + c)^(α−1), j about count/2 at most: by Newton's method on
// Jacobi's polynomial (Szegő 1939, 4.5.1 and 4.5.7 with a + b = −1), in θ, where the nodes are nearly equally apart.
Node jacobi_node(int64_t count, int64_t j, double alpha) {
  const double a = -alpha, b = alpha - 1.0, N = static_cast<double>(count);
  Node node{(static_cast<double>(j) - 0.25 - 0.5 * alpha) * kPi / N, 0.0};
  for (int i = 0; i < 10; ++i) {
    const double c = std::cos(node.theta), half = std::sin(0.5 * node.theta);
    double before = 1.0, value = 1.0 + a - half * half;  // P_0 and P_1
    for (double n = 2.0; n <= N; n += 1.0) {
      const double next = ((n - 1.0) * ((2.0 * n - 1.0) * (2.0 * n - 3.0) * c + b - a) * value -
                           (n + a - 1.0) * (n + b - 1.0) * (2.0 * n - 1.0) * before) /
                          (n * (n - 1.0) * (2.0 * n - 3.0));
      before = value;
      value = next;
    }
    node.slope = -(N * (a - b - (2.0 * N - 1.0) * c) * value + 2.0 * (N + a) * (N + b) * before) /
                 ((2.0 * N - 1.0) * std::sin(node.theta));
    const double step = value / node.slope;
    node.theta -= step;
    if (std::abs(step) < 4e-16) break;
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
  const double alpha = 1.0 / static_cast<double>(p);
  const Elliptic elliptic(condition);
  const int64_t count = pole_count(condition, error);
  double common = elliptic.quarter_period() * 2.0 * alpha * (1.0 - alpha) / kPi;
  for (int64_t m = 2; m <= count; ++m) {
    const double x = static_cast<double>(m);
    common *= (x - alpha) / x * ((x - 1.0 + alpha) / (x - 1.0));
  }
  RootQuadrature result;
  for (int64_t j = 1; j <= count; ++j) {
    // Beyond the middle by what is left to the other end: sc(u) sc(K' − u) = √κ.
    const bool near = 2 * j <= count;
    const Node node = near ? jacobi_node(count, j, alpha) : jacobi_node(count, count + 1 - j, 1.0 - alpha);
    const double sc = elliptic.sc(elliptic.quarter_period() * node.theta / kPi);
    const double t = near ? sc * sc : condition / (sc * sc);
    const double tangent = near ? std::tan(0.5 * node.theta) : 1.0 / std::tan(0.5 * node.theta);
    result.shifts.push_back(t);
    result.weights.push_back(common / (node.slope * node.slope) * std::pow(t, -alpha) *
                             std::sqrt(t * (1.0 + t) * (1.0 + t / condition)) * std::pow(tangent, 2.0 * alpha - 1.0));
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
