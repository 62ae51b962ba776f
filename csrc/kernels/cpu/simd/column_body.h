// Sums down the columns of matrices; the residual, the probes and the rotation of an eigenbasis. Included as
// kernels_body.h says.

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

// R[count,n] ← X − Y diag(d), which R may be the same as; Σ R² in float64.
template <class T>
double residual(int64_t count, int64_t n, const T* X, const T* Y, const T* d, T* R) {
  using Vector = typename Eight<T>::Vector;
  Doubles8 sum = {};
  for (int64_t i = 0; i < count; ++i, X += n, Y += n, R += n) {
    int64_t j = 0;
    for (; j + 8 <= n; j += 8) {
      Vector x, y, scale;
      __builtin_memcpy(&x, X + j, sizeof x);
      __builtin_memcpy(&y, Y + j, sizeof y);
      __builtin_memcpy(&scale, d + j, sizeof scale);
      const Vector r = x - y * scale;
      __builtin_memcpy(R + j, &r, sizeof r);
      const Doubles8 wide = __builtin_convertvector(r, Doubles8);
      sum += wide * wide;
    }
    for (; j < n; ++j) {
      R[j] = X[j] - Y[j] * d[j];
      sum[j % 8] += static_cast<double>(R[j]) * static_cast<double>(R[j]);
    }
  }
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

// Y[kProbing,n] ← Qᵀ(QVᵀ), transposed, for Q[m,n] and V[kProbing,n]: two rows of Q at once, each read a single time.
template <class T>
void probe(int64_t m, int64_t n, const T* Q, const T* V, T* Y) {
  using S = Simd<T>;
  for (int64_t j = 0; j < kProbing * n; ++j) Y[j] = T(0);
  for (int64_t i = 0; i < m; i += 2) {
    const T* rows[2] = {Q + i * n, Q + (i + 1 < m ? i + 1 : i) * n};
    typename S::Vector sum[2][kProbing];
#pragma GCC unroll 4
    for (int k = 0; k < kProbing; ++k) sum[0][k] = sum[1][k] = S::broadcast(T(0));
    const int64_t whole = n / S::lanes * S::lanes;
    for (int64_t j = 0; j < whole; j += S::lanes) {
      const typename S::Vector q[2] = {S::load(rows[0] + j), S::load(rows[1] + j)};
#pragma GCC unroll 4
      for (int k = 0; k < kProbing; ++k) {
        const typename S::Vector v = S::load(V + k * n + j);
        sum[0][k] = S::fused(q[0], v, sum[0][k]);
        sum[1][k] = S::fused(q[1], v, sum[1][k]);
      }
    }
    T dot[2][kProbing];
    typename S::Vector weight[2][kProbing];
#pragma GCC unroll 4
    for (int k = 0; k < kProbing; ++k)
      for (int r = 0; r < 2; ++r) {
        dot[r][k] = S::sum(sum[r][k]);
        for (int64_t j = whole; j < n; ++j) dot[r][k] += rows[r][j] * V[k * n + j];
        if (i + r == m) dot[r][k] = T(0);
        weight[r][k] = S::broadcast(dot[r][k]);
      }
    for (int64_t j = 0; j < whole; j += S::lanes) {
      const typename S::Vector q[2] = {S::load(rows[0] + j), S::load(rows[1] + j)};
#pragma GCC unroll 4
      for (int k = 0; k < kProbing; ++k) {
        T* y = Y + k * n + j;
        S::store(y, S::fused(q[1], weight[1][k], S::fused(q[0], weight[0][k], S::load(y))));
      }
    }
    for (int k = 0; k < kProbing; ++k)
      for (int64_t j = whole; j < n; ++j) Y[k * n + j] += rows[0][j] * dot[0][k] + rows[1][j] * dot[1][k];
  }
}

// Y_ij ← X_ij scales[j], rounded once; without scales Y ← X.
template <class From, class To>
void scale_columns(int64_t m, int64_t n, const From* X, int64_t ldx, const double* scales, To* Y, int64_t ldy) {
  const int64_t whole = n / 8 * 8;
  for (int64_t i = 0; i < m; ++i) {
    const From* x = X + i * ldx;
    To* y = Y + i * ldy;
    for (int64_t j = 0; j < whole; j += 8) {
      typename Eight<From>::Vector from;
      __builtin_memcpy(&from, x + j, sizeof from);
      Doubles8 value = __builtin_convertvector(from, Doubles8);
      if (scales != nullptr) {
        Doubles8 scale;
        __builtin_memcpy(&scale, scales + j, sizeof scale);
        value *= scale;
      }
      const auto to = __builtin_convertvector(value, typename Eight<To>::Vector);
      __builtin_memcpy(y + j, &to, sizeof to);
    }
    for (int64_t j = whole; j < n; ++j)
      y[j] = static_cast<To>(scales == nullptr ? static_cast<double>(x[j]) : static_cast<double>(x[j]) * scales[j]);
  }
}

inline float with_sign(float x, float sign) { return __builtin_copysignf(x, sign); }
inline double with_sign(double x, double sign) { return __builtin_copysign(x, sign); }

// No branch: it vectorises. What whole vectors reach beyond the diagonal is overwritten. `least`, the smallest normal number,
// puts pairs to rest.
template <class T>
void rotation(int64_t n, const T* B, const T* diagonal, T floor, T noise, T least, T* R) {
  const T rest = noise / T(9);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0, end = smaller(n, round_up(i, kLanes)); j < end; ++j) {
      const T o = B[i * n + j], d = diagonal[i] - diagonal[j];
      const T squares = d * d + o * o, excess = squares - rest, divisor = excess > least ? excess : least;
      R[i * n + j] = -o * with_sign(square_root(squares) / (squares + o * o + floor + noise * (noise / divisor)), d);
    }
    R[i * n + i] = T(0);
  }
  mirror<T, true>(n, R);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) R[i * n + j] = -R[i * n + j];
}
