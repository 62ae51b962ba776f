// Products. Included as block_body.h says.

template <class T>
constexpr int kColumns = kVectors * Simd<T>::lanes;

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

template <class T, bool Pairs>
void block(const Product<T>& product, const Range& range, T* workspace) {
  constexpr int64_t depth =
      Pairs ? kDepth / 2 : kDepth;  // as many products in a chain of sums, or they would round worse
  for (int64_t k = 0; k < product.k; k += depth)
    pass<T, Pairs>(product, range, k, smaller(depth, product.k - k), k == 0 ? product.beta : T(1), workspace);
}
