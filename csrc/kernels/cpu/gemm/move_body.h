// Transposes, mirror images, permutations of columns, and pairs of bfloat16. Included as block_body.h says.

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

// x[0..lanes) ← its transpose, by log2(lanes) perfect shuffles.
template <class T>
void transpose_square(Move<T>* x) {
  constexpr int lanes = kMoveLanes<T>;
  for (int step = 1; step < lanes; step *= 2) {
    Move<T> y[lanes];
#pragma GCC unroll 8
    for (int i = 0; i < lanes / 2; ++i) {
      if constexpr (lanes == 8) {
        y[2 * i] = KRONLA_SHUFFLE(T, x[i], x[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        y[2 * i + 1] = KRONLA_SHUFFLE(T, x[i], x[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
      } else if constexpr (lanes == 4) {
        y[2 * i] = KRONLA_SHUFFLE(T, x[i], x[i + 2], 0, 4, 1, 5);
        y[2 * i + 1] = KRONLA_SHUFFLE(T, x[i], x[i + 2], 2, 6, 3, 7);
      } else {
        y[2 * i] = KRONLA_SHUFFLE(T, x[i], x[i + 1], 0, 2);
        y[2 * i + 1] = KRONLA_SHUFFLE(T, x[i], x[i + 1], 1, 3);
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

// The upper triangle ← the lower one, within a square on the diagonal of A.
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
#pragma GCC unroll 8
        for (int i = 0; i < lanes; ++i) __builtin_memcpy(&x[i], room + from[k + i] * kStrip + r, sizeof x[i]);
        transpose_square<T>(x);
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
