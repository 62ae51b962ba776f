// Small matrices side by side, one to a lane: nothing waits for a sum across a vector or for the pivot of one matrix. An
// element of all of them is kSide doubles that lie together. Included as kernels_body.h says.

constexpr int kTile = Simd<double>::lanes == 8 ? 4 : 2;
using TileOfLanes = Simd<double>::Vector[kTile][kTile];

// tile[a][b] ← tile[a][b] ± Σ_k X[k, a] Y[k, b]; elements are `step` apart in k and `across` in a and b.
template <bool Minus>
__attribute__((always_inline)) inline void add_products(int64_t count, const double* X, const double* Y, int64_t step,
                                                        int64_t across, TileOfLanes& tile) {
  using S = Simd<double>;
  for (int64_t k = 0; k < count; ++k, X += step, Y += step) {
    S::Vector y[kTile];
#pragma GCC unroll 4
    for (int b = 0; b < kTile; ++b) y[b] = S::load(Y + b * across);
#pragma GCC unroll 4
    for (int a = 0; a < kTile; ++a) {
      const S::Vector x = S::load(X + a * across);
#pragma GCC unroll 4
      for (int b = 0; b < kTile; ++b) tile[a][b] = S::fused(Minus ? -x : x, y[b], tile[a][b]);
    }
  }
}

// tile ← tile L⁻ᵀ for the triangle L of the same columns, whose rows are `row` apart, and the inverse of its diagonal.
__attribute__((always_inline)) inline void solve_tile(const double* L, int64_t row, const double* inverse,
                                                      TileOfLanes& tile) {
  using S = Simd<double>;
#pragma GCC unroll 4
  for (int b = 0; b < kTile; ++b) {
#pragma GCC unroll 4
    for (int c = 0; c < b; ++c) {
      const S::Vector factor = -S::load(L + b * row + c * kSide);
#pragma GCC unroll 4
      for (int a = 0; a < kTile; ++a) tile[a][b] = S::fused(factor, tile[a][c], tile[a][b]);
    }
#pragma GCC unroll 4
    for (int a = 0; a < kTile; ++a) tile[a][b] = S::multiply(tile[a][b], S::load(inverse + b * kSide));
  }
}

// Of some lanes: m and n whole tiles, rows `row` apart.
struct LanesQr {
  using S = Simd<double>;
  int64_t m, n, row;
  double *X, *L, *squares, *inverse, *sums;

  // L ← the Cholesky factor of XᵀX, squares ← those of the norms of the columns of X.
  void factor() const {
    for (int64_t j = 0; j < n; j += kTile)
      for (int64_t i = j; i < n; i += kTile) {
        TileOfLanes tile = {};
        add_products<false>(m, X + i * kSide, X + j * kSide, row, kSide, tile);
        if (i == j)
#pragma GCC unroll 4
          for (int a = 0; a < kTile; ++a) S::store(squares + (j + a) * kSide, tile[a][a]);
        add_products<true>(j, L + i * row, L + j * row, kSide, row, tile);
        i == j ? factor_tile(j, tile) : solve_tile(L + j * row + j * kSide, row, inverse + j * kSide, tile);
#pragma GCC unroll 4
        for (int a = 0; a < kTile; ++a)
#pragma GCC unroll 4
          for (int b = 0; b < kTile; ++b) S::store(L + (i + a) * row + (j + b) * kSide, tile[a][b]);
      }
  }

  __attribute__((always_inline)) void factor_tile(int64_t j, TileOfLanes& tile) const {
#pragma GCC unroll 4
    for (int b = 0; b < kTile; ++b) {
      tile[b][b] = S::root(tile[b][b]);
      const S::Vector scale = S::broadcast(1.0) / tile[b][b];
      S::store(inverse + (j + b) * kSide, scale);
#pragma GCC unroll 4
      for (int a = b + 1; a < kTile; ++a) tile[a][b] = S::multiply(tile[a][b], scale);
#pragma GCC unroll 4
      for (int c = b + 1; c < kTile; ++c)
#pragma GCC unroll 4
        for (int a = c; a < kTile; ++a) tile[a][c] = S::fused(-tile[a][b], tile[c][b], tile[a][c]);
    }
  }

  // X ← X L⁻ᵀ.
  void solve() const {
    for (int64_t i = 0; i < m; i += kTile)
      for (int64_t j = 0; j < n; j += kTile) {
        TileOfLanes tile;
#pragma GCC unroll 4
        for (int a = 0; a < kTile; ++a)
#pragma GCC unroll 4
          for (int b = 0; b < kTile; ++b) tile[a][b] = S::load(X + (i + a) * row + (j + b) * kSide);
        add_products<true>(j, X + i * row, L + j * row, kSide, row, tile);
        solve_tile(L + j * row + j * kSide, row, inverse + j * kSide, tile);
#pragma GCC unroll 4
        for (int a = 0; a < kTile; ++a)
#pragma GCC unroll 4
          for (int b = 0; b < kTile; ++b) S::store(X + (i + a) * row + (j + b) * kSide, tile[a][b]);
      }
  }

  // At least ‖R⁻¹‖_F² for R = Lᵀ with columns of norm 1, the first `columns` of them, by the comparison matrix: the
  // inverse of R has no element larger than that of the matrix with diagonal R_jj and −|R_ij| beside it.
  S::Vector inverse_bound(int64_t columns) const {
    S::Vector bound = {};
    for (int64_t j = 0; j < columns; ++j) S::store(sums + j * kSide, S::broadcast(1.0));
    for (int64_t j = columns - 1; j >= 0; --j) {
      const S::Vector y = S::multiply(S::load(sums + j * kSide), S::load(inverse + j * kSide));
      bound = S::fused(S::multiply(y, y), S::load(squares + j * kSide), bound);
      for (int64_t i = 0; i < j; ++i) {
        double* sum = sums + i * kSide;
        S::store(sum, S::fused(magnitude_of(S::load(L + j * row + i * kSide)), y, S::load(sum)));
      }
    }
    return bound;
  }
};

// As kernels.h says.
inline void orthonormal_side_by_side(int64_t count, int64_t m, int64_t n, const float* S, float* Q, double* bounds,
                                     double* room) {
  const int64_t rows = round_up(m, kTile), columns = round_up(n, kTile), row = columns * kSide, size = m * n;
  double *X = room, *L = X + rows * row, *vectors = L + columns * row;
  auto* narrow = reinterpret_cast<float*>(vectors + 3 * row);
  if (count < kSide)
    for (int64_t i = 0; i < size * kSide; ++i) narrow[i] = 0.0f;
  move_transposed(count, size, S, size, narrow, kSide);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      Floats8 x = {};
      if (i < m && j < n) __builtin_memcpy(&x, narrow + (i * n + j) * kSide, sizeof x);
      const Doubles8 wide = __builtin_convertvector(x, Doubles8);
      __builtin_memcpy(X + i * row + j * kSide, &wide, sizeof wide);
    }
  for (int64_t lane = 0; lane < kSide; lane += Simd<double>::lanes) {
    const LanesQr qr{
        rows, columns, row, X + lane, L + lane, vectors + lane, vectors + row + lane, vectors + 2 * row + lane};
    qr.factor();
    Simd<double>::store(bounds + lane, qr.inverse_bound(n));
    qr.solve();
  }
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      Doubles8 wide;
      __builtin_memcpy(&wide, X + i * row + j * kSide, sizeof wide);
      const Floats8 x = __builtin_convertvector(wide, Floats8);
      __builtin_memcpy(narrow + (i * n + j) * kSide, &x, sizeof x);
    }
  move_transposed(size, count, narrow, kSide, Q, size);
}
