// Sums down the columns of matrices, and the rotation of an eigenbasis. Included as block_body.h says.

// sums[n] ← Σ_i X_ij Y_ij in float64, `strips` times eight columns at once.
template <class T, int Strips>
void column_strip(int64_t m, const T* X, int64_t ldx, const T* Y, int64_t ldy, double* sums) {
  using Vector = typename Eight<T>::Vector;
  Doubles8 sum[Strips] = {};
  for (int64_t i = 0; i < m; ++i)
#pragma GCC unroll 4
    for (int s = 0; s < Strips; ++s) {
      Vector x, y;
      __builtin_memcpy(&x, X + i * ldx + 8 * s, sizeof x);
      __builtin_memcpy(&y, Y + i * ldy + 8 * s, sizeof y);
      sum[s] += __builtin_convertvector(x, Doubles8) * __builtin_convertvector(y, Doubles8);
    }
  __builtin_memcpy(sums, sum, sizeof sum);
}

template <class T>
void column_products(int64_t m, int64_t n, const T* X, int64_t ldx, const T* Y, int64_t ldy, double* sums) {
  int64_t j = 0;
  for (; j + 32 <= n; j += 32) column_strip<T, 4>(m, X + j, ldx, Y + j, ldy, sums + j);
  for (; j + 8 <= n; j += 8) column_strip<T, 1>(m, X + j, ldx, Y + j, ldy, sums + j);
  for (; j < n; ++j) {
    double sum = 0.0;
    for (int64_t i = 0; i < m; ++i) sum += static_cast<double>(X[i * ldx + j]) * static_cast<double>(Y[i * ldy + j]);
    sums[j] = sum;
  }
}

inline float with_sign(float x, float sign) { return __builtin_copysignf(x, sign); }
inline double with_sign(double x, double sign) { return __builtin_copysign(x, sign); }

// No branch: it vectorises.
template <class T>
void rotation(int64_t n, const T* B, const T* diagonal, T floor, T least, T* R) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      const T o = B[i * n + j], d = diagonal[i] - diagonal[j];
      const T squares = d * d + o * o, sum = squares + o * o + floor, bottom = sum > least ? sum : least;
      R[i * n + j] = -o * with_sign(square_root(squares) / bottom, d);
    }
    R[i * n + i] = T(0);
  }
  mirror(n, R);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) R[i * n + j] = -R[i * n + j];
}
