#include "kernels/cpu/eigh/tridiagonal_eigh.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/cpu/dense.h"
#include "kernels/cpu/eigh/deflation.h"
#include "kernels/cpu/eigh/rank_one_update.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/instruction_set.h"
#include "kernels/cpu/simd/kernels.h"

namespace kronla {
namespace {

// A diagonal block: d, e and Z from its first row and column on.
template <class T>
struct Block {
  int64_t n;
  double *d, *e;
  T* Z;
  int64_t ldz;
};

double largest_of(int64_t n, const double* d) {
  double largest = 0.0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(d[i]));
  return largest;
}

// Blocks of at most kLeaf rows, solved side by side.
template <class T>
class LeafSolver {
 public:
  bool add(const Block<T>& block) {
    blocks_[count_] = block;
    double scale = largest_of(block.n, block.d);
    scale = scales_[count_] = power_of_two_scale(std::max(scale, largest_of(block.n - 1, block.e)));
    for (int64_t i = 0; i < kLeaf; ++i) {
      leaves_.d[i][count_] = i < block.n ? block.d[i] * scale : 0.0;
      leaves_.e[i][count_] = i + 1 < block.n ? block.e[i] * scale : 0.0;
    }
    return ++count_ < kLeaves || finish();
  }

  // Solves those that wait.
  bool finish() {
    if (count_ == 0) return true;
    for (int64_t l = count_; l < kLeaves; ++l)
      for (int64_t i = 0; i < kLeaf; ++i) leaves_.d[i][l] = leaves_.e[i][l] = 0.0;
    if (!kernels::chosen<T>().ql(count_, leaves_)) return false;
    for (int64_t l = 0; l < count_; ++l) give_back(blocks_[l], l);
    count_ = 0;
    return true;
  }

 private:
  static constexpr int64_t kLeaf = kernels::kLeaf, kLeaves = kernels::kLeaves;

  void give_back(const Block<T>& block, int64_t l) {
    int64_t order[kLeaf];
    for (int64_t i = 0; i < block.n; ++i) {
      int64_t j = i;
      for (; j > 0 && leaves_.d[order[j - 1]][l] > leaves_.d[i][l]; --j) order[j] = order[j - 1];
      order[j] = i;
    }
    for (int64_t i = 0; i < block.n; ++i) {
      block.d[i] = leaves_.d[order[i]][l] / scales_[l];
      for (int64_t j = 0; j < block.n; ++j) block.Z[i * block.ldz + j] = static_cast<T>(leaves_.Z[order[i]][j][l]);
    }
  }

  kernels::Leaves leaves_;
  Block<T> blocks_[kLeaves];
  double scales_[kLeaves];
  int64_t count_ = 0;
};

// The rows that are kept, packed by support without their zeros: the first `half` columns of those with kFirst and
// kBoth, the others of those with kBoth and kSecond. column[c] is the rank of the row at place c.
template <class T>
struct Packed {
  int64_t* column;
  int64_t begin[4];  // of each support
  T *first, *second;
};

template <class T>
Packed<T> pack(const Block<T>& block, int64_t half, const Deflation& deflation, Worker& worker) {
  Packed<T> packed;
  const int64_t count = deflation.kept_count;
  packed.column = worker.take<int64_t>(count);
  int64_t place = 0;
  for (const Support support : {kFirst, kBoth, kSecond}) {
    packed.begin[support] = place;
    for (int64_t i = 0; i < count; ++i)
      if (deflation.support[deflation.kept[i]] == support) packed.column[place++] = i;
  }
  packed.begin[3] = place;
  const int64_t rest = block.n - half, first = packed.begin[kSecond], second = count - packed.begin[kBoth];
  packed.first = worker.take<T>(first * half);
  packed.second = worker.take<T>(second * rest);
  const auto row = [&](int64_t c) { return block.Z + deflation.kept[packed.column[c]] * block.ldz; };
  for (int64_t c = 0; c < first; ++c) std::memcpy(packed.first + c * half, row(c), half * sizeof(T));
  for (int64_t c = 0; c < second; ++c)
    std::memcpy(packed.second + c * rest, row(c + packed.begin[kBoth]) + half, rest * sizeof(T));
  return packed;
}

// Whole rows of those that are deflated.
template <class T>
T* copy_deflated(const Block<T>& block, int64_t half, const Deflation& deflation, Worker& worker) {
  T* rows = worker.take<T>(deflation.deflated_count * block.n);
  for (int64_t i = 0; i < deflation.deflated_count; ++i) {
    const int64_t row = deflation.deflated[i];
    const Support support = deflation.support[row];
    const T* source = block.Z + row * block.ldz;
    const int64_t begin = support == kSecond ? half : 0, end = support == kFirst ? half : block.n;
    T* target = rows + i * block.n;
    std::fill(target, target + begin, T(0));
    std::copy(source + begin, source + end, target + begin);
    std::fill(target + end, target + block.n, T(0));
  }
  return rows;
}

// d and the rows of Z ← both lists in one ascending order. The rows of the first are in Z from the top on: each only
// moves down, so the last goes first.
template <class T>
void merge_sorted(const Block<T>& block, int64_t kept, const double* kept_d, int64_t deflated, const double* deflated_d,
                  const T* deflated_rows) {
  int64_t i = kept - 1, j = deflated - 1;
  for (int64_t place = block.n - 1; j >= 0; --place) {
    T* target = block.Z + place * block.ldz;
    if (i >= 0 && kept_d[i] > deflated_d[j]) {
      block.d[place] = kept_d[i];
      std::memcpy(target, block.Z + i-- * block.ldz, block.n * sizeof(T));
    } else {
      block.d[place] = deflated_d[j];
      std::memcpy(target, deflated_rows + j-- * block.n, block.n * sizeof(T));
    }
  }
  std::copy(kept_d, kept_d + i + 1, block.d);
}

// Joins two solved halves that were torn apart at `link`: T = diag(T₁, T₂) + |link| v vᵀ, v = (…, 0, 1, ±1, 0, …).
template <class T>
bool join(const Block<T>& block, int64_t half, double link, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t n = block.n;
  const double size = std::max(largest_of(n, block.d), 2.0 * std::abs(link)), scale = power_of_two_scale(size);
  double *d = worker.take<double>(n), *z = worker.take<double>(n);
  const T *bottom = block.Z + half - 1, *top = block.Z + half;
  const double share = std::sqrt(0.5), signed_share = std::copysign(share, link);
  for (int64_t i = 0; i < n; ++i) {
    d[i] = block.d[i] * scale;
    z[i] = i < half ? share * static_cast<double>(bottom[i * block.ldz])
                    : signed_share * static_cast<double>(top[i * block.ldz]);
  }
  int64_t* order = worker.take<int64_t>(n);
  for (int64_t i = 0, a = 0, b = half; i < n; ++i) order[i] = b == n || (a < half && d[a] <= d[b]) ? a++ : b++;

  Deflation deflation{worker.take<int64_t>(n), worker.take<int64_t>(n), worker.take<Support>(n)};
  const double rho = 2.0 * std::abs(link) * scale,
               tolerance = 2.0 * static_cast<double>(std::numeric_limits<T>::epsilon()) * size * scale;
  deflate<T>({n, half, d, z, rho, order, block.Z, block.ldz}, tolerance, deflation);
  const int64_t kept = deflation.kept_count, deflated = deflation.deflated_count;

  const T* deflated_rows = copy_deflated(block, half, deflation, worker);
  double *kept_d = worker.take<double>(kept), *deflated_d = worker.take<double>(deflated);
  if (kept > 0) {
    const Packed<T> packed = pack(block, half, deflation, worker);
    double* kept_z = worker.take<double>(kept);
    for (int64_t i = 0; i < kept; ++i) {
      kept_d[i] = d[deflation.kept[i]];
      kept_z[i] = z[deflation.kept[i]];
    }
    const int64_t lds = leading_dimension(kept);
    T* S = worker.take<T>(kept * lds);
    double* eigenvalues = worker.take<double>(kept);
    if (!rank_one_eigh(kept, kept_d, kept_z, rho, packed.column, eigenvalues, S, lds, worker)) return false;
    const int64_t first = packed.begin[kSecond], both = packed.begin[kBoth];
    gemm(worker.team, Op::N, Op::N, kept, half, first, T(1), S, lds, packed.first, half, T(0), block.Z, block.ldz);
    gemm(worker.team, Op::N, Op::N, kept, n - half, kept - both, T(1), S + both, lds, packed.second, n - half, T(0),
         block.Z + half, block.ldz);
    for (int64_t i = 0; i < kept; ++i) kept_d[i] = eigenvalues[i] / scale;
  }
  for (int64_t i = 0; i < deflated; ++i) deflated_d[i] = d[deflation.deflated[i]] / scale;
  merge_sorted(block, kept, kept_d, deflated, deflated_d, deflated_rows);
  return true;
}

template <class T>
int64_t half_of(const Block<T>& block) {
  return (block.n / 2 + 7) / 8 * 8;  // whole vectors
}

// The two halves, of which the second begins at row `half`.
template <class T>
Block<T> upper(const Block<T>& block, int64_t half) {
  return {half, block.d, block.e, block.Z, block.ldz};
}
template <class T>
Block<T> lower(const Block<T>& block, int64_t half) {
  return {block.n - half, block.d + half, block.e + half, block.Z + half * (block.ldz + 1), block.ldz};
}

// Tears the block apart down to leaves, and solves these.
template <class T>
bool tear(const Block<T>& block, LeafSolver<T>& leaves) {
  if (block.n <= kernels::kLeaf) return leaves.add(block);
  const int64_t half = half_of(block);
  const double link = std::abs(block.e[half - 1]);
  block.d[half - 1] -= link;
  block.d[half] -= link;
  return tear(upper(block, half), leaves) && tear(lower(block, half), leaves);
}

template <class T>
bool join_all(const Block<T>& block, Worker& worker) {
  if (block.n <= kernels::kLeaf) return true;
  const int64_t half = half_of(block);
  return join_all(upper(block, half), worker) && join_all(lower(block, half), worker) &&
         join(block, half, block.e[half - 1], worker);
}

}  // namespace

template <class T>
bool tridiagonal_eigh(int64_t n, double* d, double* e, T* Z, Worker& worker) {
  if (n == 0) return true;
  const Block<T> block{n, d, e, Z, n};
  LeafSolver<T> leaves;
  return tear(block, leaves) && leaves.finish() && join_all(block, worker);
}

template bool tridiagonal_eigh<float>(int64_t, double*, double*, float*, Worker&);
template bool tridiagonal_eigh<double>(int64_t, double*, double*, double*, Worker&);

}  // namespace kronla
