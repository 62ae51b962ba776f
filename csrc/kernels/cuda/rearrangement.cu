#include "kernels/cuda/rearrangement.h"

#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/rearrangement_pass.h"

namespace kronla::cuda {
namespace {

constexpr int kCopyThreads = 256;
constexpr int kCopyEach = 4;  // words a thread copies: that many loads are in flight before the first store

// Swaps the middle dimensions of [m, n, m, n] for each i: H[i, j, k, c] and rearranged[i, k, j, c], the last one in words of
// 4, 8 or 16 bytes. A block takes a contiguous piece of rearranged[i], so that for short segments (small n) the words that
// share a sector of H are in the same block too.
template <class Word, bool kInverse>
__global__ void __launch_bounds__(kCopyThreads)
    rearrange_kernel(unsigned m, unsigned n, unsigned words, unsigned pieces, const Word* from, Word* to) {
  const unsigned segment = n * words, slab = m * segment, row = m * words;
  const int64_t base = int64_t{blockIdx.x / pieces} * slab;
  const unsigned first = blockIdx.x % pieces * (kCopyThreads * kCopyEach) + threadIdx.x;
  int64_t source[kCopyEach], target[kCopyEach];
  Word word[kCopyEach];
#pragma unroll
  for (int e = 0; e < kCopyEach; ++e) {
    const unsigned at = first + e * kCopyThreads;
    const unsigned k = at / segment, rest = at - k * segment, j = rest / words, c = rest - j * words;
    const int64_t in_H = base + j * row + k * words + c, in_rearranged = base + at;
    source[e] = kInverse ? in_rearranged : in_H;
    target[e] = kInverse ? in_H : in_rearranged;
    if (at < slab) word[e] = from[source[e]];
  }
#pragma unroll
  for (int e = 0; e < kCopyEach; ++e)
    if (first + e * kCopyThreads < slab) to[target[e]] = word[e];
}

template <class Word, bool kInverse>
void launch_rearrange(int64_t batch, int64_t m, int64_t n, int64_t segment_bytes, const void* from, void* to,
                      const Stream& stream) {
  const int64_t words = segment_bytes / static_cast<int64_t>(sizeof(Word));
  const int64_t pieces = (checked_int(m * n * words) + kCopyThreads * kCopyEach - 1) / (kCopyThreads * kCopyEach);
  const int blocks = checked_int(batch * m * pieces);
  if (blocks == 0) return;
  launch("rearrange", rearrange_kernel<Word, kInverse>, dim3(static_cast<unsigned>(blocks)), kCopyThreads, 0,
         stream.handle, static_cast<unsigned>(m), static_cast<unsigned>(n), static_cast<unsigned>(words),
         static_cast<unsigned>(pieces), static_cast<const Word*>(from), static_cast<Word*>(to));
}

template <bool kInverse>
void copy_rearranged(int64_t batch, int64_t m, int64_t n, int64_t segment_bytes, const void* from, void* to,
                     const Stream& stream) {
  const uintptr_t alignment =
      reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to) | static_cast<uintptr_t>(segment_bytes);
  if (alignment % 16 == 0) {
    launch_rearrange<uint4, kInverse>(batch, m, n, segment_bytes, from, to, stream);
  } else if (alignment % 8 == 0) {
    launch_rearrange<uint2, kInverse>(batch, m, n, segment_bytes, from, to, stream);
  } else {
    launch_rearrange<uint32_t, kInverse>(batch, m, n, segment_bytes, from, to, stream);
  }
}

}  // namespace

template <class T>
void rearrange(int64_t batch, int64_t m, int64_t n, const T* H, T* rearranged, const Stream& stream) {
  copy_rearranged<false>(batch, m, n, n * static_cast<int64_t>(sizeof(T)), H, rearranged, stream);
}

template <class T>
void unrearrange(int64_t batch, int64_t m, int64_t n, const T* rearranged, T* H, const Stream& stream) {
  copy_rearranged<true>(batch, m, n, n * static_cast<int64_t>(sizeof(T)), rearranged, H, stream);
}

template <class T>
void rearranged_matvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* R, T* L, const Stream& stream) {
  Pass<T> pass{};
  pass.tiles = pass_tiles(m, n, false);
  pass.H = H;
  pass.R = R;
  pass.L_parts = stream.take<double>(batch * pass.tiles.column_tiles * m * m);
  run_pass(PassKind::Forward, batch, pass, stream);
  sum_parts(batch, pass.tiles.column_tiles, m * m, pass.L_parts, L, stream);
}

template <class T>
void rearranged_rmatvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* L, T* R, const Stream& stream) {
  Pass<T> pass{};
  pass.tiles = pass_tiles(m, n, false);
  pass.H = H;
  pass.L = L;
  pass.R_parts = stream.take<T>(batch * pass.tiles.row_tiles * n * n);
  run_pass(PassKind::Backward, batch, pass, stream);
  sum_parts(batch, pass.tiles.row_tiles, n * n, pass.R_parts, R, stream);
}

template void rearrange<float>(int64_t, int64_t, int64_t, const float*, float*, const Stream&);
template void rearrange<double>(int64_t, int64_t, int64_t, const double*, double*, const Stream&);
template void unrearrange<float>(int64_t, int64_t, int64_t, const float*, float*, const Stream&);
template void unrearrange<double>(int64_t, int64_t, int64_t, const double*, double*, const Stream&);
template void rearranged_matvec<float>(int64_t, int64_t, int64_t, const float*, const float*, float*, const Stream&);
template void rearranged_matvec<double>(int64_t, int64_t, int64_t, const double*, const double*, double*,
                                        const Stream&);
template void rearranged_rmatvec<float>(int64_t, int64_t, int64_t, const float*, const float*, float*, const Stream&);
template void rearranged_rmatvec<double>(int64_t, int64_t, int64_t, const double*, const double*, double*,
                                         const Stream&);

}  // namespace kronla::cuda
