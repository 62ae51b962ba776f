// orthonormalize: one block a matrix for m ≤ 64, by tiles beyond.
#include <algorithm>

#include "kernels/cuda/device/qr_work.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/eigenbasis.h"
#include "kernels/cuda/orthonormalize_passes.h"
#include "kernels/status.h"

namespace kronla::cuda {
namespace {

template <class T>
struct Columns {
  const T* S;
  T* Q;
  int32_t* info;
  int64_t m, n;
};

using ColumnsRoom = QrRoom<kBlockMost>;

size_t columns_shared_bytes(int m) {
  const int N = block_size_of(m);
  return sizeof(ColumnsRoom) + 2 * sizeof(double) * N * block_step_of(N);
}

// The largest magnitude of one matrix, infinite where an element is not finite; for every thread.
template <class T>
__device__ __forceinline__ T largest_in_block(const T* x, int64_t count, double* room) {
  T largest = T(0);
  for (int64_t index = threadIdx.x; index < count; index += blockDim.x) {
    const T size = magnitude(x[index]);
    largest = size > largest ? size : largest;
  }
  return static_cast<T>(block_max(static_cast<double>(largest), room));
}

template <class T>
__global__ void __launch_bounds__(kBlockThreads, 3) columns_in_block_kernel(KRONLA_PARAMETER(Columns<T>) columns) {
  KRONLA_SHARED(unsigned char, shared);
  const int m = static_cast<int>(columns.m), n = static_cast<int>(columns.n), N = block_size_of(m);
  const int ld = block_step_of(N), thread = static_cast<int>(threadIdx.x);
  const int64_t size = columns.m * columns.n;
  const T* S = columns.S + blockIdx.x * size;
  T* Q = columns.Q + blockIdx.x * size;
  ColumnsRoom& room = *reinterpret_cast<ColumnsRoom*>(shared);
  double *M = reinterpret_cast<double*>(shared + sizeof(ColumnsRoom)), *W = M + N * ld;

  const T largest = largest_in_block(S, size, room.reduce);
  if (!(largest <= Limits<T>::kMax)) {
    for (int index = thread; index < m * n; index += kBlockThreads) Q[index] = Limits<T>::kNaN;
    if (thread == 0) columns.info[blockIdx.x] = kNonFinite;
    return;
  }
  const double scale = power_of_two_scale(largest);
  for (int index = thread; index < N * N; index += kBlockThreads) {
    const int i = index / N, j = index % N;
    W[i * ld + j] = i < m && j < n ? static_cast<double>(S[i * n + j]) * scale : 0.0;
  }
  const bool full_rank = orthonormalize_in_block<T>(StackedPanel{M, N, ld}, m, n, room);
  for (int index = thread; index < m * n; index += kBlockThreads)
    Q[index] = static_cast<T>(W[index / n * ld + index % n]);
  if (thread == 0) columns.info[blockIdx.x] = full_rank ? kGood : kRankDeficient;
}

// By blocks of kChunk elements, so that a large matrix is not one block's work.
constexpr int64_t kChunk = 16384;
constexpr int kChunkThreads = 256;

constexpr int kNotFinite = -1;  // in the place of `deficient`

__host__ __device__ constexpr int64_t chunks_of(int64_t size) { return (size + kChunk - 1) / kChunk; }

template <class T>
__global__ void __launch_bounds__(kChunkThreads) measure_kernel(const T* x, int64_t size, T* largest, int32_t* counts) {
  KRONLA_SHARED_ARRAY(double, room, kReduceRoom);
  const int64_t chunks = chunks_of(size), entry = blockIdx.x / chunks, begin = blockIdx.x % chunks * kChunk;
  const T found = largest_in_block(x + entry * size + begin, size - begin < kChunk ? size - begin : kChunk, room);
  if (threadIdx.x == 0) largest[blockIdx.x] = found;
  if (blockIdx.x == 0 && static_cast<int>(threadIdx.x) < qr_counts<T>(1)) counts[threadIdx.x] = 0;
}

template <class T>
__global__ void __launch_bounds__(kChunkThreads)
    load_kernel(KRONLA_PARAMETER(Columns<T>) columns, KRONLA_PARAMETER(QrGroup) group, const T* largest) {
  KRONLA_SHARED_ARRAY(double, room, kReduceRoom);
  const int64_t n = columns.n, size = columns.m * n, chunks = chunks_of(size);
  const int64_t entry = blockIdx.x / chunks, begin = blockIdx.x % chunks * kChunk;
  const int64_t end = size < begin + kChunk ? size : begin + kChunk;
  const T found = largest_in_block(largest + entry * chunks, chunks, room);
  const bool finite = found <= Limits<T>::kMax;
  const double scale = finite ? power_of_two_scale(found) : 1.0;
  for (int64_t index = begin + threadIdx.x; index < end; index += kChunkThreads)
    group.W[(entry * columns.m + index / n) * group.ld + index % n] =
        static_cast<double>(columns.S[entry * size + index]) * scale;
  if (begin != 0 || threadIdx.x != 0) return;
  if (finite) {
    start_passes<T>(group, 0, static_cast<int>(entry));
  } else {
    group.state[entry].deficient = kNotFinite;
  }
  columns.info[entry] = finite ? kGood : kNonFinite;
}

template <class T>
__global__ void __launch_bounds__(kChunkThreads)
    store_kernel(KRONLA_PARAMETER(Columns<T>) columns, KRONLA_PARAMETER(QrGroup) group) {
  const int64_t n = columns.n, size = columns.m * n, chunks = chunks_of(size);
  const int64_t entry = blockIdx.x / chunks, begin = blockIdx.x % chunks * kChunk;
  const int64_t end = size < begin + kChunk ? size : begin + kChunk;
  const bool bad = group.state[entry].deficient == kNotFinite;
  for (int64_t index = begin + threadIdx.x; index < end; index += kChunkThreads)
    columns.Q[entry * size + index] =
        bad ? Limits<T>::kNaN : static_cast<T>(group.W[(entry * columns.m + index / n) * group.ld + index % n]);
  if (begin == 0 && threadIdx.x == 0 && !bad && group.state[entry].deficient != 0) columns.info[entry] = kRankDeficient;
}

__global__ void good_kernel(int32_t* info, int64_t batch) {
  const int64_t index = int64_t{blockIdx.x} * kChunkThreads + threadIdx.x;
  if (index < batch) info[index] = kGood;
}

}  // namespace

template <class T>
void orthonormalize(int64_t batch, int64_t m, int64_t n, const T* S, T* Q, int32_t* info, const Stream& stream) {
  if (batch == 0) return;
  const auto grid = [&](int64_t blocks) {
    if (blocks > 0x7fffffff) throw std::length_error("kronla: a batch has more than 2^31 blocks; pass it in parts.");
    return dim3(static_cast<unsigned>(blocks));
  };
  if (n == 0) {
    launch("orthonormalize", good_kernel, grid((batch + kChunkThreads - 1) / kChunkThreads), kChunkThreads, 0,
           stream.handle, info, batch);
    return;
  }
  const Columns<T> columns{S, Q, info, m, n};
  if (m <= kBlockMost) {
    launch("orthonormalize", columns_in_block_kernel<T>, grid(batch), kBlockThreads,
           columns_shared_bytes(static_cast<int>(m)), stream.handle, columns);
    return;
  }
  const QrGroup group = qr_group<T>(batch, m, n, 1, stream);
  const int64_t blocks = batch * chunks_of(m * n);
  T* largest = stream.take<T>(blocks);
  launch("orthonormalize: measure", measure_kernel<T>, grid(blocks), kChunkThreads, 0, stream.handle, S, m * n, largest,
         group.counts);
  launch("orthonormalize: load", load_kernel<T>, grid(blocks), kChunkThreads, 0, stream.handle, columns, group,
         largest);
  orthonormalize_passes<T>({group}, 0, stream);
  launch("orthonormalize: store", store_kernel<T>, grid(blocks), kChunkThreads, 0, stream.handle, columns, group);
}

template void orthonormalize<float>(int64_t, int64_t, int64_t, const float*, float*, int32_t*, const Stream&);
template void orthonormalize<double>(int64_t, int64_t, int64_t, const double*, double*, int32_t*, const Stream&);

}  // namespace kronla::cuda
