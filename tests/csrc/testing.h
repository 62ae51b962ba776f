// A test program in one header: TEST(name) { ... } blocks, checks that go on after a failure, and inputs from fixed seeds.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "kernels/parallel.h"

namespace kronla::testing {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Registration {
  Registration(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline void report(bool passed, const char* file, int line, const char* what) {
  if (passed) return;
  ++failures();
  std::printf("%s:%d: %s\n", file, line, what);
}

inline void report_close(double error, double tolerance, const char* file, int line, const char* what) {
  if (error <= tolerance) return;  // false for NaN
  ++failures();
  std::printf("%s:%d: %s is %.3g, allowed is %.3g\n", file, line, what, error, tolerance);
}

inline int run_all() {
  for (const Test& test : tests()) {
    const int before = failures();
    test.body();
    std::printf("%-6s %s\n", failures() == before ? "ok" : "FAILED", test.name);
  }
  return failures() == 0 ? 0 : 1;
}

#define TEST(name)                                                                    \
  static void test_##name();                                                          \
  static const ::kronla::testing::Registration registered_##name(#name, test_##name); \
  static void test_##name()
#define CHECK(condition) ::kronla::testing::report((condition), __FILE__, __LINE__, #condition)
// `error` is at most `tolerance`; NaN is a failure.
#define CHECK_SMALL(error, tolerance) ::kronla::testing::report_close((error), (tolerance), __FILE__, __LINE__, #error)

// ---- threads ----

inline Parallel serial() { return {}; }

// As many std::threads as workers: more disorder than a pool makes.
inline Parallel threads(int64_t count) {
  return {count, [](int64_t workers, Parallel::Work work, void* context) {
            std::vector<std::thread> running;
            for (int64_t w = 0; w < workers; ++w) running.emplace_back(work, context, w);
            for (std::thread& thread : running) thread.join();
          }};
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// compute(parallel) -> std::vector: its result without threads, after a check that threads do not change a bit of it.
#define SAME_BITS(...) ::kronla::testing::same_bits_with_threads(__VA_ARGS__, __FILE__, __LINE__)
template <class Compute>
auto same_bits_with_threads(Compute&& compute, const char* file, int line) {
  const auto alone = compute(serial());
  for (const int64_t count : {2, 5}) {
    report(same_bits(alone, compute(threads(count))), file, line, "threads change the bits of the result");
  }
  return alone;
}

// ---- inputs ----

template <class T>
constexpr double rounding() {
  return std::numeric_limits<T>::epsilon() / 2;
}

template <class T>
std::vector<T> normal(int64_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> distribution;
  std::vector<T> x(static_cast<size_t>(count));
  for (T& value : x) value = static_cast<T>(distribution(engine));
  return x;
}

// [batch, n, n], each GGᵀ/n + shift·I of a Gaussian G: symmetric to the bit, positive definite for a shift > 0.
template <class T>
std::vector<T> definite(int64_t batch, int64_t n, double shift, unsigned seed) {
  std::vector<T> A(static_cast<size_t>(batch * n * n));
  const std::vector<double> G = normal<double>(batch * n * n, seed);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j <= i; ++j) {
        double sum = i == j ? shift : 0.0;
        for (int64_t k = 0; k < n; ++k) sum += G[(b * n + i) * n + k] * G[(b * n + j) * n + k] / static_cast<double>(n);
        A[(b * n + i) * n + j] = A[(b * n + j) * n + i] = static_cast<T>(sum);
      }
  return A;
}

// An orthogonal [n, n]: the product of three Householder reflections.
inline std::vector<double> orthogonal(int64_t n, unsigned seed) {
  std::vector<double> Q(static_cast<size_t>(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i) Q[i * n + i] = 1.0;
  for (unsigned k = 0; k < 3; ++k) {
    const std::vector<double> v = normal<double>(n, seed + k);
    double square = 0.0;
    for (const double x : v) square += x * x;
    for (int64_t i = 0; i < n; ++i) {
      double dot = 0.0;
      for (int64_t j = 0; j < n; ++j) dot += Q[i * n + j] * v[j];
      for (int64_t j = 0; j < n; ++j) Q[i * n + j] -= 2.0 * dot / square * v[j];
    }
  }
  return Q;
}

// Q diag(λ) Qᵀ, symmetric to the bit.
inline std::vector<double> with_spectrum(const std::vector<double>& Q, const std::vector<double>& eigenvalues) {
  const auto n = static_cast<int64_t>(eigenvalues.size());
  std::vector<double> A(Q.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      double sum = 0.0;
      for (int64_t k = 0; k < n; ++k) sum += Q[i * n + k] * eigenvalues[k] * Q[j * n + k];
      A[i * n + j] = A[j * n + i] = sum;
    }
  return A;
}

// 1 … 1/condition, evenly spaced in their logarithms, descending.
inline std::vector<double> log_uniform(int64_t n, double condition) {
  std::vector<double> eigenvalues(static_cast<size_t>(n), 1.0);
  for (int64_t i = 1; i < n; ++i)
    eigenvalues[i] = std::pow(condition, -static_cast<double>(i) / static_cast<double>(n - 1));
  return eigenvalues;
}

// ---- measures, all in float64 ----

template <class S, class T>
std::vector<T> as(const std::vector<S>& x) {
  return std::vector<T>(x.begin(), x.end());
}

// ‖a − b‖/‖b‖; 0 for two empty ones, and NaN where either holds one.
template <class A, class B>
double relative_error(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double gap = 0.0, size = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    gap += (x - y) * (x - y);
    size += y * y;
  }
  return gap == 0.0 ? 0.0 : std::sqrt(gap / std::max(size, 1e-300));
}

template <class T>
bool symmetric_to_the_bit(int64_t n, const T* A) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < i; ++j)
      if (std::memcmp(&A[i * n + j], &A[j * n + i], sizeof(T)) != 0) return false;
  return true;
}

// C[m,n] = op(A) op(B) with a sum over k, naively: A is [m,k], or [k,m] if transposed; B is [k,n], or [n,k].
template <class A, class B>
std::vector<double> multiply(int64_t m, int64_t n, int64_t k, const A* a, bool a_transposed, const B* b,
                             bool b_transposed) {
  std::vector<double> c(static_cast<size_t>(m * n), 0.0);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l)
        c[i * n + j] += static_cast<double>(a_transposed ? a[l * m + i] : a[i * k + l]) *
                        static_cast<double>(b_transposed ? b[j * k + l] : b[l * n + j]);
  return c;
}

// ‖QᵀQ − I‖_F of Q[m,n].
template <class T>
double orthogonality(int64_t m, int64_t n, const T* Q) {
  std::vector<double> gram = multiply(n, n, m, Q, true, Q, false);
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const double gap = gram[i * n + j] - (i == j ? 1.0 : 0.0);
      sum += gap * gap;
    }
  return std::sqrt(sum);
}

}  // namespace kronla::testing

int main() { return kronla::testing::run_all(); }
