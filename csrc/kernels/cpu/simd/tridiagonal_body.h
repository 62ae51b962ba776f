// Householder's reduction of a symmetric matrix to tridiagonal form. Included as kernels_body.h says.
//
// The matrix is the lower triangle of S, whose squares of kSquare on the diagonal are stored whole: then nothing but
// whole vectors is read and written. Vectors that S is multiplied with, and updated by, are 0 beyond their length; what
// that leaves in the rest of the last squares is never used.

template <class T>
constexpr int64_t kSquare = 2 * Simd<T>::lanes;

constexpr int kUpdateRows = kRows == 8 ? 4 : 2;   // of a strip that is updated and multiplied in one pass: registers
constexpr int kProductRows = kRows == 8 ? 8 : 4;  // of one that is only multiplied
// From this length of rows on, strips of kProductRows in any case: the traffic of v, w, x and the product then costs more
// than factors that registers do not hold. (Zen 4, float64: 3% at n = 1024, 10% at 1536, shorter rows lose up to 5%; with
// AVX2 5% at 768, 12% at 1024.)
constexpr int64_t kLongRow = 512;

template <class T>
T* vector_of(const Reduction<T>& p, int which) {
  return p.vectors + which * p.lds;
}

// S's squares on the diagonal ← the mirror image of their lower triangles.
template <class T>
void mirror_squares(int64_t n, T* S, int64_t lds) {
  for (int64_t r = 0; r < n; ++r)
    for (int64_t c = r / kSquare<T> * kSquare<T>; c < r; ++c) S[c * lds + r] = S[r * lds + c];
}

// S ← the lower triangle of A[n,n], and rows of zeros up to a whole square.
template <class T>
void spread_lower(int64_t n, const T* A, T* S, int64_t lds) {
  using V = Simd<T>;
  constexpr int64_t lanes = V::lanes, side = kSquare<T>;
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = 0; c < r / side * side + side; c += lanes) {
      const int64_t count = smaller(r + 1 - c, lanes);
      const auto x = count == lanes ? V::load(A + r * n + c)
                     : count <= 0   ? V::broadcast(T(0))
                                    : V::load_part(A + r * n + c, V::part(count));
      V::store(S + r * lds + c, x);
    }
  }
  for (int64_t r = n; r < round_up(n, side); ++r)
    for (int64_t c = 0; c < round_up(n, side); ++c) S[r * lds + c] = T(0);
  mirror_squares(n, S, lds);
}

// Rows [0, R) of S, columns left of their square: S ← S − v wᵀ − w vᵀ (Update); sums[r] ← S x, product ← product + Sᵀ x.
// `row` is the first of them, in v, w and x. (Not inline: registers are then allocated for its loop alone, 1 to 2%.)
template <class T, int R, bool Update>
__attribute__((noinline)) void strip(int64_t row, int64_t columns, T* S, int64_t lds, const T* v, const T* w,
                                     const T* x, T* product, T* sums) {
  using V = Simd<T>;
  typename V::Vector vr[R], wr[R], xr[R], sum[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    if (Update) vr[r] = V::broadcast(-v[row + r]);
    if (Update) wr[r] = V::broadcast(-w[row + r]);
    xr[r] = V::broadcast(x[row + r]);
    sum[r] = V::broadcast(T(0));
  }
  for (int64_t c = 0; c < columns; c += V::lanes) {
    typename V::Vector vc, wc, total[2] = {V::load(product + c), V::broadcast(T(0))};
    if (Update) vc = V::load(v + c);
    if (Update) wc = V::load(w + c);
    const typename V::Vector xc = V::load(x + c);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      typename V::Vector a = V::load(S + r * lds + c);
      if (Update) {
        a = V::fused(wr[r], vc, V::fused(vr[r], wc, a));
        V::store(S + r * lds + c, a);
      } else {
        V::keep(a);
      }
      sum[r] = V::fused(a, xc, sum[r]);
      total[r % 2] = V::fused(a, xr[r], total[r % 2]);
    }
    V::store(product + c, total[0] + total[1]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) sums[row + r] = V::sum(sum[r]);
}

// The same for a square on the diagonal, of which the first `rows` rows and `Width` vectors count: product ← S x.
template <class T, int Width, bool Update>
void square(int64_t rows, T* S, int64_t lds, const T* v, const T* w, const T* x, T* product) {
  using V = Simd<T>;
  typename V::Vector vc[Width], wc[Width], total[2][Width];
#pragma GCC unroll 2
  for (int k = 0; k < Width; ++k) {
    if (Update) vc[k] = -V::load(v + k * V::lanes);
    if (Update) wc[k] = -V::load(w + k * V::lanes);
    total[0][k] = total[1][k] = V::broadcast(T(0));
  }
  for (int64_t row = 0; row < rows; row += 2) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const int64_t r = row + half;
      const typename V::Vector xr = V::broadcast(x[r]);
#pragma GCC unroll 2
      for (int k = 0; k < Width; ++k) {
        T* s = S + r * lds + k * V::lanes;
        typename V::Vector a = V::load(s);
        if (Update) {
          a = V::fused(V::broadcast(w[r]), vc[k], V::fused(V::broadcast(v[r]), wc[k], a));
          V::store(s, a);
        }
        total[half][k] = V::fused(a, xr, total[half][k]);
      }
    }
  }
#pragma GCC unroll 2
  for (int k = 0; k < Width; ++k) V::store(product + k * V::lanes, total[0][k] + total[1][k]);
}

// S[m,m] ← S − v wᵀ − w vᵀ (Update), then product + sums ← S x, in one pass over the lower triangle. sums is 0 in the first
// square, and stays so.
template <class T, bool Update>
void symmetric_step(int64_t m, T* S, int64_t lds, const T* v, const T* w, const T* x, T* product, T* sums) {
  constexpr int64_t side = kSquare<T>;
  constexpr int R = Update ? kUpdateRows : kProductRows;
  static_assert(side % R == 0 && side % kProductRows == 0);
  for (int64_t c = 0; c < m; c += side) {
    const int64_t rows = smaller(side, m - c);
    if (c >= kLongRow) {
      for (int64_t r = c; r < c + rows; r += kProductRows)
        strip<T, kProductRows, Update>(r, c, S + r * lds, lds, v, w, x, product, sums);
    } else if (c > 0) {
      for (int64_t r = c; r < c + rows; r += R) strip<T, R, Update>(r, c, S + r * lds, lds, v, w, x, product, sums);
    }
    T* diagonal = S + c * lds + c;
    if (rows > Simd<T>::lanes) {
      square<T, 2, Update>(rows, diagonal, lds, v + c, w + c, x + c, product + c);
    } else {
      square<T, 1, Update>(rows, diagonal, lds, v + c, w + c, x + c, product + c);
    }
  }
}

// H = I − tau (v,1)(v,1)ᵀ with H (x, alpha) = (0, beta), v = scale x.
template <class T>
struct Reflector {
  T tau, scale;
  double beta;
};

// Where squares leave the range, or may all be 0: x is scaled by a power of two first.
template <class T>
__attribute__((noinline)) Reflector<T> scaled_reflector(int64_t count, T* x, T alpha);

// squares = Σ x².
template <class T>
Reflector<T> reflector_of(int64_t count, T* x, T alpha, T squares) {
  constexpr T epsilon = sizeof(T) == 4 ? T(__FLT_EPSILON__) : T(__DBL_EPSILON__);
  constexpr T least = sizeof(T) == 4 ? T(__FLT_MIN__) : T(__DBL_MIN__);
  constexpr T low = least / (epsilon * epsilon);
  const T total = squares + alpha * alpha;
  if (!(squares > T(0) && total > low && total < T(1) / low)) return scaled_reflector(count, x, alpha);
  const T norm = sizeof(T) == 4 ? T(__builtin_sqrtf(float(total))) : T(__builtin_sqrt(double(total)));
  const T beta = alpha < T(0) ? norm : -norm;
  return {(beta - alpha) / beta, T(1) / (alpha - beta), double(beta)};
}

template <class T>
Reflector<T> scaled_reflector(int64_t count, T* x, T alpha) {
  constexpr int most = sizeof(T) == 4 ? 126 : 1022;
  const T rest = largest(count, x), size = alpha < T(0) ? -alpha : alpha;
  if (rest == T(0)) return {T(0), T(0), double(alpha)};
  const int exponent = -__builtin_ilogb(double(rest > size ? rest : size));
  const double unit = __builtin_ldexp(1.0, exponent > most ? most : exponent < -most ? -most : exponent);
  double squares = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    x[i] = T(double(x[i]) * unit);
    squares += double(x[i]) * double(x[i]);
  }
  const double first = double(alpha) * unit, norm = __builtin_sqrt(squares + first * first);
  const double beta = first < 0.0 ? norm : -norm;
  return {T((beta - first) / beta), T(1.0 / (first - beta)), beta / unit};
}

// tail ← row[0..q−1) − a v − b w, where v[q] = b and w[q] = a; 0 up to the end of the square of q − 1. Returns Σ tail².
template <class T>
T next_row(int64_t q, const T* row, const T* v, const T* w, T* tail) {
  using V = Simd<T>;
  const typename V::Vector vq = V::broadcast(-v[q]), wq = V::broadcast(-w[q]);
  typename V::Vector sum = V::broadcast(T(0));
  int64_t c = 0;
  for (; c + V::lanes <= q - 1; c += V::lanes) {
    const typename V::Vector x = V::fused(wq, V::load(v + c), V::fused(vq, V::load(w + c), V::load(row + c)));
    V::store(tail + c, x);
    sum = V::fused(x, x, sum);
  }
  const auto part = V::part(q - 1 - c);
  const typename V::Vector x =
      V::first(part, V::fused(wq, V::load(v + c), V::fused(vq, V::load(w + c), V::load(row + c))));
  V::store(tail + c, x);
  for (int64_t k = c + V::lanes; k < round_up(q, kSquare<T>); k += V::lanes) V::store(tail + k, V::broadcast(T(0)));
  return V::sum(V::fused(x, x, sum));
}

// v ← (scale tail, 1, 0 …), up to a whole square, and the same into `stored`, of q elements. The tail has q − 1.
template <class T>
void make_vector(int64_t q, T scale, const T* tail, T* v, T* stored) {
  using V = Simd<T>;
  static constexpr T one[2 * kLanes] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  const typename V::Vector factor = V::broadcast(scale);
  int64_t c = 0;
  for (; c + V::lanes <= q - 1; c += V::lanes) {
    const typename V::Vector x = V::multiply(factor, V::load(tail + c));
    V::store(v + c, x);
    V::store(stored + c, x);
  }
  const typename V::Vector x = V::fused(factor, V::load(tail + c), V::load(one + kLanes - (q - 1 - c)));
  V::store(v + c, x);
  V::store_part(stored + c, V::part(q - c), x);
  for (c += V::lanes; c % kSquare<T> != 0; c += V::lanes) V::store(v + c, V::broadcast(T(0)));
}

// w ← tau y − ½ tau² (yᵀv) v with y = scale (product + sums) + row, q elements; 0 up to a whole square.
template <class T>
void make_update(int64_t q, T tau, T scale, const T* v, const T* product, const T* sums, const T* row, T* w) {
  using V = Simd<T>;
  const typename V::Vector one = V::broadcast(tau), other = V::broadcast(tau * scale);
  typename V::Vector sum = V::broadcast(T(0));
  int64_t c = 0;
  for (; c + V::lanes < q; c += V::lanes) {
    const typename V::Vector y =
        V::fused(other, V::load(product + c) + V::load(sums + c), V::multiply(one, V::load(row + c)));
    V::store(w + c, y);
    sum = V::fused(y, V::load(v + c), sum);
  }
  const auto part = V::part(q - c);
  const typename V::Vector y =
      V::first(part, V::fused(other, V::load(product + c) + V::load(sums + c), V::multiply(one, V::load(row + c))));
  const typename V::Vector end = V::load(v + c);
  const typename V::Vector shift = V::broadcast(T(-0.5) * tau * V::sum(V::fused(y, end, sum)));
  V::store(w + c, V::fused(shift, end, y));
  for (int64_t k = 0; k < c; k += V::lanes) V::store(w + k, V::fused(shift, V::load(v + k), V::load(w + k)));
  for (c += V::lanes; c % kSquare<T> != 0; c += V::lanes) V::store(w + c, V::broadcast(T(0)));
}

// From row n − 1 of S[n,n] to the end: the update of a step waits for the pass over S that the next one makes. That pass
// multiplies with the tail, S v = scale S (tail, 0) + S[q − 1], and need not wait for a square root and a division.
template <class T>
void tridiagonal(int64_t n, const Reduction<T>& p) {
  T *v = vector_of(p, 0), *next = vector_of(p, 1), *w = vector_of(p, 2), *tail = vector_of(p, 3);
  T *product = vector_of(p, 4), *sums = vector_of(p, 5);
  for (int64_t c = 0; c < round_up(n, kSquare<T>); ++c) v[c] = w[c] = T(0);
  for (int64_t c = 0; c < kSquare<T>; ++c) sums[c] = T(0);
  for (int64_t q = n - 1; q > 0; --q) {
    const T* row = p.S + q * p.lds;
    p.d[q] = double(row[q] - T(2) * v[q] * w[q]);
    const T alpha = row[q - 1] - v[q] * w[q - 1] - w[q] * v[q - 1];
    const T squares = next_row(q, row, v, w, tail);
    const Reflector<T> H = reflector_of(q - 1, tail, alpha, squares);
    p.e[q - 1] = H.beta;
    p.tau[q] = H.tau;
    make_vector(q, H.scale, tail, next, p.A + q * p.lda);
    if (q == 1) break;
    symmetric_step<T, true>(q, p.S, p.lds, v, w, tail, product, sums);
    make_update(q, H.tau, H.scale, next, product, sums, row - p.lds, w);
    T* old = v;
    v = next;
    next = old;
  }
  p.d[0] = double(p.S[0] - T(2) * v[0] * w[0]);
  p.tau[0] = T(0);
}

// y ← y + Σ_j factors[j] P[j], of whole vectors.
template <class T>
void add_rows(int64_t length, int64_t count, const T* factors, const T* P, int64_t ldp, T* y) {
  using V = Simd<T>;
  constexpr int64_t width = 4;
  int64_t c = 0;
  for (; c + width * V::lanes <= round_up(length, V::lanes); c += width * V::lanes) {
    typename V::Vector sum[width];
#pragma GCC unroll 4
    for (int k = 0; k < width; ++k) sum[k] = V::load(y + c + k * V::lanes);
    for (int64_t j = 0; j < count; ++j) {
      const typename V::Vector factor = V::broadcast(factors[j]);
#pragma GCC unroll 4
      for (int k = 0; k < width; ++k) sum[k] = V::fused(factor, V::load(P + j * ldp + c + k * V::lanes), sum[k]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < width; ++k) V::store(y + c + k * V::lanes, sum[k]);
  }
  for (; c < length; c += V::lanes) {
    typename V::Vector sum = V::load(y + c);
    for (int64_t j = 0; j < count; ++j) sum = V::fused(V::broadcast(factors[j]), V::load(P + j * ldp + c), sum);
    V::store(y + c, sum);
  }
}

// dots[j] ← −P[j]ᵀ x, of whole vectors.
template <class T>
void minus_dots(int64_t length, int64_t count, const T* P, int64_t ldp, const T* x, T* dots) {
  using V = Simd<T>;
  constexpr int64_t rows = 4;
  for (int64_t j = 0; j < count; j += rows) {
    typename V::Vector sum[rows];
#pragma GCC unroll 4
    for (int k = 0; k < rows; ++k) sum[k] = V::broadcast(T(0));
    for (int64_t c = 0; c < length; c += V::lanes) {
      const typename V::Vector factor = V::load(x + c);
#pragma GCC unroll 4
      for (int k = 0; k < rows; ++k) sum[k] = V::fused(factor, V::load(P + (j + k) * ldp + c), sum[k]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < rows; ++k) dots[j + k] = -V::sum(sum[k]);
  }
}

// The last kPanel rows of S[n,n], n > kPanel (Dongarra, Sorensen and Hammarling 1989). panel ← the rows v, the rows w, and
// the rows v again: the update that the rest of S waits for, − Σ v wᵀ + w vᵀ, is then one product of the first 2 kPanel
// rows with the last 2 kPanel.
template <class T>
void tridiagonal_panel(int64_t n, const Reduction<T>& p) {
  T *x = vector_of(p, 0), *tail = vector_of(p, 1), *product = vector_of(p, 2), *sums = vector_of(p, 3);
  T *zero = vector_of(p, 4), *again = p.panel + 2 * kPanel * p.lds;
  T *V = p.panel, *W = V + kPanel * p.lds;
  T left[kPanel], right[kPanel];
  for (int64_t c = 0; c < round_up(n, kSquare<T>); ++c) zero[c] = T(0);
  for (int64_t c = 0; c < kSquare<T>; ++c) sums[c] = T(0);
  for (int64_t j = 0; j < kPanel; ++j) {
    const int64_t q = n - 1 - j, whole = round_up(q, kSquare<T>);
    T *v = V + j * p.lds, *w = W + j * p.lds;
    __builtin_memcpy(x, p.S + q * p.lds, round_up(q + 1, kSquare<T>) * sizeof(T));
    for (int64_t k = 0; k < j; ++k) left[k] = -W[k * p.lds + q];
    for (int64_t k = 0; k < j; ++k) right[k] = -V[k * p.lds + q];
    add_rows(q + 1, j, left, V, p.lds, x);
    add_rows(q + 1, j, right, W, p.lds, x);
    p.d[q] = double(x[q]);
    const T squares = next_row(q, x, zero, zero, tail);
    const Reflector<T> H = reflector_of(q - 1, tail, x[q - 1], squares);
    p.e[q - 1] = H.beta;
    p.tau[q] = H.tau;
    make_vector(q, H.scale, tail, v, p.A + q * p.lda);
    for (int64_t c = whole; c < round_up(n, kSquare<T>); ++c) v[c] = w[c] = T(0);
    symmetric_step<T, false>(q, p.S, p.lds, zero, zero, v, product, sums);
    minus_dots(q, j, W, p.lds, v, left);
    minus_dots(q, j, V, p.lds, v, right);
    add_rows(q, j, left, V, p.lds, product);
    add_rows(q, j, right, W, p.lds, product);
    make_update(q, H.tau, T(1), v, product, sums, zero, w);
    __builtin_memcpy(again + j * p.lds, v, whole * sizeof(T));
  }
}
