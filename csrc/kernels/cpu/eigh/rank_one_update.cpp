#include "kernels/cpu/eigh/rank_one_update.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/simd/instruction_set.h"
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/threads.h"

namespace kronla {

using kernels::Secular;

template <class T>
bool rank_one_eigh(int64_t k, const double* d, const double* z, double rho, const int64_t* order, double* eigenvalues,
                   T* S, int64_t lds, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t padded = Secular::padded(k);
  double *poles = worker.take<double>(padded), *squares = worker.take<double>(padded),
         *origin = worker.take<double>(padded), *offset = worker.take<double>(padded),
         *weights = worker.take<double>(padded);
  double norm = 0.0;
  for (int64_t j = 0; j < k; ++j) {
    poles[j] = d[j];
    squares[j] = z[j] * z[j];
    norm += squares[j];
  }
  for (int64_t j = k; j < padded; ++j) {
    poles[j] = poles[j - 1] + 2.0 * rho * norm;
    squares[j] = 0.0;
  }
  const auto& kernels = kernels::chosen<T>();
  const Secular equation{k, 1.0 / rho, poles, squares, origin, offset};
  constexpr int64_t chunk = 2 * Secular::kStep;
  const int64_t chunks = (k + chunk - 1) / chunk;
  bool* found = worker.take<bool>(chunks);
  share(worker.team, chunks,
        [&](int64_t i) { found[i] = kernels.secular_roots(equation, i * chunk, std::min(k, (i + 1) * chunk)); });
  if (!std::all_of(found, found + chunks, [](bool yes) { return yes; })) return false;
  for (int64_t i = 0; i < k; ++i) eigenvalues[i] = origin[i] + offset[i];
  share(worker.team, chunks,
        [&](int64_t i) { kernels.secular_weights(equation, i * chunk, std::min(k, (i + 1) * chunk), weights); });

  // In the order of the columns of S; origin and offset belong to its rows.
  double *column_d = worker.take<double>(padded), *column_z = worker.take<double>(padded),
         *rows = worker.take<double>(chunks * lds);
  for (int64_t c = 0; c < k; ++c) {
    column_d[c] = d[order[c]];
    column_z[c] = std::copysign(weights[order[c]], z[order[c]]);
  }
  for (int64_t c = k; c < padded; ++c) {
    column_d[c] = poles[k + 1];
    column_z[c] = 0.0;
  }
  share(worker.team, chunks, [&](int64_t i) {
    kernels.secular_vectors({k, column_d, column_z, origin, offset, S, lds, rows + i * lds}, i * chunk,
                            std::min(k, (i + 1) * chunk));
  });
  return true;
}

template bool rank_one_eigh<float>(int64_t, const double*, const double*, double, const int64_t*, double*, float*,
                                   int64_t, Worker&);
template bool rank_one_eigh<double>(int64_t, const double*, const double*, double, const int64_t*, double*, double*,
                                    int64_t, Worker&);

}  // namespace kronla
