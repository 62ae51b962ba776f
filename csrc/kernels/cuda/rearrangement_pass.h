// One pass over H as rows (i,i') and columns (j,j') of its rearrangement, for the products of family `rearrangement`.
// H is read once, coalesced; partial sums go to scratch and are added in order by sum_parts. No atomics: the tiles follow
// from m and n alone.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace kronla::cuda {

// How H is cut: `tile_rows` rows (i,i') by 4 · `lanes` columns (j,j') to a block.
struct PassTiles {
  int m, n;
  int rows, columns;  // m², or m(m+1)/2 where only the lower blocks are read; n²
  int lanes;          // threads side by side on a row, a power of two; the others take other rows
  int tile_rows, row_tiles, column_tiles;
};

PassTiles pass_tiles(int64_t m, int64_t n, bool lower);

enum class PassKind {
  Forward,   // Ĥ(R)
  Backward,  // Ĥᵀ(L)
  Both,      // both of a symmetric H, from its lower blocks (i' ≤ i)
  Evaluate,  // Ĥ(R) and ‖H‖_F² of a symmetric H, likewise
};

template <class T>
struct Pass {
  PassTiles tiles;
  const T* H;            // [batch, mn, mn]
  const T* L;            // [batch, m, m]
  const T* R;            // [batch, n, n]
  const int32_t* info;   // [batch], Both and Evaluate: matrices that are not good are left out
  const double* scale;   // [batch], Both and Evaluate: the power of two multiplied onto H
  double* L_parts;       // [batch, column_tiles, rows]: Ĥ(R), but not in Backward
  T* R_parts;            // [batch, row_tiles, columns]: Backward: Ĥᵀ(L); Both: Σ_{i' ≤ i}, twice where i' < i
  double* square_parts;  // [batch, column_tiles · row_tiles], Evaluate
};

template <class T>
void run_pass(PassKind kind, int64_t batch, const Pass<T>& pass, const Stream& stream);

// out[batch, count] ← Σ_tile parts[batch, tile, count], in float64, in an order fixed by the number of tiles.
template <class Part, class Out>
void sum_parts(int64_t batch, int64_t tiles, int64_t count, const Part* parts, Out* out, const Stream& stream);

}  // namespace kronla::cuda
