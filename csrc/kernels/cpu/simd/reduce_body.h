// Largest magnitudes, sums of squares, and the sums over blocks of a matrix that the rearrangement takes. Included as
// kernels_body.h says.

typedef int32_t Bits32 __attribute__((vector_size(64)));
typedef int64_t Bits64 __attribute__((vector_size(64)));
typedef float Floats8 __attribute__((vector_size(32)));
typedef double Doubles8 __attribute__((vector_size(64)));

template <class T>
struct Eight;
template <>
struct Eight<float> {
  using Vector = Floats8;
  using Bits = Bits32;
  using Integer = int32_t;
};
template <>
struct Eight<double> {
  using Vector = Doubles8;
  using Bits = Bits64;
  using Integer = int64_t;
};

// Magnitudes are ordered as the integers of the same bits, infinity and NaN above all numbers.
template <class T>
T largest(int64_t count, const T* x) {
  using Bits = typename Eight<T>::Bits;
  using Integer = typename Eight<T>::Integer;
  constexpr int64_t lanes = 64 / sizeof(T);
  constexpr Integer sign = Integer(1) << (8 * sizeof(T) - 2), magnitude = sign - 1 + sign;  // all bits but the sign
  Bits best[2] = {};
  int64_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      Bits bits;
      __builtin_memcpy(&bits, x + i + v * lanes, sizeof bits);
      bits &= magnitude;
      best[v] = bits > best[v] ? bits : best[v];
    }
  Integer most = 0;
  for (int v = 0; v < 2; ++v)
    for (int l = 0; l < lanes; ++l) most = best[v][l] > most ? best[v][l] : most;
  for (; i < count; ++i) {
    Integer bits;
    __builtin_memcpy(&bits, x + i, sizeof bits);
    bits &= magnitude;
    most = bits > most ? bits : most;
  }
  T result;
  __builtin_memcpy(&result, &most, sizeof result);
  return result;
}

template <class T>
double squares(int64_t count, const T* x) {
  using Vector = typename Eight<T>::Vector;
  Doubles8 sum[4] = {};
  int64_t i = 0;
  for (; i + 32 <= count; i += 32)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      Vector part;
      __builtin_memcpy(&part, x + i + 8 * v, sizeof part);
      const Doubles8 wide = __builtin_convertvector(part, Doubles8);
      sum[v] += wide * wide;
    }
  for (; i + 8 <= count; i += 8) {
    Vector part;
    __builtin_memcpy(&part, x + i, sizeof part);
    const Doubles8 wide = __builtin_convertvector(part, Doubles8);
    sum[0] += wide * wide;
  }
  if (i < count && count >= 8) {  // the last eight, of which the first are in already
    constexpr Doubles8 index = {0, 1, 2, 3, 4, 5, 6, 7};
    Vector part;
    __builtin_memcpy(&part, x + count - 8, sizeof part);
    const Doubles8 wide = __builtin_convertvector(part, Doubles8);
    sum[1] += index < static_cast<double>(i - (count - 8)) ? Doubles8{} : wide * wide;
  } else {
    for (; i < count; ++i) sum[0][0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  const Doubles8 s = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

// Up to four vectors of the columns of every block of one row of H.
template <class T, int V, bool Part, bool Left, bool Right>
void row_of_blocks(int64_t blocks, int64_t n, int64_t tail, const T* H, const T* R, const T* weights, T* sums,
                   T* right) {
  using S = Simd<T>;
  const auto part = S::part(tail);
  const auto load = [&](const T* x, int v) {
    return Part && v + 1 == V ? S::load_part(x + v * S::lanes, part) : S::load(x + v * S::lanes);
  };
  typename S::Vector factor[V], total[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    if (Left) factor[v] = load(R, v);
    total[v] = S::broadcast(T(0));
  }
  for (int64_t k = 0; k < blocks; ++k) {
    typename S::Vector sum = Left ? S::load(sums + k * S::lanes) : S::broadcast(T(0));
    const typename S::Vector weight = S::broadcast(Right ? weights[k] : T(0));
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const typename S::Vector h = load(H + k * n, v);
      if (Left) sum = S::fused(h, factor[v], sum);
      if (Right) total[v] = S::fused(weight, h, total[v]);
    }
    if (Left) S::store(sums + k * S::lanes, sum);
  }
#pragma GCC unroll 4
  for (int v = 0; Right && v < V; ++v)
    Part&& v + 1 == V ? S::store_part(right + v * S::lanes, part, total[v]) : S::store(right + v * S::lanes, total[v]);
}

template <class T, bool Left, bool Right>
void block_rows(const BlockRows<T>& p) {
  constexpr int64_t lanes = Simd<T>::lanes, kChain = 64;  // additions in T before a sum goes on in float64
  using Row = void (*)(int64_t, int64_t, int64_t, const T*, const T*, const T*, T*, T*);
  constexpr Row rows[2][4] = {{row_of_blocks<T, 1, false, Left, Right>, row_of_blocks<T, 2, false, Left, Right>,
                               row_of_blocks<T, 3, false, Left, Right>, row_of_blocks<T, 4, false, Left, Right>},
                              {row_of_blocks<T, 1, true, Left, Right>, row_of_blocks<T, 2, true, Left, Right>,
                               row_of_blocks<T, 3, true, Left, Right>, row_of_blocks<T, 4, true, Left, Right>}};
  const int64_t vectors = (p.n + lanes - 1) / lanes;
  for (int64_t i = 0; Left && i < p.blocks * lanes; ++i) p.sums[i] = T(0);
  for (int64_t k = 0; Left && k < p.blocks; ++k) p.left[k] = 0.0;
  int64_t chain = 0;
  for (int64_t r = 0; r < p.count; ++r) {
    for (int64_t v = 0; v < vectors; v += 4) {
      const int64_t c = v * lanes, width = smaller(4, vectors - v),
                    tail = smaller(lanes, p.n - c - (width - 1) * lanes);
      rows[tail < lanes][width - 1](p.blocks, p.n, tail, p.H + r * p.ldh + c, Left ? p.R + r * p.n + c : nullptr,
                                    p.weights + r * p.ldw, p.sums, Right ? p.right + r * p.n + c : nullptr);
    }
    chain += vectors;
    if (Left && (chain + vectors > kChain || r + 1 == p.count)) {
      chain = 0;
      for (int64_t k = 0; k < p.blocks; ++k)
        for (int64_t l = 0; l < lanes; ++l) {
          p.left[k] += static_cast<double>(p.sums[k * lanes + l]);
          p.sums[k * lanes + l] = T(0);
        }
    }
  }
}

template <class T>
void block_rows(const BlockRows<T>& p) {
  if (p.right == nullptr) return block_rows<T, true, false>(p);
  if (p.left == nullptr) return block_rows<T, false, true>(p);
  block_rows<T, true, true>(p);
}
