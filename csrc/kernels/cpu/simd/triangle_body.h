// Small triangles: Cholesky factors and solves by substitution. Included as kernels_body.h says.

// W ← W L⁻ᵀ for at most V vectors of rows, which are transposed: a column of them is then V vectors. Four sums at once
// hide each other's latency; fewer would wait, so that each column is taken from all later ones instead.
template <class T, int V>
void solve_strip(int64_t rows, int64_t n, const T* L, int64_t ldl, T* W, int64_t ldw) {
  using S = Simd<T>;
  constexpr int64_t side = V * S::lanes;
  alignas(64) T x[kSolve * side];
  if (rows < side)
    for (int64_t i = 0; i < n * side; ++i) x[i] = T(0);
  move_transposed(rows, n, W, ldw, x, side);
  for (int64_t c = 0; c < n; ++c) {
    typename S::Vector column[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) column[v] = S::load(x + c * side + v * S::lanes);
    for (int64_t k = 0; V == 4 && k < c; ++k) {
      const typename S::Vector factor = S::broadcast(-L[c * ldl + k]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) column[v] = S::fused(factor, S::load(x + k * side + v * S::lanes), column[v]);
    }
    const typename S::Vector inverse = S::broadcast(T(1) / L[c * ldl + c]);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      column[v] = S::multiply(column[v], inverse);
      S::store(x + c * side + v * S::lanes, column[v]);
    }
    for (int64_t k = c + 1; V < 4 && k < n; ++k) {
      const typename S::Vector factor = S::broadcast(-L[k * ldl + c]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        T* later = x + k * side + v * S::lanes;
        S::store(later, S::fused(factor, column[v], S::load(later)));
      }
    }
  }
  move_transposed(n, rows, x, side, W, ldw);
}

template <class T>
void solve(int64_t m, int64_t n, const T* L, int64_t ldl, T* W, int64_t ldw) {
  constexpr int64_t lanes = Simd<T>::lanes;
  for (; m > 2 * lanes; m -= 4 * lanes, W += 4 * lanes * ldw)
    solve_strip<T, 4>(smaller(4 * lanes, m), n, L, ldl, W, ldw);
  if (m > lanes) return solve_strip<T, 2>(m, n, L, ldl, W, ldw);
  if (m > 0) solve_strip<T, 1>(m, n, L, ldl, W, ldw);
}

inline float square_root(float x) { return __builtin_sqrtf(x); }
inline double square_root(double x) { return __builtin_sqrt(x); }

// By columns, the later ones updated after each, as L D Lᵀ until the end: a column then waits for a division alone.
// Transposed, so that a column is a few vectors. What is above the diagonal keeps to its own lanes.
template <class T>
bool cholesky(int64_t n, T* A, int64_t lda) {
  using S = Simd<T>;
  alignas(64) T x[kSolve * kSolve];
  T scales[kSolve];
  if (n % S::lanes != 0)
    for (int64_t i = 0; i < n * kSolve; ++i) x[i] = T(0);
  move_transposed(n, n, A, lda, x, kSolve);
  for (int64_t j = 0; j < n; ++j) {
    const T* column = x + j * kSolve;
    if (!(column[j] > T(0))) return false;
    scales[j] = column[j];
    const T inverse = T(-1) / column[j];
    for (int64_t k = j + 1; k < n; ++k) {
      const typename S::Vector factor = S::broadcast(column[k] * inverse);
      T* later = x + k * kSolve;
      for (int64_t i = k / S::lanes * S::lanes; i < n; i += S::lanes)
        S::store(later + i, S::fused(factor, S::load(column + i), S::load(later + i)));
    }
  }
  for (int64_t j = 0; j < n; ++j) scales[j] = T(1) / square_root(scales[j]);
  for (int64_t j = 0; j < n; ++j) {
    const typename S::Vector scale = S::broadcast(scales[j]);
    for (int64_t i = j / S::lanes * S::lanes; i < n; i += S::lanes)
      S::store(x + j * kSolve + i, S::multiply(S::load(x + j * kSolve + i), scale));
  }
  move_transposed(n, n, x, kSolve, A, lda);
  return true;
}

// A[n,n] ← its LU factors after signs[k], ±1, was added to each pivot away from 0: magnitudes of 1 or more. Rows are kSolve
// apart. Each row takes four pivots at once; their rows are kept with zeros before what acts, so that vectors are whole.
inline void lu_of_signed(int64_t n, double* A, double* signs) {
  using S = Simd<double>;
  constexpr int64_t steps = 4;
  alignas(64) double pivots[steps][kSolve];
  double inverse[steps];
  for (int64_t k = 0; k < n; k += steps) {
    for (int64_t s = 0; s < steps; ++s)
      for (int64_t j = 0; j < kSolve; ++j) pivots[s][j] = 0.0;
    for (int64_t i = k; i < n; ++i) {
      double* row = A + i * kSolve;
      const int64_t known = smaller(steps, i - k);
      double factor[steps] = {};
      for (int64_t s = 0; s < known; ++s) {
        factor[s] = row[k + s];
        for (int64_t t = 0; t < s; ++t) factor[s] -= factor[t] * pivots[t][k + s];
        factor[s] *= inverse[s];
      }
      const S::Vector first = S::broadcast(-factor[0]), second = S::broadcast(-factor[1]);
      const S::Vector third = S::broadcast(-factor[2]), fourth = S::broadcast(-factor[3]);
      for (int64_t j = k / S::lanes * S::lanes; j < n; j += S::lanes) {
        S::Vector x = S::fused(first, S::load(pivots[0] + j), S::load(row + j));
        x = S::fused(second, S::load(pivots[1] + j), x);
        x = S::fused(third, S::load(pivots[2] + j), x);
        S::store(row + j, S::fused(fourth, S::load(pivots[3] + j), x));
      }
      for (int64_t s = 0; s < known; ++s) row[k + s] = factor[s];
      if (known == steps) continue;
      signs[i] = row[i] < 0.0 ? -1.0 : 1.0;
      row[i] += signs[i];
      inverse[known] = 1.0 / row[i];
      for (int64_t j = i + 1; j < n; ++j) pivots[known][j] = row[j];
    }
  }
}
