// Inverses of shifted tridiagonal matrices (T + s I)⁻¹, a shift in each lane. Included as kernels_body.h says.
//
// Below the diagonal such an inverse has rank one: with the pivots δ⁻ of elimination from the last row up, the elements of
// row i are those of row i − 1 times −e_{i−1}/δ⁻_i (Meurant 1992, theorem 2.3, from Gantmacher and Krein). For a positive
// definite T nothing cancels.

// least[j] ← the smallest pivot of T − shifts[j] I, eliminated from the first row down: positive where that is positive
// definite (Sylvester).
inline void least_pivots(int64_t n, const double* d, const double* e, const double* shifts, double* least) {
  using S = Simd<double>;
  constexpr int count = kShifts / S::lanes;
  Reals shift[count], pivot[count], smallest[count];
#pragma GCC unroll 8
  for (int v = 0; v < count; ++v) {
    shift[v] = S::load(shifts + v * S::lanes);
    pivot[v] = smallest[v] = S::broadcast(d[0]) - shift[v];
  }
  for (int64_t i = 1; i < n; ++i) {
    const Reals diagonal = S::broadcast(d[i]), square = S::broadcast(e[i - 1] * e[i - 1]);
#pragma GCC unroll 8
    for (int v = 0; v < count; ++v) {
      pivot[v] = (diagonal - shift[v]) - square / pivot[v];
      smallest[v] = pivot[v] < smallest[v] ? pivot[v] : smallest[v];
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < count; ++v) S::store(least + v * S::lanes, smallest[v]);
}

// ratios[i] ← −e_{i−1}/δ⁻_i, 0 for i = 0; diagonals[i] ← weight · (T + shift I)⁻¹_ii, a sum from the first row down of what is
// positive: 1/δ⁻_i + ratio_i² · the one before. (All of it from one elimination: from two, whose roundings
// differ, the parts of the inverse would not fit each other.)
inline void resolvents(const Resolvents& p) {
  using S = Simd<double>;
  const int64_t n = p.n, stride = p.stride;
  for (int64_t j = 0; j < stride; j += S::lanes)
    S::store(p.pivots + j, S::broadcast(p.d[n - 1]) + S::load(p.shifts + j));
  for (int64_t i = n - 1; i >= 0; --i) {
    const Reals above = S::broadcast(i > 0 ? p.d[i - 1] : 1.0), link = S::broadcast(i > 0 ? p.e[i - 1] : 0.0);
    for (int64_t j = 0; j < stride; j += S::lanes) {
      const Reals inverse = 1.0 / S::load(p.pivots + j), ratio = -link * inverse;
      S::store(p.diagonals + i * stride + j, S::load(p.weights + j) * inverse);
      S::store(p.ratios + i * stride + j, ratio);
      S::store(p.pivots + j, S::fused(link, ratio, above + S::load(p.shifts + j)));
    }
  }
  for (int64_t i = 1; i < n; ++i)
    for (int64_t j = 0; j < stride; j += S::lanes) {
      const Reals ratio = S::load(p.ratios + i * stride + j), before = S::load(p.diagonals + (i - 1) * stride + j);
      S::store(p.diagonals + i * stride + j, S::fused(ratio * ratio, before, S::load(p.diagonals + i * stride + j)));
    }
}

// sums[rows, 2 vectors] (+)= the next rows of kTerms resolvents, of which g has the last ones. Diagonal: the first row is that
// of the first column.
template <bool Diagonal>
void resolvent_rows(const double* ratios, const double* diagonals, int64_t stride, int64_t rows, bool first, double* g,
                    double* sums) {
  using S = Simd<double>;
  static constexpr double one[2 * kLanes + 1] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  constexpr int W = 2;
  Reals x[kTerms][W];
#pragma GCC unroll 4
  for (int t = 0; t < kTerms; ++t)
#pragma GCC unroll 2
    for (int k = 0; k < W; ++k) x[t][k] = S::load(g + (t * W + k) * S::lanes);
  for (int64_t i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int t = 0; t < kTerms; ++t) {
      const Reals ratio = S::broadcast(ratios[i * stride + t]);
#pragma GCC unroll 2
      for (int k = 0; k < W; ++k) {
        x[t][k] = S::multiply(ratio, x[t][k]);
        if (Diagonal)
          x[t][k] =
              S::fused(S::broadcast(diagonals[i * stride + t]), S::load(one + kLanes - i + k * S::lanes), x[t][k]);
      }
    }
    double* sum = sums + i * W * S::lanes;
#pragma GCC unroll 2
    for (int k = 0; k < W; ++k) {
      Reals total = (x[0][k] + x[1][k]) + (x[2][k] + x[3][k]);
      if (!first) total = total + S::load(sum + k * S::lanes);
      S::store(sum + k * S::lanes, total);
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTerms; ++t)
#pragma GCC unroll 2
    for (int k = 0; k < W; ++k) S::store(g + (t * W + k) * S::lanes, x[t][k]);
}

// Columns [column, end) of F[n,n], from the diagonal down ← the sum of the resolvents. Beside the diagonal zeros may be
// written above it. room: (count + kTileRows) kLanes elements.
template <class T>
void resolvent_columns(const Resolvents& p, int64_t column, int64_t end, T* F, int64_t ldf, double* room) {
  using S = Simd<double>;
  constexpr int64_t width = 2 * S::lanes;
  static_assert(width <= kLanes);
  double *state = room, *sums = room + p.count * width;
  for (; column < end; column += width) {
    const int64_t columns = smaller(width, p.n - column);
    for (int64_t k = 0; k < p.count * width; ++k) state[k] = 0.0;
    for (int64_t row = column, rows; row < p.n; row += rows) {
      const bool diagonal = row == column;
      rows = smaller(diagonal ? width : kTileRows, p.n - row);
      for (int64_t j = 0; j < p.count; j += kTerms)
        (diagonal ? resolvent_rows<true> : resolvent_rows<false>)(p.ratios + row * p.stride + j,
                                                                  p.diagonals + row * p.stride + j, p.stride, rows,
                                                                  j == 0, state + j * width, sums);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t k = 0; k < columns; ++k) F[(row + i) * ldf + column + k] = T(sums[i * width + k]);
      // What has decayed would soon be subnormal, and slow.
      for (int64_t k = 0; k < p.count * width; ++k)
        if (state[k] < 1e-200 && state[k] > -1e-200) state[k] = 0.0;
    }
  }
}
