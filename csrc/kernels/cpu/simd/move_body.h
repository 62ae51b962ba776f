// Transposes, mirror images, permutations of columns, and pairs of bfloat16. Included as kernels_body.h says.

typedef float MoveFloats __attribute__((vector_size(kMove)));
typedef double MoveDoubles __attribute__((vector_size(kMove)));
typedef int32_t MoveIntegers __attribute__((vector_size(kMove)));
typedef int64_t MoveLongs __attribute__((vector_size(kMove)));
template <class T>
struct MoveOf {
  using Vector = MoveFloats;
  using Index = MoveIntegers;
};
template <>
struct MoveOf<double> {
  using Vector = MoveDoubles;
  using Index = MoveLongs;
};
// GCC has __builtin_shufflevector from 12 on.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 12
#define KRONLA_SHUFFLE(T, a, b, ...) __builtin_shuffle(a, b, typename MoveOf<T>::Index{__VA_ARGS__})
#else
#define KRONLA_SHUFFLE(T, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
template <class T>
using Move = typename MoveOf<T>::Vector;

template <class T>
constexpr int kMoveLanes = kMove / static_cast<int>(sizeof(T));

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// x ← the square of kMoveLanes whose row i begins at row(i), transposed. Of 32 bytes, those of rows i and i + lanes/2 swap
// halves as they are loaded: then no other shuffle crosses the halves.
template <class T, class Row>
[[gnu::always_inline]] inline void load_transposed(const Row& row, Move<T>* x) {
  constexpr int lanes = kMoveLanes<T>;
  Move<T> y[lanes];
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) __builtin_memcpy(&x[i], row(i), sizeof x[i]);
  if constexpr (lanes == 2) {
    y[0] = KRONLA_SHUFFLE(T, x[0], x[1], 0, 2);
    y[1] = KRONLA_SHUFFLE(T, x[0], x[1], 1, 3);
    x[0] = y[0], x[1] = y[1];
  } else if constexpr (kMove == 16) {
#pragma GCC unroll 8
    for (int step = 0; step < 2; ++step) {  // perfect shuffles
#pragma GCC unroll 8
      for (int i = 0; i < 2; ++i) {
        y[2 * i] = KRONLA_SHUFFLE(T, x[i], x[i + 2], 0, 4, 1, 5);
        y[2 * i + 1] = KRONLA_SHUFFLE(T, x[i], x[i + 2], 2, 6, 3, 7);
      }
#pragma GCC unroll 8
      for (int i = 0; i < 4; ++i) x[i] = y[i];
    }
  } else if constexpr (lanes == 4) {
#pragma GCC unroll 8
    for (int i = 0; i < 2; ++i) {
      y[i] = KRONLA_SHUFFLE(T, x[i], x[i + 2], 0, 1, 4, 5);
      y[i + 2] = KRONLA_SHUFFLE(T, x[i], x[i + 2], 2, 3, 6, 7);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 4; ++i) x[i] = y[i];
#pragma GCC unroll 8
    for (int c = 0; c < 4; c += 2) {
      y[c] = KRONLA_SHUFFLE(T, x[c], x[c + 1], 0, 4, 2, 6);
      y[c + 1] = KRONLA_SHUFFLE(T, x[c], x[c + 1], 1, 5, 3, 7);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 4; ++i) x[i] = y[i];
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < 4; ++i) {
      y[i] = KRONLA_SHUFFLE(T, x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
      y[i + 4] = KRONLA_SHUFFLE(T, x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) x[i] = y[i];
#pragma GCC unroll 8
    for (int c = 0; c < 8; c += 2) {
      y[c] = KRONLA_SHUFFLE(T, x[c], x[c + 1], 0, 8, 1, 9, 4, 12, 5, 13);
      y[c + 1] = KRONLA_SHUFFLE(T, x[c], x[c + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 8
    for (int c = 0; c < 8; c += 2) {
      const Move<T>&low = y[c / 4 * 4 + c / 2 % 2], &high = y[c / 4 * 4 + c / 2 % 2 + 2];
      x[c] = KRONLA_SHUFFLE(T, low, high, 0, 1, 8, 9, 4, 5, 12, 13);
      x[c + 1] = KRONLA_SHUFFLE(T, low, high, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
}

// target[c * target_row + r] ← source[r * source_row + c] for a square of kMoveLanes.
template <class T>
void move_square(const T* source, int64_t source_row, T* target, int64_t target_row) {
  constexpr int lanes = kMoveLanes<T>;
  Move<T> x[lanes];
  load_transposed<T>([&](int64_t i) { return source + i * source_row; }, x);
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

// One triangle ← the other, within a square on the diagonal of A.
template <class T, bool Lower = true>
void mirror_square(int64_t n, T* A) {
  constexpr int lanes = kMoveLanes<T>;
  Move<T> x[lanes], y[lanes];
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) __builtin_memcpy(&x[i], A + i * n, sizeof x[i]);
  load_transposed<T>([&](int64_t i) { return A + i * n; }, y);
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) {
    Move<T> index;
    for (int c = 0; c < lanes; ++c) index[c] = static_cast<T>(c);
    x[i] = (Lower ? index < static_cast<T>(i) : index >= static_cast<T>(i)) ? x[i] : y[i];
    __builtin_memcpy(A + i * n, &x[i], sizeof x[i]);
  }
}

// The mirror images of rows [from, to) of a block of a lower triangle, C its first element: `from` is a multiple of
// kMoveLanes. Returns where the next ones begin: rows that fill no cache line of their images wait for others.
template <class T>
int64_t mirror_rows(const Range& range, int64_t from, int64_t to, T* C, int64_t ldc) {
  constexpr int64_t lanes = kMoveLanes<T>, line = 64 / static_cast<int64_t>(sizeof(T));
  const bool diagonal = range.row == range.column;
  const int64_t columns = range.column_end - range.column;
  if (to < range.row_end - range.row) to = to / line * line;
  T* images = diagonal ? C : C + (range.column - range.row) * ldc + (range.row - range.column);
  int64_t r = from;
  for (; r + lanes <= to; r += lanes) {
    move_transposed(lanes, diagonal ? r : columns, C + r * ldc, ldc, images + r, ldc);
    if (diagonal) mirror_square<T>(ldc, C + r * ldc + r);
  }
  for (; r < to; ++r)
    for (int64_t c = 0; c < (diagonal ? r : columns); ++c) images[c * ldc + r] = C[r * ldc + c];
  return r;
}

// The upper triangle ← the lower one (Lower), or the other way round.
template <class T, bool Lower>
void mirror(int64_t n, T* A) {
  constexpr int64_t step = 32, lanes = kMoveLanes<T>;  // squares that stay in the first-level cache
  const auto move = [=](int64_t rows, int64_t columns, int64_t i, int64_t j) {
    T *below = A + i * n + j, *above = A + j * n + i;
    Lower ? move_transposed(rows, columns, below, n, above, n) : move_transposed(columns, rows, above, n, below, n);
  };
  for (int64_t i = 0; i < n; i += step)
    for (int64_t j = 0; j < i; j += step) move(smaller(step, n - i), step, i, j);
  const int64_t whole = n / lanes * lanes;
  for (int64_t i = 0; i < whole; i += lanes) {
    for (int64_t j = i / step * step; j < i; j += lanes) move(lanes, lanes, i, j);
    mirror_square<T, Lower>(n, A + i * n + i);
  }
  for (int64_t r = whole; r < n; ++r)
    for (int64_t c = r / step * step; c < r; ++c) move(1, 1, r, c);
}

template <class T>
void transposed(int64_t m, int64_t n, const T* A, int64_t lda, T* B, int64_t ldb) {
  constexpr int64_t step = 32;
  for (int64_t i = 0; i < m; i += step)
    for (int64_t j = 0; j < n; j += step)
      move_transposed(smaller(step, m - i), smaller(step, n - j), A + i * lda + j, lda, B + j * ldb + i, ldb);
}

// Y[m,n]'s column k ← column from[k] of X[m,n]: rows of a transposed strip, transposed back. room: kStrip n elements.
template <class T>
void gather_columns(int64_t m, int64_t n, const int64_t* from, const T* X, T* Y, T* room) {
  constexpr int lanes = kMoveLanes<T>;
  for (int64_t row = 0; row < m; row += kStrip) {
    const int64_t rows = smaller(kStrip, m - row), whole = rows / lanes * lanes;
    move_transposed(rows, n, X + row * n, n, room, kStrip);
    T* target = Y + row * n;
    int64_t k = 0;
    for (; k + lanes <= n; k += lanes)
      for (int64_t r = 0; r < whole; r += lanes) {
        Move<T> x[lanes];
        load_transposed<T>([&](int64_t i) { return room + from[k + i] * kStrip + r; }, x);
#pragma GCC unroll 8
        for (int i = 0; i < lanes; ++i) __builtin_memcpy(target + (r + i) * n + k, &x[i], sizeof x[i]);
      }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = r < whole ? k : 0; c < n; ++c) target[r * n + c] = room[from[c] * kStrip + r];
  }
}

template <class T, bool Pairs>
void pair_rows(int64_t n, const T* x, const T* y, T* pairs) {
  using S = Simd<T>;
  if constexpr (Pairs) {
    for (int64_t j = 0; j < n; j += S::lanes) {
      const auto part = S::part(smaller(S::lanes, n - j));
      const typename S::Vector second = y == nullptr ? S::broadcast(T(0)) : S::load_part(y + j, part);
      S::store_part(pairs + j, part, S::pair(S::load_part(x + j, part), second));
    }
  }
}

template <class T, bool Pairs>
void pair_neighbours(int64_t n, const T* x, T* pairs) {
  using S = Simd<T>;
  if constexpr (Pairs) {
    for (int64_t j = 0; j < n; j += 2 * S::lanes) {
      const int64_t count = smaller(2 * S::lanes, n - j), first = smaller(S::lanes, count);
      const auto low = S::load_part(x + j, S::part(first));
      const auto high = S::load_part(x + j + first, S::part(count - first));
      S::store_part(pairs + j / 2, S::part((count + 1) / 2), S::pairs(low, high));
    }
  }
}

// The same of bfloat16.
template <class T>
void interleave(int64_t n, const uint16_t* x, const uint16_t* y, T* pairs) {
  for (int64_t j = 0; j < n; ++j) {
    const uint32_t pair = x[j] | (y == nullptr ? 0u : static_cast<uint32_t>(y[j]) << 16);
    __builtin_memcpy(pairs + j, &pair, sizeof pair);
  }
}
