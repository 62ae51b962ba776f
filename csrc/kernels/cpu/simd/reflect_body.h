// The reflectors of a tridiagonal form, applied to rows. Included as kernels_body.h says.

// Of a row of the columns that are reflected together: 128 bytes, so that n = 256 stays in the first-level cache.
constexpr int kReflectVectors = kRows == 8 ? 2 : 4;

// X[n, W vectors], vectors as columns ← H_{n−1} … H_2 X, two reflectors at a time: a pair is applied in the pass that
// multiplies with the next one. products[q] = v_qᵀ v_{q+1}.
template <class T, int W>
void reflect_columns(int64_t n, const T* A, int64_t lda, const T* tau, const T* products, T* X) {
  using V = Simd<T>;
  using Vector = typename V::Vector;
  constexpr int64_t side = W * V::lanes;
  Vector first[W], second[W], dot[2][W];
  // x ← X[i] + a v_q,i + b v_{q+1},i with the factors a, b of this pair, and the sums of the next pair
  const auto row = [&](int64_t i, T v0, T v1, T u0, T u1) {
    const Vector a = V::broadcast(v0), b = V::broadcast(v1), c = V::broadcast(u0), d = V::broadcast(u1);
#pragma GCC unroll 4
    for (int k = 0; k < W; ++k) {
      T* at = X + i * side + k * V::lanes;
      const Vector x = V::fused(b, second[k], V::fused(a, first[k], V::load(at)));
      V::store(at, x);
      dot[0][k] = V::fused(c, x, dot[0][k]);
      dot[1][k] = V::fused(d, x, dot[1][k]);
    }
  };
#pragma GCC unroll 4
  for (int k = 0; k < W; ++k) first[k] = second[k] = V::broadcast(T(0));
  for (int64_t q = -(n % 2); q < n; q += 2) {  // the last pair is of rows n − 2 and n − 1; before the first, none
    const bool more = q + 3 < n;
    const T *v = A + (q < 0 ? 0 : q) * lda, *u = more ? A + (q + 2) * lda : v;
#pragma GCC unroll 4
    for (int k = 0; k < W; ++k) dot[0][k] = dot[1][k] = V::broadcast(T(0));
    for (int64_t i = 0; i < q; ++i) row(i, v[i], v[lda + i], u[i], u[lda + i]);
    if (q >= 0) row(q, T(0), T(1), more ? u[q] : T(0), more ? u[lda + q] : T(0));
    if (!more) return;
    row(q + 1, T(0), T(0), T(1), u[lda + q + 1]);
    row(q + 2, T(0), T(0), T(0), T(1));
    const Vector one = V::broadcast(-tau[q + 2]), other = V::broadcast(-tau[q + 3]),
                 product = V::broadcast(products[q + 2]);
#pragma GCC unroll 4
    for (int k = 0; k < W; ++k) {
      first[k] = V::multiply(one, dot[0][k]);
      second[k] = V::multiply(other, V::fused(product, first[k], dot[1][k]));
    }
  }
}

// Z[m,n], vectors as rows: z ← H_{n−1} … H_2 z. room: n elements, then n rows of kReflectVectors.
template <class T>
void reflect_rows(int64_t m, int64_t n, const T* A, int64_t lda, const T* tau, T* Z, int64_t ldz, T* room) {
  using V = Simd<T>;
  constexpr int64_t lanes = V::lanes;
  T *products = room, *X = room + round_up(n, kLanes);
  for (int64_t q = 2 - n % 2; q + 1 < n; q += 2) {
    const T *v = A + q * lda, *u = v + lda;
    typename V::Vector sum = V::broadcast(T(0));
    int64_t i = 0;
    for (; i + lanes <= q; i += lanes) sum = V::fused(V::load(v + i), V::load(u + i), sum);
    const auto part = V::part(q - i);
    products[q] = V::sum(V::fused(V::load_part(v + i, part), V::load_part(u + i, part), sum));
  }
  for (int64_t r = 0; r < m;) {
    const int64_t width = m - r > 2 * lanes ? kReflectVectors : m - r > lanes ? 2 : 1, side = width * lanes;
    const int64_t rows = smaller(side, m - r);
    for (int64_t i = 0; rows < side && i < n * side; ++i) X[i] = T(0);
    move_transposed(rows, n, Z + r * ldz, ldz, X, side);
    (width == 1   ? reflect_columns<T, 1>
     : width == 2 ? reflect_columns<T, 2>
                  : reflect_columns<T, kReflectVectors>)(n, A, lda, tau, products, X);
    move_transposed(n, rows, X, side, Z + r * ldz, ldz);
    r += rows;
  }
}
