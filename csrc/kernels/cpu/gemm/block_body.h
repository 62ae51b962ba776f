// The kernels of gemm/block.h, written once for all instruction sets. A source file defines, in its anonymous namespace,
//
//   Simd<T>   a vector: lanes, load, store, broadcast, multiply, fused (a b + c); load_part and store_part of its first
//             `count` elements, the others 0 and left alone
//   kRows, kVectors   the tile of C that the registers hold: kRows rows of kVectors vectors
//   kMove     bytes of a vector in which matrices are moved
//   kNearA, kNearB   bytes between two steps over k, beyond which op(A) = Aᵀ and op(B) = B are packed (measured)
//
// and includes this file there. Nothing here may call an inline function of another header: the linker keeps one copy of
// such a function, which may then be the one that was compiled for a processor that is not there.

typedef float MoveFloats __attribute__((vector_size(kMove)));
typedef double MoveDoubles __attribute__((vector_size(kMove)));
template <class T>
struct MoveOf {
  using Vector = MoveFloats;
};
template <>
struct MoveOf<double> {
  using Vector = MoveDoubles;
};
template <class T>
using Move = typename MoveOf<T>::Vector;

template <class T>
constexpr int kMoveLanes = kMove / static_cast<int>(sizeof(T));

template <class T>
constexpr int kColumns = kVectors * Simd<T>::lanes;

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// C[R, V vectors] ← alpha A B + beta C. Packed: A[k * kRows + r]; else A[r * a_row + k * a_step]. Of the last vector
// only the first `tail` columns are in C; Part: and in B. Pairs: an element of A and B is a pair of bfloat16, neighbours
// in k.
template <class T, int R, int V, bool Packed, bool Part, bool Pairs>
void tile(int64_t depth, const T* A, int64_t a_row, int64_t a_step, const T* B, int64_t b_step, int64_t tail, T alpha,
          T beta, T* C, int64_t ldc) {
  using S = Simd<T>;
  typename S::Vector sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[r][v] = S::broadcast(T(0));
  const auto part = S::part(tail);
  for (int64_t k = 0; k < depth; ++k) {
    typename S::Vector b[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      b[v] = Part && v + 1 == V ? S::load_part(B + v * S::lanes, part) : S::load(B + v * S::lanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const typename S::Vector a = S::broadcast(Packed ? A[r] : A[r * a_row]);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        if constexpr (Pairs) {
          sum[r][v] = S::fused_pairs(a, b[v], sum[r][v]);
        } else {
          sum[r][v] = S::fused(a, b[v], sum[r][v]);
        }
      }
    }
    A += Packed ? kRows : a_step;
    B += b_step;
  }
  const typename S::Vector scale = S::broadcast(alpha), keep = S::broadcast(beta);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      T* c = C + r * ldc + v * S::lanes;
      const bool whole = v + 1 < V || tail == S::lanes;
      typename S::Vector value = S::multiply(scale, sum[r][v]);
      if (beta != T(0)) value = S::fused(keep, whole ? S::load(c) : S::load_part(c, part), value);
      whole ? S::store(c, value) : S::store_part(c, part, value);
    }
}

template <class T>
using Tile = void (*)(int64_t, const T*, int64_t, int64_t, const T*, int64_t, int64_t, T, T, T*, int64_t);

template <class T, bool Packed, bool Part, bool Pairs, int... R>
struct Tiles {
  static constexpr Tile<T> of[2][sizeof...(R)] = {{tile<T, R + 1, 1, Packed, Part, Pairs>...},
                                                  {tile<T, R + 1, 2, Packed, Part, Pairs>...}};
};

template <class T, bool Packed, bool Part, bool Pairs>
Tile<T> tile_of(int64_t rows, int64_t vectors) {
  static_assert(kVectors == 2);
  if constexpr (kRows == 8) return Tiles<T, Packed, Part, Pairs, 0, 1, 2, 3, 4, 5, 6, 7>::of[vectors - 1][rows - 1];
  if constexpr (kRows == 6) return Tiles<T, Packed, Part, Pairs, 0, 1, 2, 3, 4, 5>::of[vectors - 1][rows - 1];
  if constexpr (kRows == 4) return Tiles<T, Packed, Part, Pairs, 0, 1, 2, 3>::of[vectors - 1][rows - 1];
}

template <class T, bool Pairs>
Tile<T> tile_of(int64_t rows, int64_t vectors, bool packed, bool part) {
  if (packed)
    return part ? tile_of<T, true, true, Pairs>(rows, vectors) : tile_of<T, true, false, Pairs>(rows, vectors);
  return part ? tile_of<T, false, true, Pairs>(rows, vectors) : tile_of<T, false, false, Pairs>(rows, vectors);
}

// x[0..lanes) ← its transpose, by log2(lanes) perfect shuffles.
template <class T>
void transpose_square(Move<T>* x) {
  constexpr int lanes = kMoveLanes<T>;
  for (int step = 1; step < lanes; step *= 2) {
    Move<T> y[lanes];
#pragma GCC unroll 8
    for (int i = 0; i < lanes / 2; ++i) {
      if constexpr (lanes == 8) {
        y[2 * i] = __builtin_shufflevector(x[i], x[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
      } else if constexpr (lanes == 4) {
        y[2 * i] = __builtin_shufflevector(x[i], x[i + 2], 0, 4, 1, 5);
        y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + 2], 2, 6, 3, 7);
      } else {
        y[2 * i] = __builtin_shufflevector(x[i], x[i + 1], 0, 2);
        y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + 1], 1, 3);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < lanes; ++i) x[i] = y[i];
  }
}

// target[c * target_row + r] ← source[r * source_row + c] for a square of kMoveLanes.
template <class T>
void move_square(const T* source, int64_t source_row, T* target, int64_t target_row) {
  constexpr int lanes = kMoveLanes<T>;
  Move<T> x[lanes];
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) __builtin_memcpy(&x[i], source + i * source_row, sizeof x[i]);
  transpose_square<T>(x);
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) __builtin_memcpy(target + i * target_row, &x[i], sizeof x[i]);
}

template <class T>
void move_transposed(int64_t rows, int64_t columns, const T* source, int64_t source_row, T* target,
                     int64_t target_row) {
  constexpr int64_t lanes = kMoveLanes<T>;
  const int64_t whole_rows = rows / lanes * lanes, whole_columns = columns / lanes * lanes;
  for (int64_t r = 0; r < whole_rows; r += lanes)
    for (int64_t c = 0; c < whole_columns; c += lanes)
      move_square(source + r * source_row + c, source_row, target + c * target_row + r, target_row);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      target[c * target_row + r] = source[r * source_row + c];
}

// target[k * width + i] ← element (i, k) of a panel or strip, i < count; 0 for count ≤ i < width. The elements lie
// `across` apart in i and `along` apart in k, one of which is 1.
template <class T>
void pack(int64_t width, int64_t count, int64_t depth, const T* source, int64_t across, int64_t along, T* target) {
  if (along == 1 && across != 1) {
    move_transposed(count, depth, source, across, target, width);
  } else {
    constexpr int64_t lanes = kMoveLanes<T>;
    for (int64_t k = 0; k < depth; ++k) {
      int64_t i = 0;
      for (; i + lanes <= count; i += lanes)
        __builtin_memcpy(target + k * width + i, source + k * along + i * across, lanes * sizeof(T));
      for (; i < count; ++i) target[k * width + i] = source[k * along + i * across];
    }
  }
  for (int64_t k = 0; k < depth && count < width; ++k)
    for (int64_t i = count; i < width; ++i) target[k * width + i] = T(0);
}

// All strips of A. Where k runs across its rows, each row is read as a whole, for the sake of pages and cache lines.
template <class T>
void pack_strips(int64_t rows, int64_t depth, const T* A, int64_t a_row, int64_t a_step, T* strips) {
  const int64_t at_once = a_step == 1 ? depth : 16;
  for (int64_t k = 0; k < depth; k += at_once)
    for (int64_t i = 0; i < rows; i += kRows)
      pack(kRows, smaller(kRows, rows - i), smaller(at_once, depth - k), A + i * a_row + k * a_step, a_row, a_step,
           strips + i * depth + k * kRows);
}

// One pass over k: all tiles of the range. A and B are read where they lie if what a step over k reads is contiguous and
// near what the next one reads (far rows crowd the same sets of the first-level cache); A also if each of its rows is
// contiguous. Else from strips of kRows rows and panels of kColumns columns.
template <class T, bool Pairs>
void pass(const Product<T>& p, const Range& range, int64_t k, int64_t depth, T beta, T* workspace) {
  constexpr int64_t lanes = Simd<T>::lanes, wide = kColumns<T>;
  const int64_t columns = range.column_end - range.column, rows = range.row_end - range.row;
  const T* A = p.A + range.row * p.a_row + k * p.a_step;
  const T* B = p.B + k * p.b_step + range.column * p.b_column;
  T *strips = workspace, *panels = workspace + round_up(rows, kRows) * depth;

  constexpr int64_t bytes = sizeof(T);
  const bool direct_a = p.a_step == 1 || p.a_step * bytes <= kNearA;
  const bool direct_b = p.b_column == 1 && p.b_step * bytes <= kNearB;
  const auto width = [&](int64_t j) { return smaller(wide, round_up(columns - j, lanes)); };  // of the panel from j on
  if (!direct_b)
    for (int64_t j = 0; j < columns; j += wide)
      pack(width(j), smaller(wide, columns - j), depth, B + j * p.b_column, p.b_column, p.b_step, panels + j * depth);
  if (!direct_a) pack_strips(rows, depth, A, p.a_row, p.a_step, strips);

  for (int64_t i = 0; i < rows; i += kRows) {
    const int64_t height = smaller(kRows, rows - i);
    const T* a = direct_a ? A + i * p.a_row : strips + i * depth;
    T* C = p.C + (range.row + i) * p.ldc + range.column;
    const int64_t end = p.lower ? smaller(columns, range.row + i + height - range.column) : columns;
    for (int64_t j = 0; j < end; j += wide) {
      const int64_t vectors = smaller(kVectors, (end - j + lanes - 1) / lanes);
      const int64_t tail = smaller(lanes, columns - j - (vectors - 1) * lanes);
      const T* b = direct_b ? B + j : panels + j * depth;
      tile_of<T, Pairs>(height, vectors, !direct_a, direct_b && tail < lanes)(
          depth, a, p.a_row, p.a_step, b, direct_b ? p.b_step : width(j), tail, p.alpha, beta, C + j, p.ldc);
    }
  }
}

template <class T, bool Pairs = false>
void block(const Product<T>& product, const Range& range, T* workspace) {
  constexpr int64_t depth =
      Pairs ? kDepth / 2 : kDepth;  // as many products in a chain of sums, or they would round worse
  for (int64_t k = 0; k < product.k; k += depth)
    pass<T, Pairs>(product, range, k, smaller(depth, product.k - k), k == 0 ? product.beta : T(1), workspace);
}

// The same within a square on the diagonal of A.
template <class T>
void mirror_square(int64_t n, T* A) {
  constexpr int lanes = kMoveLanes<T>;
  Move<T> x[lanes], y[lanes];
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) __builtin_memcpy(&y[i], A + i * n, sizeof y[i]);
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) x[i] = y[i];
  transpose_square<T>(y);
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) {
    Move<T> index;
    for (int c = 0; c < lanes; ++c) index[c] = static_cast<T>(c);
    x[i] = index < static_cast<T>(i) ? x[i] : y[i];
    __builtin_memcpy(A + i * n, &x[i], sizeof x[i]);
  }
}

template <class T>
void mirror(int64_t n, T* A) {
  constexpr int64_t step = 32, lanes = kMoveLanes<T>;  // squares that stay in the first-level cache
  for (int64_t i = 0; i < n; i += step)
    for (int64_t j = 0; j < i; j += step)
      move_transposed(smaller(step, n - i), step, A + i * n + j, n, A + j * n + i, n);
  const int64_t whole = n / lanes * lanes;
  for (int64_t i = 0; i < whole; i += lanes) {
    for (int64_t j = i / step * step; j < i; j += lanes) move_square(A + i * n + j, n, A + j * n + i, n);
    mirror_square(n, A + i * n + i);
  }
  for (int64_t r = whole; r < n; ++r)
    for (int64_t c = r / step * step; c < r; ++c) A[c * n + r] = A[r * n + c];
}

template <class T>
void transposed(int64_t m, int64_t n, const T* A, T* B) {
  constexpr int64_t step = 32;
  for (int64_t i = 0; i < m; i += step)
    for (int64_t j = 0; j < n; j += step)
      move_transposed(smaller(step, m - i), smaller(step, n - j), A + i * n + j, n, B + j * m + i, m);
}

// By substitution, over `side` rows of W at a time, transposed: then a column of them is a few vectors.
template <class T>
void solve(int64_t m, int64_t n, const T* L, int64_t ldl, T* W, int64_t ldw) {
  using S = Simd<T>;
  constexpr int vectors = 4, side = vectors * S::lanes;
  alignas(64) T x[kSolve * side];
  for (int64_t i = 0; i < kSolve * side; ++i) x[i] = T(0);
  for (int64_t row = 0; row < m; row += side, W += side * ldw) {
    const int64_t rows = smaller(side, m - row);
    move_transposed(rows, n, W, ldw, x, side);
    for (int64_t c = 0; c < n; ++c) {
      typename S::Vector sum[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[v] = S::load(x + c * side + v * S::lanes);
      for (int64_t k = 0; k < c; ++k) {
        const typename S::Vector factor = S::broadcast(-L[c * ldl + k]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[v] = S::fused(factor, S::load(x + k * side + v * S::lanes), sum[v]);
      }
      const typename S::Vector inverse = S::broadcast(T(1) / L[c * ldl + c]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) S::store(x + c * side + v * S::lanes, S::multiply(sum[v], inverse));
    }
    move_transposed(n, rows, x, side, W, ldw);
  }
}

template <class T>
constexpr Kernels<T> kKernels = {block<T>, nullptr, mirror<T>, transposed<T>, solve<T>};
