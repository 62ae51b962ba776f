// The secular equation, many roots at once: each lane is a root, and the loops go over the poles. Included as
// kernels_body.h says.

// At λ = origin + offset, for V vectors of roots: Σ w_j, Σ w_j/Δ_j and Σ w_j/Δ_j² of w_j = z_j²/Δ_j, Δ_j = d_j − λ.
template <int V>
struct SecularSums {
  Reals value[V] = {}, slope[V] = {}, bend[V] = {};

  // Poles first, first + step, …; two of them share a division.
  __attribute__((always_inline)) void add(const Secular& p, int64_t first, int64_t count, int64_t step,
                                          const Reals* origin, const Reals* offset) {
    using S = Simd<double>;
    const double *d = p.d + first, *squares = p.squares + first;
    for (; count >= 2; count -= 2, d += 2 * step, squares += 2 * step) {
      const Reals pole_a = S::broadcast(d[0]), pole_b = S::broadcast(d[step]);
      const Reals square_a = S::broadcast(squares[0]), square_b = S::broadcast(squares[step]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const Reals a = (pole_a - origin[v]) - offset[v], b = (pole_b - origin[v]) - offset[v];
        const Reals inverse = 1.0 / (a * b), inverse_a = b * inverse, inverse_b = a * inverse;
        const Reals w_a = square_a * inverse_a, w_b = square_b * inverse_b;
        const Reals t_a = w_a * inverse_a, t_b = w_b * inverse_b;
        value[v] = (value[v] + w_a) + w_b;
        slope[v] = (slope[v] + t_a) + t_b;
        bend[v] = S::fused(t_b, inverse_b, S::fused(t_a, inverse_a, bend[v]));
      }
    }
    if (count == 0) return;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Reals inverse = 1.0 / ((S::broadcast(d[0]) - origin[v]) - offset[v]);
      const Reals w = S::broadcast(squares[0]) * inverse, t = w * inverse;
      value[v] += w;
      slope[v] += t;
      bend[v] = S::fused(t, inverse, bend[v]);
    }
  }
};

// The function of the secular equation and the sum of its terms' magnitudes, for roots from `first` on; and, without the
// terms of the two poles beside each root, its value, slope and half its second derivative. Those terms are left out because
// beside a pole they are so large that what the others say would be lost. Sums go from far poles to near ones.
template <int V>
struct SecularValues {
  Reals f[V], magnitude[V], rest[V], slope[V], bend[V];

  __attribute__((always_inline)) void at(const Secular& p, int64_t first, const Reals* origin, const Reals* offset) {
    using S = Simd<double>;
    constexpr int64_t roots = V * S::lanes;
    SecularSums<V> left, right;
    left.add(p, 0, first, 1, origin, offset);
    if (p.k - 1 > first + roots) right.add(p, p.k - 1, p.k - 1 - first - roots, -1, origin, offset);
    Reals lane[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      rest[v] = left.value[v] + right.value[v];
      slope[v] = left.slope[v] + right.slope[v];
      bend[v] = left.bend[v] + right.bend[v];
      magnitude[v] = right.value[v] - left.value[v];
      for (int l = 0; l < S::lanes; ++l) lane[v][l] = static_cast<double>(v * S::lanes + l);
    }
    // Poles beside and between the roots of this group: to the left of some, to the right of others.
    for (int64_t j = first; j < smaller(p.k, first + roots + 1); ++j) {
      const Reals pole = S::broadcast(p.d[j]), square = S::broadcast(p.squares[j]);
      const Reals place = S::broadcast(static_cast<double>(j - first));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const Truth beside = (place == lane[v]) | (place == lane[v] + 1.0);
        const Reals inverse = 1.0 / ((pole - origin[v]) - offset[v]), w = beside ? Reals{} : square * inverse,
                    t = w * inverse;
        rest[v] += w;
        magnitude[v] += w < 0.0 ? -w : w;
        slope[v] += t;
        bend[v] = S::fused(t, inverse, bend[v]);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const int64_t i = first + v * S::lanes;
      const Reals below = S::load(p.squares + i) / ((S::load(p.d + i) - origin[v]) - offset[v]);
      const Reals above = S::load(p.squares + i + 1) / ((S::load(p.d + i + 1) - origin[v]) - offset[v]);
      rest[v] += p.inverse_rho;
      f[v] = rest[v] + (below + above);
      magnitude[v] += p.inverse_rho + (above - below);
    }
  }
};

// The root of c x² − a x + b between the two poles.
__attribute__((always_inline)) inline Reals root_between(Reals a, Reals b, Reals c) {
  const Reals square = a * a - 4.0 * b * c;
  const Reals size = Simd<double>::root(square < 0.0 ? Reals{} : square);
  return a > 0.0 ? 2.0 * b / (a + size) : (a - size) / (2.0 * c);
}

__attribute__((always_inline)) inline Reals within(Reals low, Reals x, Reals high) {
  return (x > low) & (x < high) ? x : 0.5 * (low + high);
}

// Where a root is sought, after one look at the middle between its poles.
struct SecularBracket {
  Reals left, right, low, high;

  // The start is the root if all poles but the two beside it stayed what they are at the middle (Li 1993, section 4).
  __attribute__((always_inline)) void start(const double* d, const double* squares, Reals f, Reals c, Reals& origin,
                                            Reals& offset) {
    using S = Simd<double>;
    const Reals zero = {}, gap = right - left, weight_left = S::load(squares), weight_right = S::load(squares + 1);
    const Truth last = weight_right <= 0.0, from_right = (f < 0.0) & (weight_right > 0.0);
    const Reals sum = weight_left + weight_right;
    const Reals a = from_right ? sum - c * gap : sum + c * gap;
    const Reals b = from_right ? -weight_right * gap : weight_left * gap;
    origin = from_right ? right : left;
    low = from_right ? -0.5 * gap : zero;
    high = from_right ? zero : (last ? gap : 0.5 * gap);
    left = S::load(d) - origin;
    right = S::load(d + 1) - origin;
    offset = within(low, root_between(a, b, c), high);
  }
};

// V vectors of roots. Steps interpolate value, slope and bend by c + s/(d_i − λ) + r/(d_{i+1} − λ), to which the two poles'
// own terms add themselves exactly. This converges cubically from any start (Borges & Gragg 1993): after a step below 2⁻¹⁸
// of the offset, the root is there.
template <int V>
bool secular_group(const Secular& p, int64_t first, int64_t end) {
  using S = Simd<double>;
  constexpr int kSteps = 100;
  constexpr double small = 0x1p-18;
  const double tolerance = 0x1p-52 * (4.0 + 0.0625 * static_cast<double>(p.k));
  SecularValues<V> at;
  SecularBracket bracket[V];
  Reals origin[V], offset[V], open[V];  // 1 where the root is not yet found
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const double* d = p.d + first + v * S::lanes;
    bracket[v].left = origin[v] = S::load(d);
    bracket[v].right = S::load(d + 1);
    offset[v] = 0.5 * (bracket[v].right - bracket[v].left);
    for (int l = 0; l < S::lanes; ++l) open[v][l] = first + v * S::lanes + l < end ? 1.0 : 0.0;
  }
  at.at(p, first, origin, offset);
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v)
    bracket[v].start(p.d + first + v * S::lanes, p.squares + first + v * S::lanes, at.f[v], at.rest[v], origin[v],
                     offset[v]);

  bool more = true;
  for (int step = 0; more && step < kSteps; ++step) {
    at.at(p, first, origin, offset);
    more = false;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Reals x = offset[v], f = at.f[v], left = bracket[v].left - x, right = bracket[v].right - x;
      Reals& low = bracket[v].low = f < 0.0 ? x : bracket[v].low;
      Reals& high = bracket[v].high = f > 0.0 ? x : bracket[v].high;
      const Reals sum = left + right, product = left * right, rest = at.rest[v], slope = at.slope[v];
      const Reals weight_left = S::load(p.squares + first + v * S::lanes),
                  weight_right = S::load(p.squares + first + v * S::lanes + 1);
      const Reals eta = root_between((sum * rest - product * slope) + (weight_left + weight_right),
                                     product * rest + (left * weight_right + right * weight_left),
                                     rest - sum * slope + product * at.bend[v]);
      const Reals size = f < 0.0 ? -f : f, next = x + eta;
      const Truth solved = size <= tolerance * at.magnitude[v];
      const Truth close = (eta < 0.0 ? -eta : eta) <= small * (x < 0.0 ? -x : x);
      const Reals at_end = next < low ? low : (next > high ? high : next);
      const Reals taken = close ? at_end : (solved ? x : within(low, next, high));
      offset[v] = open[v] > 0.0 ? taken : x;
      open[v] = solved | close ? Reals{} : open[v];
      more |= S::any(open[v] > 0.0);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    S::store(p.origin + first + v * S::lanes, origin[v]);
    S::store(p.offset + first + v * S::lanes, offset[v]);
  }
  return !more;
}

inline bool secular_roots(const Secular& p, int64_t first, int64_t end) {
  constexpr int64_t lanes = Simd<double>::lanes;
  bool found = true;
  for (int64_t i = first; i < end; i += 2 * lanes)
    found &= end - i > lanes ? secular_group<2>(p, i, end) : secular_group<1>(p, i, end);
  return found;
}

// Löwner's formula, by which the z of an equation with just these roots is known to full accuracy (Gu & Eisenstat 1995):
// ρ z_j² = (λ_j − d_j) Π_{i≠j} (λ_i − d_j)/(d_i − d_j). Four factors share a division; ρ falls out.
inline void secular_weights(const Secular& p, int64_t first, int64_t end, double* z) {
  using S = Simd<double>;
  for (int64_t j = first; j < end; j += S::lanes) {
    const Reals d = S::load(p.d + j);
    const auto over = [&](int64_t i) { return (S::broadcast(p.origin[i]) - d) + S::broadcast(p.offset[i]); };
    const auto under = [&](int64_t i) { return S::broadcast(p.d[i]) - d; };
    Reals square = S::broadcast(1.0);
    const auto others = [&](int64_t i, int64_t stop) {
      for (; i + 4 <= stop; i += 4)
        square *= (over(i) * over(i + 1) * (over(i + 2) * over(i + 3))) /
                  (under(i) * under(i + 1) * (under(i + 2) * under(i + 3)));
      for (; i < stop; ++i) square *= over(i) / under(i);
    };
    others(0, j);
    const int64_t stop = smaller(j + S::lanes, p.k);
    for (int64_t i = j; i < stop; ++i) {
      Reals below = under(i);
      below[i - j] = 1.0;
      square *= over(i) / below;
    }
    others(stop, p.k);
    S::store(z + j, S::root(square < 0.0 ? -square : square));
  }
}

template <class T>
void secular_vectors(const SecularVectors<T>& p, int64_t first, int64_t end) {
  using S = Simd<double>;
  typedef T Narrow __attribute__((vector_size(S::lanes * sizeof(T))));
  constexpr int64_t lanes = S::lanes;
  for (int64_t i = first; i < end; ++i) {
    const Reals origin = S::broadcast(p.origin[i]), offset = S::broadcast(p.offset[i]);
    Reals sum[2] = {};
    for (int64_t j = 0; j < p.k; j += 2 * lanes) {
      const Reals a = (S::load(p.d + j) - origin) - offset, b = (S::load(p.d + j + lanes) - origin) - offset;
      const Reals inverse = 1.0 / (a * b);
      const Reals x = S::load(p.z + j) * (b * inverse), y = S::load(p.z + j + lanes) * (a * inverse);
      sum[0] = S::fused(x, x, sum[0]);
      sum[1] = S::fused(y, y, sum[1]);
      S::store(p.row + j, x);
      S::store(p.row + j + lanes, y);
    }
    const Reals both = sum[0] + sum[1];
    double square = 0.0;
    for (int l = 0; l < lanes; ++l) square += both[l];
    const Reals scale = S::broadcast(1.0 / __builtin_sqrt(square));
    T* row = p.S + i * p.lds;
    for (int64_t j = 0; j < p.k; j += lanes) {
      const Narrow x = __builtin_convertvector(scale * S::load(p.row + j), Narrow);
      __builtin_memcpy(row + j, &x, sizeof x);
    }
  }
}
