#include "kernels/cuda/products.h"

#include <algorithm>

#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/device/tile_product.cuh"

namespace kronla::cuda {
namespace {

struct Side {
  const void* data;
  int64_t step;
  ScalarType type;
  Copy copy;
  Layout layout;
};

struct ProductTask {
  Side A, B;
  void* C;
  const double* scale;
  int batch, rows, columns, depth;
  int inner;  // columns of a slice
  int first_tile;
};

struct NoSettings {};

template <size_t kBytes>
using ProductList = TaskList<ProductTask, NoSettings, kBytes>;

// Results that need no more than one warp's tile one way: several tiles share a block.
__host__ __device__ constexpr bool is_small(int rows, int columns) {
  return rows <= WarpTile::kSide || columns <= WarpTile::kSide;
}
__host__ __device__ constexpr int tiles_along(int size, int tile) { return (size + tile - 1) / tile; }

__device__ __forceinline__ Operand operand_of(const Side& side, int rows, int depth, int row_inner, int entry) {
  Operand operand;
  operand.data = static_cast<const char*>(side.data) + entry * side.step * bytes_of(side.type);
  operand.ld = side.layout == Layout::RowMajor ? depth : row_inner;
  operand.slab = side.layout == Layout::RowMajor ? 0 : depth * row_inner;
  operand.rows = rows;
  operand.depth = operand.inner = depth;
  operand.copy = side.copy;
  operand.type = side.type;
  operand.row_inner = row_inner;
  return operand;
}

template <class Math, class Tile>
__device__ __forceinline__ void product_tile(const ProductTask& task, unsigned char* shared) {
  using Sum = typename Math::Sum;
  constexpr bool kWarp = Tile::kMembers == 32;
  const int block = static_cast<int>(blockIdx.x) - task.first_tile, warp = static_cast<int>(threadIdx.x) / 32;
  const int tile = kWarp ? block * kWarpTiles + warp : block;
  const int across = tiles_along(task.columns, Tile::kSide), tiles = tiles_along(task.rows, Tile::kSide) * across;
  const int entry = tile / tiles, i0 = tile % tiles / across * Tile::kSide, j0 = tile % tiles % across * Tile::kSide;
  if (entry >= task.batch) return;  // a warp without a tile, which no other one waits for

  Sum total[2][4][4] = {};
  const Operand A = operand_of(task.A, task.rows, task.depth, task.rows, entry);
  const Operand B = operand_of(task.B, task.columns, task.depth, task.inner, entry);
  if (kWarp) shared += warp * tile_shared_bytes<Math, Tile>();
  // 16-bit gradients are on the left as rows, or on the right as columns.
  constexpr bool kGradientLeft = sizeof(typename Math::Left) == 2, kGradientRight = sizeof(typename Math::Right) == 2;
  if (task.A.layout == Layout::ColumnMajor) {
    if constexpr (!kGradientLeft)
      tile_product<Math, Layout::ColumnMajor, Layout::ColumnMajor, Tile>(A, i0, B, j0, false, false, shared, total);
  } else if (task.B.layout == Layout::ColumnMajor) {
    tile_product<Math, Layout::RowMajor, Layout::ColumnMajor, Tile>(A, i0, B, j0, false, false, shared, total);
  } else {
    if constexpr (!kGradientRight)
      tile_product<Math, Layout::RowMajor, Layout::RowMajor, Tile>(A, i0, B, j0, false, false, shared, total);
  }

  Sum* C = static_cast<Sum*>(task.C) + int64_t{entry} * task.rows * task.columns;
  const Sum scale = task.scale != nullptr ? static_cast<Sum>(task.scale[entry]) : Sum(1);
  for_each_in_tile<Tile>(total, [&](int r, int c, Sum sum) {
    const int i = i0 + r, j = j0 + c;
    if (i >= task.rows || j >= task.columns) return;
    const int slice = j / task.inner;
    C[(int64_t{slice} * task.rows + i) * task.inner + (j - slice * task.inner)] = scale * sum;
  });
}

template <class Math, size_t kBytes>
__global__ void __launch_bounds__(kThreads, Math::kBlocks) product_kernel(KRONLA_PARAMETER(ProductList<kBytes>) list) {
  KRONLA_SHARED(unsigned char, shared);
  const ProductTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  if (is_small(task.rows, task.columns)) {
    product_tile<Math, WarpTile>(task, shared);
  } else {
    product_tile<Math, BlockTile>(task, shared);
  }
}

template <class Math>
void launch_products(const std::vector<ProductTask>& tasks, const Stream& stream) {
  const auto blocks_of = [](const ProductTask& task) {
    const bool small = is_small(task.rows, task.columns);
    const int side = small ? WarpTile::kSide : kTile;
    const int64_t tiles = int64_t{task.batch} * tiles_along(task.rows, side) * tiles_along(task.columns, side);
    return small ? (tiles + kWarpTiles - 1) / kWarpTiles : tiles;
  };
  constexpr size_t kShared = std::max(tile_shared_bytes<Math>(), kWarpTiles * tile_shared_bytes<Math, WarpTile>());
  for_each_sized_launch(tasks, NoSettings{}, blocks_of, [&](const auto& list, unsigned blocks) {
    constexpr size_t kBytes = std::decay_t<decltype(list)>::kParameterSize;
    launch("products", product_kernel<Math, kBytes>, dim3(blocks), kThreads, kShared, stream.handle, list);
  });
}

bool has_16_bits(const ProductInput& input) { return element_size(input.type) == 2; }

// `raw`: 16-bit elements go to shared memory as they are.
template <class T>
Side side_of(const ProductInput& input, int64_t rows, int64_t depth, int64_t row_inner, bool raw) {
  const int64_t ld = input.transposed ? row_inner : depth;
  const int64_t slab = input.transposed && row_inner < rows ? depth * row_inner : 0;
  const Copy copy = raw && has_16_bits(input)
                        ? copy_for<uint16_t>(input.data, ld, slab, input.step, true)
                        : copy_for<T>(input.data, ld, slab, input.step, input.type == scalar_type_of<T>());
  return {input.data, input.step, input.type, copy, input.transposed ? Layout::ColumnMajor : Layout::RowMajor};
}

}  // namespace

template <class T>
void multiply(const std::vector<Product<T>>& products, const Stream& stream, Float32Method method) {
  std::vector<ProductTask> plain, left, right;  // by the side that has 16 bits
  for (const Product<T>& product : products) {
    if (product.A.transposed && !product.B.transposed)
      throw std::invalid_argument("kronla: B must be transposed where A is.");
    const bool raw = std::is_same_v<T, float> && method == Float32Method::Tf32x3;
    const bool raw_A = raw && has_16_bits(product.A) && !product.A.transposed && !has_16_bits(product.B);
    const bool raw_B = raw && has_16_bits(product.B) && product.B.transposed && !has_16_bits(product.A);
    const int64_t inner = product.inner > 0 ? product.inner : product.columns;
    ProductTask task{};
    task.A = side_of<T>(product.A, product.rows, product.depth, product.rows, raw_A);
    task.B = side_of<T>(product.B, product.columns, product.depth, inner, raw_B);
    task.C = product.C;
    task.scale = product.scale;
    task.batch = checked_int(product.batch);
    task.rows = checked_int(product.rows);
    task.columns = checked_int(product.columns);
    task.depth = checked_int(product.depth);
    task.inner = checked_int(inner);
    checked_int(product.rows * product.depth);
    checked_int(product.columns * product.depth);
    (raw_A ? left : raw_B ? right : plain).push_back(task);
  }
  for (std::vector<ProductTask>* tasks : {&plain, &left, &right}) {
    // The long sums first, so that none of them begins last.
    std::stable_sort(tasks->begin(), tasks->end(),
                     [](const ProductTask& a, const ProductTask& b) { return a.depth > b.depth; });
  }
  if constexpr (std::is_same_v<T, double>) {
    launch_products<Fp64>(plain, stream);
  } else {
    if (method == Float32Method::Tf32x3) {
      launch_products<Tf32x3>(plain, stream);
    } else {
      launch_products<Fp32>(plain, stream);
    }
    launch_products<Tf32<uint16_t, float>>(left, stream);
    launch_products<Tf32<float, uint16_t>>(right, stream);
  }
}

template void multiply<float>(const std::vector<Product<float>>&, const Stream&, Float32Method);
template void multiply<double>(const std::vector<Product<double>>&, const Stream&, Float32Method);

}  // namespace kronla::cuda
