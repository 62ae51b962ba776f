#include "kernels/cpu/eigh/deflation.h"

#include <algorithm>
#include <cmath>

namespace kronla {
namespace {

// Rows p and q of Z ← c p − s q, c q + s p.
template <class T>
void rotate(const RankOneUpdate<T>& update, Support* support, int64_t p, int64_t q, double cosine, double sine) {
  T *a = update.Z + p * update.ldz, *b = update.Z + q * update.ldz;
  if (support[p] != support[q]) {
    for (const int64_t row : {p, q}) {
      T* zeros = update.Z + row * update.ldz;
      if (support[row] == kFirst) std::fill(zeros + update.half, zeros + update.n, T(0));
      if (support[row] == kSecond) std::fill(zeros, zeros + update.half, T(0));
      support[row] = kBoth;
    }
  }
  const T c = static_cast<T>(cosine), s = static_cast<T>(sine);
  const int64_t begin = support[p] == kSecond ? update.half : 0, end = support[p] == kFirst ? update.half : update.n;
  for (int64_t j = begin; j < end; ++j) {
    const T x = a[j], y = b[j];
    a[j] = c * x - s * y;
    b[j] = c * y + s * x;
  }
}

}  // namespace

template <class T>
void deflate(const RankOneUpdate<T>& update, double tolerance, Deflation& deflation) {
  double *d = update.d, *z = update.z;
  int64_t kept = 0, deflated = 0, last = -1;  // the row that is kept so far, but may still be rotated away
  for (int64_t i = 0; i < update.n; ++i) deflation.support[i] = i < update.half ? kFirst : kSecond;
  for (int64_t i = 0; i < update.n; ++i) {
    const int64_t row = update.order[i];
    if (update.rho * std::abs(z[row]) <= tolerance) {
      deflation.deflated[deflated++] = row;
      continue;
    }
    if (last >= 0) {
      const double size = std::hypot(z[last], z[row]), c = z[row] / size, s = z[last] / size;
      if (std::abs((d[row] - d[last]) * c * s) <= tolerance) {
        rotate(update, deflation.support, last, row, c, s);
        const double low = d[last], high = d[row];
        d[last] = low * c * c + high * s * s;
        d[row] = low * s * s + high * c * c;
        z[last] = 0.0;
        z[row] = size;
        deflation.deflated[deflated++] = last;
      } else {
        deflation.kept[kept++] = last;
      }
    }
    last = row;
  }
  if (last >= 0) deflation.kept[kept++] = last;
  // Almost in order already: rotations changed a few.
  for (int64_t i = 1; i < deflated; ++i) {
    const int64_t row = deflation.deflated[i];
    int64_t j = i;
    for (; j > 0 && d[deflation.deflated[j - 1]] > d[row]; --j) deflation.deflated[j] = deflation.deflated[j - 1];
    deflation.deflated[j] = row;
  }
  deflation.kept_count = kept;
  deflation.deflated_count = deflated;
}

template void deflate<float>(const RankOneUpdate<float>&, double, Deflation&);
template void deflate<double>(const RankOneUpdate<double>&, double, Deflation&);

}  // namespace kronla
