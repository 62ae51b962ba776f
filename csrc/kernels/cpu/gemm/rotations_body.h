// Tridiagonal matrices of a few rows by implicit QL. Included as block_body.h says.

// The vectors as rows of V vectors each. Of a rotation of rows i and i+1, row i is the one that the next rotation turns
// too, so it stays in registers.
// Martin & Wilkinson 1968 (The implicit QL algorithm), with Wilkinson's shift.
template <int V>
bool ql_sweeps(int64_t n, double* d, double* e, double* Z) {
  using S = Simd<double>;
  constexpr double epsilon = 0x1p-53, vanishing = 0x1p-960;  // below which a square may have underflowed
  constexpr int kSweeps = 40;                                // for one eigenvalue; two are usual
  for (int64_t l = 0; l + 1 < n; ++l)
    for (int sweep = 0;; ++sweep) {
      int64_t m = l;
      while (m + 1 < n && !(__builtin_fabs(e[m]) <= epsilon * (__builtin_fabs(d[m]) + __builtin_fabs(d[m + 1])))) ++m;
      if (m == l) break;
      if (sweep == kSweeps) return false;
      const double half = 0.5 * (d[l + 1] - d[l]), square = e[l] * e[l];
      const double reach = __builtin_fabs(half) + __builtin_sqrt(half * half + square);
      double g = d[m] - d[l];
      if (reach > 0.0) g += (half < 0.0 ? -square : square) / reach;
      double s = 1.0, c = 1.0, p = 0.0;
      typename S::Vector carried[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) carried[v] = S::load(Z + m * kLeaf + v * S::lanes);
      int64_t i = m - 1;
      for (; i >= l; --i) {
        const double f = s * e[i], b = c * e[i], size = f * f + g * g;
        if (!(size > vanishing)) break;
        const double r = __builtin_sqrt(size);
        e[i + 1] = r;
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        const double t = (d[i] - g) * s + 2.0 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
        const typename S::Vector sine = S::broadcast(s), cosine = S::broadcast(c);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
          double* row = Z + i * kLeaf + v * S::lanes;
          const typename S::Vector next = S::load(row);
          S::store(row + kLeaf, S::fused(sine, next, S::multiply(cosine, carried[v])));
          carried[v] = cosine * next - sine * carried[v];
        }
      }
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) S::store(Z + (i + 1) * kLeaf + v * S::lanes, carried[v]);
      e[m] = 0.0;
      if (i >= l) {  // the matrix falls apart at i+1
        d[i + 1] -= p;
        e[i + 1] = 0.0;
      } else {
        d[l] -= p;
        e[l] = g;
      }
    }
  return true;
}

inline bool ql(int64_t n, double* d, double* e, double* Z) {
  constexpr int64_t lanes = Simd<double>::lanes;
  constexpr int kMost = static_cast<int>(kLeaf / lanes), kHalf = kMost > 1 ? kMost / 2 : 1;
  for (int64_t i = 0; i < n * kLeaf; ++i) Z[i] = 0.0;
  for (int64_t i = 0; i < n; ++i) Z[i * kLeaf + i] = 1.0;
  return n <= kHalf * lanes ? ql_sweeps<kHalf>(n, d, e, Z) : ql_sweeps<kMost>(n, d, e, Z);
}
