// The kernels of kernels.h, written once for all instruction sets. A source file defines, in its anonymous namespace,
//
//   Simd<T>   a vector: lanes, load, store, broadcast, multiply, fused (a b + c), +, sum (of its elements), keep (makes the
//             compiler load it once); load_part and store_part of its first `count` elements, the others 0 and left
//             alone; of double also root, and any of a comparison
//   kRows, kVectors   the tile of C that the registers hold: kRows rows of kVectors vectors
//   (and, with products of pairs of bfloat16: fused_pairs; pair, of two vectors' elements; pairs, of neighbours in x, y)
//   kMove     bytes of a vector in which matrices are moved
//   kNearA, kNearB   bytes between two steps over k, beyond which op(A) = Aᵀ and op(B) = B are packed (measured)
//
// and includes this file there. Nothing here may call an inline function of another header: the linker keeps one copy of
// such a function, which may then be the one that was compiled for a processor that is not there.

#include "kernels/cpu/simd/move_body.h"
#include "kernels/cpu/simd/product_body.h"
#include "kernels/cpu/simd/reduce_body.h"
#include "kernels/cpu/simd/reflect_body.h"
#include "kernels/cpu/simd/rotations_body.h"
#include "kernels/cpu/simd/secular_body.h"
#include "kernels/cpu/simd/triangle_body.h"
#include "kernels/cpu/simd/tridiagonal_body.h"
// Of these:
#include "kernels/cpu/simd/column_body.h"
#include "kernels/cpu/simd/resolvent_body.h"
#include "kernels/cpu/simd/side_by_side_body.h"

template <class T, bool Pairs = false>
constexpr Kernels<T> kKernels = {block<T, false>,
                                 Pairs ? block<T, Pairs> : nullptr,
                                 Pairs ? pair_rows<T, Pairs> : nullptr,
                                 Pairs ? pair_neighbours<T, Pairs> : nullptr,
                                 Pairs ? interleave<T> : nullptr,
                                 mirror<T, true>,
                                 mirror<T, false>,
                                 transposed<T>,
                                 solve<T>,
                                 largest<T>,
                                 squares<T>,
                                 block_rows<T>,
                                 cholesky<T>,
                                 lu_of_signed,
                                 gather_columns<T>,
                                 column_products<T>,
                                 residual<T>,
                                 probe<T>,
                                 scale_columns<T, double>,
                                 scale_columns<T, T>,
                                 scale_columns<double, T>,
                                 rotation<T>,
                                 spread_lower<T>,
                                 mirror_squares<T>,
                                 tridiagonal_panel<T>,
                                 tridiagonal<T>,
                                 reflect_rows<T>,
                                 secular_roots,
                                 secular_weights,
                                 secular_vectors<T>,
                                 ql,
                                 least_pivots,
                                 resolvents,
                                 resolvent_columns<T>,
                                 orthonormal_side_by_side};
