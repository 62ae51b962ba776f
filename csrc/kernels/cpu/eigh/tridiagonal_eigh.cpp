#include "kernels/cpu/eigh/tridiagonal_eigh.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>

#include "kernels/cpu/dense.h"
#include "kernels/cpu/eigh/deflation.h"
#include "kernels/cpu/eigh/rank_one_update.h"
#include "kernels/cpu/gemm/block.h"
#include "kernels/cpu/gemm/gemm.h"

namespace kronla {
namespace {

// Eigenvalues and, in float64 or not at all (null), the first and the last element of each eigenvector.
struct Values {
  double *d, *first, *last;

  static Values take(int64_t count, bool with_ends, Worker& worker) {
    const auto take = [&](bool wanted) { return wanted ? worker.take<double>(count) : nullptr; };
    return {take(true), take(with_ends), take(with_ends)};
  }
  bool has_ends() const { return first != nullptr; }
  Values from(int64_t i) const { return has_ends() ? Values{d + i, first + i, last + i} : Values{d + i, {}, {}}; }
  void set(int64_t i, const Values& other, int64_t j, double factor = 1.0) const {
    d[i] = other.d[j] * factor;
    if (!has_ends()) return;
    first[i] = other.first[j];
    last[i] = other.last[j];
  }
};

// A diagonal block: its values (the diagonal before it is solved), e and Z from its first row and column on.
template <class T>
struct Block {
  int64_t n;
  Values values;
  double* e;
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
    double scale = largest_of(block.n, block.values.d);
    scale = scales_[count_] = power_of_two_scale(std::max(scale, largest_of(block.n - 1, block.e)));
    for (int64_t i = 0; i < kLeaf; ++i) {
      leaves_.d[i][count_] = i < block.n ? block.values.d[i] * scale : 0.0;
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
      block.values.d[i] = leaves_.d[order[i]][l] / scales_[l];
      if (block.values.has_ends()) {
        block.values.first[i] = leaves_.Z[order[i]][0][l];
        block.values.last[i] = leaves_.Z[order[i]][block.n - 1][l];
      }
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

// The block's values and rows of Z ← both lists in one ascending order. The rows of the first are in Z from the top on:
// each only moves down, so the last goes first.
template <class T>
void merge_sorted(const Block<T>& block, int64_t kept, const Values& of_kept, int64_t deflated,
                  const Values& of_deflated, const T* deflated_rows) {
  int64_t i = kept - 1, j = deflated - 1;
  for (int64_t place = block.n - 1; place >= 0; --place) {
    const bool is_kept = j < 0 || (i >= 0 && of_kept.d[i] > of_deflated.d[j]);
    const Values& values = is_kept ? of_kept : of_deflated;
    const int64_t from = is_kept ? i-- : j--;
    block.values.set(place, values, from);
    const T* row = is_kept ? block.Z + from * block.ldz : deflated_rows + from * block.n;
    T* target = block.Z + place * block.ldz;
    if (row != target) std::memcpy(target, row, block.n * sizeof(T));
  }
}

// z[n] ← the row of Z above the seam and the one below, of norm 1, as T = diag(T₁, T₂) + 2 |link| z zᵀ has it.
template <class T>
void seam(const Block<T>& block, int64_t half, double link, double* z) {
  const double share = std::sqrt(0.5), signed_share = std::copysign(share, link);
  const Values& values = block.values;
  for (int64_t i = 0; i < block.n; ++i) {
    const bool upper = i < half;
    double end = static_cast<double>(block.Z[(upper ? half - 1 : half) + i * block.ldz]);
    if (values.has_ends()) end = std::exchange((upper ? values.last : values.first)[i], 0.0);  // 0 in the whole block
    z[i] = (upper ? share : signed_share) * end;
  }
}

// Joins two solved halves that were torn apart at `link`.
template <class T>
bool join(const Block<T>& block, int64_t half, double link, double epsilon, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t n = block.n;
  const Values& values = block.values;
  const double size = std::max(largest_of(n, values.d), 2.0 * std::abs(link)), scale = power_of_two_scale(size);
  double *d = values.d, *z = worker.take<double>(n);
  for (int64_t i = 0; i < n; ++i) d[i] *= scale;
  seam(block, half, link, z);
  int64_t* order = worker.take<int64_t>(n);
  for (int64_t i = 0, a = 0, b = half; i < n; ++i) order[i] = b == n || (a < half && d[a] <= d[b]) ? a++ : b++;

  Deflation deflation{worker.take<int64_t>(n), worker.take<int64_t>(n), worker.take<Support>(n)};
  const double rho = 2.0 * std::abs(link) * scale, tolerance = 2.0 * epsilon * size * scale;
  deflate<T>({n, half, d, z, rho, order, block.Z, block.ldz, values.first, values.last}, tolerance, deflation);
  const int64_t kept = deflation.kept_count, deflated = deflation.deflated_count;

  const T* deflated_rows = copy_deflated(block, half, deflation, worker);
  const Values of_kept = Values::take(kept, values.has_ends(), worker),
               of_deflated = Values::take(deflated, values.has_ends(), worker);
  for (int64_t i = 0; i < deflated; ++i) of_deflated.set(i, values, deflation.deflated[i], 1.0 / scale);
  if (kept > 0) {
    const Packed<T> packed = pack(block, half, deflation, worker);
    const Values old = Values::take(kept, values.has_ends(), worker);
    double* kept_z = worker.take<double>(kept);
    for (int64_t i = 0; i < kept; ++i) {
      old.set(i, values, deflation.kept[i]);
      kept_z[i] = z[deflation.kept[i]];
    }
    const int64_t lds = leading_dimension(kept);
    T* S = worker.take<T>(kept * lds);
    if (!rank_one_eigh(kept, old.d, kept_z, rho, packed.column, of_kept.d, S, lds, {old.first, old.last},
                       {of_kept.first, of_kept.last}, worker))
      return false;
    const int64_t first = packed.begin[kSecond], both = packed.begin[kBoth];
    gemm(worker.team, Op::N, Op::N, kept, half, first, T(1), S, lds, packed.first, half, T(0), block.Z, block.ldz);
    gemm(worker.team, Op::N, Op::N, kept, n - half, kept - both, T(1), S + both, lds, packed.second, n - half, T(0),
         block.Z + half, block.ldz);
    for (int64_t i = 0; i < kept; ++i) of_kept.d[i] /= scale;
  }
  merge_sorted(block, kept, of_kept, deflated, of_deflated, deflated_rows);
  return true;
}

template <class T>
int64_t half_of(const Block<T>& block) {
  return (block.n / 2 + 7) / 8 * 8;  // whole vectors
}

// The two halves, of which the second begins at row `half`.
template <class T>
Block<T> upper(const Block<T>& block, int64_t half) {
  return {half, block.values, block.e, block.Z, block.ldz};
}
template <class T>
Block<T> lower(const Block<T>& block, int64_t half) {
  return {block.n - half, block.values.from(half), block.e + half, block.Z + half * (block.ldz + 1), block.ldz};
}

// Tears the block apart down to leaves, and solves these.
template <class T>
bool tear(const Block<T>& block, LeafSolver<T>& leaves) {
  if (block.n <= kernels::kLeaf) return leaves.add(block);
  const int64_t half = half_of(block);
  const double link = std::abs(block.e[half - 1]);
  block.values.d[half - 1] -= link;
  block.values.d[half] -= link;
  return tear(upper(block, half), leaves) && tear(lower(block, half), leaves);
}

template <class T>
bool join_all(const Block<T>& block, double epsilon, Worker& worker) {
  if (block.n <= kernels::kLeaf) return true;
  const int64_t half = half_of(block);
  return join_all(upper(block, half), epsilon, worker) && join_all(lower(block, half), epsilon, worker) &&
         join(block, half, block.e[half - 1], epsilon, worker);
}

}  // namespace

template <class T>
bool tridiagonal_eigh(int64_t n, double* d, double* e, T* Z, Precision precision, Worker& worker) {
  if (n == 0) return true;
  const Worker::Scope scope(worker);
  const bool float64 = precision == Precision::Float64;
  Values values = Values::take(n, float64 && !std::is_same_v<T, double>, worker);
  values.d = d;
  const Block<T> block{n, values, e, Z, n};
  const double epsilon = float64 ? std::numeric_limits<double>::epsilon() : std::numeric_limits<T>::epsilon();
  LeafSolver<T> leaves;
  return tear(block, leaves) && leaves.finish() && join_all(block, epsilon, worker);
}

template bool tridiagonal_eigh<float>(int64_t, double*, double*, float*, Precision, Worker&);
template bool tridiagonal_eigh<double>(int64_t, double*, double*, double*, Precision, Worker&);

}  // namespace kronla
