// Tridiagonal matrices of a few rows by implicit QL (Martin & Wilkinson 1968), with Wilkinson's shift. Included as
// kernels_body.h says.

using Reals = Simd<double>::Vector;
using Truth = decltype(Reals{} < Reals{});

__attribute__((always_inline)) inline Reals magnitude_of(Reals x) { return x < 0.0 ? -x : x; }

// A lane is a matrix, since each rotation waits for the one before; all lanes go over the same rows, and each takes part
// between its own l and m.
struct QlLanes {
  using S = Simd<double>;
  Leaves& leaves;
  int64_t lane;
  Reals in_sweep;  // 1 where it takes part
  Reals m, shifted;

  Reals d(int64_t i) const { return S::load(&leaves.d[i][lane]); }
  Reals e(int64_t i) const { return S::load(&leaves.e[i][lane]); }
  void set_d(int64_t i, Reals x) { S::store(&leaves.d[i][lane], x); }
  void set_e(int64_t i, Reals x) { S::store(&leaves.e[i][lane], x); }

  // Where the block that begins at row l ends, and d[m] − shift. False where all lanes are through with l.
  bool begin(int64_t l) {
    constexpr double epsilon = 0x1p-53;
    const double first = static_cast<double>(l);
    m = S::broadcast(static_cast<double>(kLeaf - 1));
    Reals last = d(kLeaf - 1);
    for (int64_t i = kLeaf - 2; i >= l; --i) {
      const Reals here = d(i), below = d(i + 1);
      const Truth ends = magnitude_of(e(i)) <= epsilon * (magnitude_of(here) + magnitude_of(below));
      m = ends ? S::broadcast(static_cast<double>(i)) : m;
      last = ends ? here : last;
    }
    in_sweep = m > first ? S::broadcast(1.0) : Reals{};
    if (!S::any(m > first)) return false;
    const Reals half = 0.5 * (d(l + 1) - d(l)), square = e(l) * e(l);
    const Reals reach = magnitude_of(half) + S::root(half * half + square);
    const Reals away = reach > 0.0 ? square / (reach > 0.0 ? reach : S::broadcast(1.0)) : Reals{};
    shifted = (last - d(l)) + (half < 0.0 ? -away : away);
    return true;
  }

  // Rows i and i+1 of Z by a rotation; row i goes on to the next one in registers.
  __attribute__((always_inline)) void rotate(int64_t i, Reals sine, Reals cosine, Reals* carried) {
#pragma GCC unroll 8
    for (int64_t c = 0; c < kLeaf; ++c) {
      const Reals next = S::load(&leaves.Z[i][c][lane]);
      S::store(&leaves.Z[i + 1][c][lane], S::fused(sine, next, cosine * carried[c]));
      carried[c] = cosine * next - sine * carried[c];
    }
  }

  void sweep(int64_t l) {
    constexpr double vanishing = 0x1p-960;  // below which a square may have underflowed
    const Reals zero = {}, one = S::broadcast(1.0);
    Reals g = shifted, s = one, c = one, p = zero, carried[kLeaf];
#pragma GCC unroll 8
    for (int64_t k = 0; k < kLeaf; ++k) carried[k] = S::load(&leaves.Z[kLeaf - 1][k][lane]);
    for (int64_t i = kLeaf - 2; i >= l; --i) {
      const double row = static_cast<double>(i);
      const Reals here = d(i), below = d(i + 1), link = e(i), f = s * link, b = c * link, size = f * f + g * g;
      const Truth part = (m > row) & (in_sweep > 0.0), turns = part & (size > vanishing), apart = part & ~turns;
      const Reals r = S::root(turns ? size : one), sine = f / r, cosine = g / r, rest = below - p;
      const Reals t = (here - rest) * sine + 2.0 * cosine * b;
      // Where the matrix falls apart at i+1, the sweep ends.
      set_d(i + 1, turns ? rest + sine * t : (apart ? rest : below));
      set_e(i + 1, part ? ((m > row + 1.0) & turns ? r : zero) : e(i + 1));
      in_sweep = apart ? zero : in_sweep;
      rotate(i, turns ? sine : zero, turns ? cosine : one, carried);
      s = turns ? sine : s;
      c = turns ? cosine : c;
      p = turns ? sine * t : p;
      g = turns ? cosine * t - b : g;
    }
#pragma GCC unroll 8
    for (int64_t k = 0; k < kLeaf; ++k) S::store(&leaves.Z[l][k][lane], carried[k]);
    const Truth whole = in_sweep > 0.0;
    set_d(l, whole ? d(l) - p : d(l));
    set_e(l, whole ? g : e(l));
  }
};

inline bool ql(int64_t count, Leaves& leaves) {
  constexpr int kSweeps = 60;  // for one eigenvalue; two are usual
  for (int64_t lane = 0; lane < count; lane += Simd<double>::lanes) {
    for (int64_t i = 0; i < kLeaf; ++i)
      for (int64_t j = 0; j < kLeaf; ++j)
        Simd<double>::store(&leaves.Z[i][j][lane], Simd<double>::broadcast(i == j ? 1.0 : 0.0));
    QlLanes lanes{leaves, lane, {}, {}, {}};
    for (int64_t l = 0; l + 1 < kLeaf; ++l) {
      int sweep = 0;
      for (; lanes.begin(l); ++sweep) {
        if (sweep == kSweeps) return false;
        lanes.sweep(l);
      }
    }
  }
  return true;
}
