// Tridiagonal matrices by structure, for the tests of eigendecompositions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "testing.h"

extern "C" void scipy_dsytrd_(const char*, const int*, double*, const int*, double*, double*, double*, double*,
                              const int*, int*, size_t);

namespace kronla::testing {

struct Tridiagonal {
  std::vector<double> d, e;
  int64_t n() const { return static_cast<int64_t>(d.size()); }
  double norm() const {  // the largest sum of a row's magnitudes
    double largest = 0.0;
    for (int64_t i = 0; i < n(); ++i)
      largest =
          std::max(largest, std::abs(d[i]) + (i > 0 ? std::abs(e[i - 1]) : 0.0) + (i + 1 < n() ? std::abs(e[i]) : 0.0));
    return largest;
  }
};

using Entry = std::function<double(double)>;  // of a row

inline Tridiagonal tridiagonal(int64_t n, const Entry& diagonal, const Entry& beside) {
  Tridiagonal t;
  for (int64_t i = 0; i < n; ++i) t.d.push_back(diagonal(static_cast<double>(i)));
  for (int64_t i = 0; i + 1 < n; ++i) t.e.push_back(beside(static_cast<double>(i)));
  return t;
}

inline Entry constant(double value) {
  return [value](double) { return value; };
}

inline Tridiagonal random(int64_t n, unsigned seed) {
  const std::vector<double> x = normal<double>(2 * n, seed);
  return tridiagonal(
      n, [&](double i) { return x[static_cast<size_t>(i)]; },
      [&](double i) { return x[static_cast<size_t>(i) + static_cast<size_t>(n)]; });
}

// W⁺ of 21 rows again and again: pairs of nearly equal eigenvalues, each as often as there are copies.
inline Tridiagonal glued_wilkinson(int64_t n, double glue) {
  return tridiagonal(
      n, [](double i) { return std::abs(std::fmod(i, 21.0) - 10.0); },
      [=](double i) { return std::fmod(i, 21.0) == 20.0 ? glue : 1.0; });
}

// The reduction of a full matrix of these eigenvalues.
inline Tridiagonal of_spectrum(int64_t n, const Entry& eigenvalue) {
  std::vector<double> eigenvalues;
  for (int64_t i = 0; i < n; ++i) eigenvalues.push_back(eigenvalue(static_cast<double>(i)));
  std::vector<double> A = with_spectrum(orthogonal(n, 5), eigenvalues), tau(n + 1), e(n + 1), work(64 * n + 1);
  Tridiagonal t{std::vector<double>(n), {}};
  const int size = static_cast<int>(n), lda = std::max(size, 1), lwork = static_cast<int>(work.size());
  int info = 0;
  scipy_dsytrd_("L", &size, A.data(), &lda, t.d.data(), e.data(), tau.data(), work.data(), &lwork, &info, 1);
  t.e.assign(e.begin(), e.begin() + std::max<int64_t>(n - 1, 0));
  return t;
}

inline const std::vector<std::pair<const char*, std::function<Tridiagonal(int64_t)>>> kStructures = {
    {"random", [](int64_t n) { return random(n, 1); }},
    {"Toeplitz", [](int64_t n) { return tridiagonal(n, constant(2.0), constant(-1.0)); }},
    {"Wilkinson",
     [](int64_t n) {
       const double middle = 0.5 * static_cast<double>(n - 1);
       return tridiagonal(n, [=](double i) { return std::abs(i - middle); }, constant(1.0));
     }},
    {"glued 1e-14", [](int64_t n) { return glued_wilkinson(n, 1e-14); }},
    {"glued 1e-10", [](int64_t n) { return glued_wilkinson(n, 1e-10); }},
    {"glued 1e-7", [](int64_t n) { return glued_wilkinson(n, 1e-7); }},
    {"glued 1e-4", [](int64_t n) { return glued_wilkinson(n, 1e-4); }},
    {"identity", [](int64_t n) { return tridiagonal(n, constant(1.0), constant(0.0)); }},
    {"zero", [](int64_t n) { return tridiagonal(n, constant(0.0), constant(0.0)); }},
    {"nearly a multiple of I", [](int64_t n) { return tridiagonal(n, constant(0.7), constant(1e-14)); }},
    {"zero diagonal", [](int64_t n) { return tridiagonal(n, constant(0.0), constant(1.0)); }},
    {"graded down",
     [](int64_t n) {
       const auto entry = [n](double i) { return std::pow(10.0, -30.0 * i / static_cast<double>(n)); };
       return tridiagonal(n, entry, entry);
     }},
    {"graded up",
     [](int64_t n) {
       const auto entry = [n](double i) { return std::pow(10.0, -30.0 + 30.0 * i / static_cast<double>(n)); };
       return tridiagonal(n, entry, [=](double i) { return -0.4 * entry(i); });
     }},
    {"Clement",
     [](int64_t n) {
       return tridiagonal(n, constant(0.0),
                          [n](double i) { return std::sqrt((i + 1.0) * (static_cast<double>(n) - 1.0 - i)); });
     }},
    {"two values", [](int64_t n) { return of_spectrum(n, [](double i) { return i < 5.0 ? 1.0 : -0.3; }); }},
    {"clusters", [](int64_t n) { return of_spectrum(n, [](double i) { return std::fmod(i, 4.0) + 1e-13 * i; }); }},
    {"low rank", [](int64_t n) { return of_spectrum(n, [](double i) { return i < 9.0 ? 1.0 + i : 0.0; }); }},
    {"decaying", [](int64_t n) { return of_spectrum(n, [](double i) { return std::pow(0.8, i); }); }},
    {"falls apart",
     [](int64_t n) {
       Tridiagonal t = random(n, 2);
       for (size_t i = 0; i < t.e.size(); i += 3) t.e[i] = 0.0;
       return t;
     }},
    {"tiny", [](int64_t n) {
       Tridiagonal t = random(n, 3);
       for (double& x : t.d) x *= 1e-30;
       for (double& x : t.e) x *= 1e-30;
       return t;
     }}};

}  // namespace kronla::testing
