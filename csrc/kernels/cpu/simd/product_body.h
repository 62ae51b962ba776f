// Products. Included as kernels_body.h says.

template <class T>
constexpr int kColumns = kVectors * Simd<T>::lanes;

// What the tiles of a pass over k have in common.
template <class T>
struct Pass {
  int64_t depth, a_row, a_step;
  T alpha, beta;
  int64_t ldc;
  const char* ahead;  // memory that is read soon: fetched, one line a step over k; nullptr: none
};

constexpr int64_t kLine = 64;  // bytes

// Steps over k in which memory answers. A smaller tile is done by then, and small matrices are fetched by the processor.
constexpr int64_t kAnswer = 32;

// C[R, V vectors of S] ← alpha A B + beta C. Packed: A[k * kRows + r]; else A[r * a_row + k * a_step]. Of the last vector
// only the first `tail` columns are in C; Part: and in B. Pairs: an element of A and B is a pair of bfloat16, neighbours
// in k. Fetches: `ahead`.
template <class S, class T, int R, int V, bool Packed, bool Part, bool Pairs, bool Fetches>
void tile(const Pass<T>& p, const T* A, const T* B, int64_t b_step, int64_t tail, T* C) {
  const int64_t depth = p.depth, a_row = p.a_row, a_step = p.a_step, ldc = p.ldc;
  const char* ahead = p.ahead;
  if (depth > kAnswer) {
    T* c = C;
#pragma GCC unroll 1
    for (int r = 0; r < R; ++r, c += ldc) {
      __builtin_prefetch(c, 1);
      if (V == 2) __builtin_prefetch(c + S::lanes, 1);
    }
  }
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
    if constexpr (Fetches) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += kLine;
    }
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
  const T beta = p.beta;
  const typename S::Vector scale = S::broadcast(p.alpha), keep = S::broadcast(beta);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r, C += ldc)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      T* c = C + v * S::lanes;
      const bool whole = v + 1 < V || tail == S::lanes;
      typename S::Vector value = S::multiply(scale, sum[r][v]);
      if (beta != T(0)) value = S::fused(keep, whole ? S::load(c) : S::load_part(c, part), value);
      whole ? S::store(c, value) : S::store_part(c, part, value);
    }
}

template <class T>
using Tile = void (*)(const Pass<T>&, const T*, const T*, int64_t, int64_t, T*);

// By width: half a vector, one, two; and by rows.
template <class T, bool Packed, bool Part, bool Pairs, bool Fetches, int... R>
struct Tiles {
  static constexpr Tile<T> of[3][sizeof...(R)] = {{tile<HalfSimd<T>, T, R + 1, 1, Packed, Part, Pairs, Fetches>...},
                                                  {tile<Simd<T>, T, R + 1, 1, Packed, Part, Pairs, Fetches>...},
                                                  {tile<Simd<T>, T, R + 1, 2, Packed, Part, Pairs, Fetches>...}};
};

template <class T, bool Packed, bool Part, bool Pairs, bool Fetches>
Tile<T> tile_of(int64_t rows, int64_t width) {
  static_assert(kVectors == 2);
  if constexpr (kRows == 8) return Tiles<T, Packed, Part, Pairs, Fetches, 0, 1, 2, 3, 4, 5, 6, 7>::of[width][rows - 1];
  if constexpr (kRows == 6) return Tiles<T, Packed, Part, Pairs, Fetches, 0, 1, 2, 3, 4, 5>::of[width][rows - 1];
  if constexpr (kRows == 4) return Tiles<T, Packed, Part, Pairs, Fetches, 0, 1, 2, 3>::of[width][rows - 1];
}

template <class T, bool Packed, bool Part, bool Pairs>
Tile<T> tile_of(int64_t rows, int64_t width, bool fetches) {
  return fetches ? tile_of<T, Packed, Part, Pairs, true>(rows, width)
                 : tile_of<T, Packed, Part, Pairs, false>(rows, width);
}

template <class T, bool Pairs>
Tile<T> tile_of(int64_t rows, int64_t width, bool packed, bool part, bool fetches) {
  if (packed)
    return part ? tile_of<T, true, true, Pairs>(rows, width, fetches)
                : tile_of<T, true, false, Pairs>(rows, width, fetches);
  return part ? tile_of<T, false, true, Pairs>(rows, width, fetches)
              : tile_of<T, false, false, Pairs>(rows, width, fetches);
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

// Memory that is fetched line by line while tiles are computed.
template <class T>
class Fetch {
 public:
  explicit Fetch(const Memory* ahead) : next_(ahead), end_(ahead == nullptr ? nullptr : ahead + kAhead) {}

  // What the next tile of the pass fetches.
  void next(Pass<T>& pass) {
    for (; left_ <= 0 && next_ != end_; ++next_) {
      at_ = static_cast<const char*>(next_->begin);
      left_ = next_->bytes;
    }
    pass.ahead = left_ > 0 ? at_ : nullptr;
    if (left_ <= 0) return;
    at_ += pass.depth * kLine;
    left_ -= pass.depth * kLine;
  }

 private:
  const Memory *next_, *end_;
  const char* at_ = nullptr;
  int64_t left_ = 0;
};

// One pass over k: all tiles of the range. A and B are read where they lie if what a step over k reads is contiguous and
// near what the next one reads (far rows crowd the same sets of the first-level cache); A also if each of its rows is
// contiguous. Else from strips of kRows rows and panels of kColumns columns.
template <class T, bool Pairs>
void pass(const Product<T>& p, const Range& range, int64_t k, int64_t depth, T* workspace, Fetch<T>& fetch) {
  constexpr int64_t lanes = Simd<T>::lanes, half = HalfSimd<T>::lanes, wide = kColumns<T>;
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

  const bool mirrored = p.mirrored && k + depth == p.k;
  int64_t done = 0;  // rows whose mirror images stand
  Pass<T> common{depth, p.a_row, p.a_step, p.alpha, k == 0 ? p.beta : T(1), p.ldc, nullptr};
  T* block = p.C + range.row * p.ldc + range.column;
  for (int64_t i = 0; i < rows; i += kRows) {
    const int64_t height = smaller(kRows, rows - i);
    const T* a = direct_a ? A + i * p.a_row : strips + i * depth;
    T* C = block + i * p.ldc;
    const int64_t end = p.lower ? smaller(columns, range.row + i + height - range.column) : columns;
    for (int64_t j = 0, next; j < end; j = next) {
      // The end of a row takes one vector and a half, one, or a half, as is enough.
      const int64_t at = j % wide, left = end - j;
      const int kind = left <= half ? 0 : left <= (half < lanes ? lanes + half : lanes) ? 1 : 2;
      const int64_t size = kind == 0 ? half : kind * lanes, tail_begin = j + size - (kind == 0 ? half : lanes);
      next = j + size;
      const int64_t tail = smaller(next, columns) - tail_begin;
      const T* b = direct_b ? B + j : panels + (j - at) * depth + at;
      fetch.next(common);
      tile_of<T, Pairs>(height, kind, !direct_a, direct_b && next > columns, common.ahead != nullptr)(
          common, a, b, direct_b ? p.b_step : width(j - at), tail, C + j);
    }
    if (mirrored) done = mirror_rows(range, done, i + height, block, p.ldc);
  }
}

template <class T, bool Pairs>
void block(const Product<T>& product, const Range& range, T* workspace) {
  constexpr int64_t depth =
      Pairs ? kDepth / 2 : kDepth;  // as many products in a chain of sums, or they would round worse
  Fetch<T> fetch(product.ahead);
  for (int64_t k = 0; k < product.k; k += depth)
    pass<T, Pairs>(product, range, k, smaller(depth, product.k - k), workspace, fetch);
}
