// Which eigenvectors of two halves of a tridiagonal matrix change when the halves are joined.
#pragma once

#include <cstdint>

namespace kronla {

// Diag(d) + ρ z zᵀ in the basis of the rows of Z[n,n] (ldz apart), of which the first `half` are nonzero in the first
// `half` columns alone and the others in the other columns; the zeros are not stored. order: d[order[·]] ascends.
template <class T>
struct RankOneUpdate {
  int64_t n, half;
  double* d;
  double* z;
  double rho;
  const int64_t* order;
  T* Z;
  int64_t ldz;
};

// Columns where a row of Z is nonzero. What is multiplied is sorted by it, and the zeros are left out.
enum Support : char { kFirst, kBoth, kSecond };

// Rows by rank: kept[i] in ascending d, deflated[i] too. support[row].
struct Deflation {
  int64_t* kept;
  int64_t* deflated;
  Support* support;
  int64_t kept_count = 0, deflated_count = 0;
};

// Finds the rows that are eigenvectors already, within `tolerance`: those where ρ z is small, and one of two whose d are
// close, after a rotation in Z that makes its z zero. d, z and Z change with the rotations.
template <class T>
void deflate(const RankOneUpdate<T>& update, double tolerance, Deflation& deflation);

}  // namespace kronla
