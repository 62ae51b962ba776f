#include "kernels/cuda/products.h"

#include <algorithm>

#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/device/tile_product.cuh"

namespace kronla::cuda {
namespace {

struct Side {
  const void* data;
  int64_t step;
  int each;
  ScalarType type;
  Copy copy;
  Layout layout;
};

struct ProductTask {
  Side A, B;
  void* C;
  const double* scale;
  int scale_each;
  int batch, rows, columns, depth;
  int first_tile;
};

struct NoSettings {};

template <size_t kBytes>
using ProductList = TaskList<ProductTask, NoSettings, kBytes>;

int64_t tiles_along(int64_t size) { return (size + kTile - 1) / kTile; }

__device__ __forceinline__ Operand operand_of(const Side& side, int rows, int depth, int entry) {
  Operand operand;
  operand.data = static_cast<const char*>(side.data) + entry / side.each * side.step * bytes_of(side.type);
  operand.ld = side.layout == Layout::RowMajor ? depth : rows;
  operand.slab = 0;
  operand.rows = rows;
  operand.depth = operand.inner = depth;
  operand.copy = side.copy;
  operand.type = side.type;
  return operand;
}

template <class Math, size_t kBytes>
__global__ void __launch_bounds__(kThreads, Math::kBlocks) product_kernel(KRONLA_PARAMETER(ProductList<kBytes>) list) {
  using Sum = typename Math::Sum;
  KRONLA_SHARED(unsigned char, shared);
  const int tile = static_cast<int>(blockIdx.x);
  const ProductTask& task = list.tasks[task_of_tile(list, tile)];
  const int across = (task.columns + kTile - 1) / kTile, tiles = (task.rows + kTile - 1) / kTile * across;
  const int entry = (tile - task.first_tile) / tiles, index = (tile - task.first_tile) % tiles;
  const int i0 = index / across * kTile, j0 = index % across * kTile;

  Sum total[2][4][4] = {};
  const Operand A = operand_of(task.A, task.rows, task.depth, entry);
  const Operand B = operand_of(task.B, task.columns, task.depth, entry);
  if (task.A.layout == Layout::ColumnMajor) {
    tile_product<Math, Layout::ColumnMajor, Layout::ColumnMajor>(A, i0, B, j0, false, false, shared, total);
  } else if (task.B.layout == Layout::ColumnMajor) {
    tile_product<Math, Layout::RowMajor, Layout::ColumnMajor>(A, i0, B, j0, false, false, shared, total);
  } else {
    tile_product<Math, Layout::RowMajor, Layout::RowMajor>(A, i0, B, j0, false, false, shared, total);
  }

  Sum* C = static_cast<Sum*>(task.C) + int64_t{entry} * task.rows * task.columns;
  const Sum scale = task.scale != nullptr ? static_cast<Sum>(task.scale[entry / task.scale_each]) : Sum(1);
  for_each_in_tile(total, [&](int r, int c, Sum sum) {
    const int i = i0 + r, j = j0 + c;
    if (i < task.rows && j < task.columns) C[int64_t{i} * task.columns + j] = scale * sum;
  });
}

template <class Math>
void launch_products(const std::vector<ProductTask>& tasks, const Stream& stream) {
  const auto tiles_of = [](const ProductTask& task) {
    return task.batch * tiles_along(task.rows) * tiles_along(task.columns);
  };
  for_each_sized_launch(tasks, NoSettings{}, tiles_of, [&](const auto& list, unsigned tiles) {
    constexpr size_t kBytes = std::decay_t<decltype(list)>::kParameterSize;
    launch("products", product_kernel<Math, kBytes>, dim3(tiles), kThreads, tile_shared_bytes<Math>(), stream.handle,
           list);
  });
}

template <class T>
Side side_of(const ProductInput& input, int64_t rows, int64_t depth) {
  const int64_t ld = input.transposed ? rows : depth;
  return {input.data,
          input.step,
          checked_int(input.each),
          input.type,
          copy_for<T>(input.data, ld, 0, input.step, input.type == scalar_type_of<T>()),
          input.transposed ? Layout::ColumnMajor : Layout::RowMajor};
}

}  // namespace

template <class T>
void multiply(const std::vector<Product<T>>& products, const Stream& stream, Float32Method method) {
  std::vector<ProductTask> tasks;
  for (const Product<T>& product : products) {
    if (product.A.transposed && !product.B.transposed)
      throw std::invalid_argument("kronla: B must be transposed where A is.");
    ProductTask task{};
    task.A = side_of<T>(product.A, product.rows, product.depth);
    task.B = side_of<T>(product.B, product.columns, product.depth);
    task.C = product.C;
    task.scale = product.scale;
    task.scale_each = checked_int(product.scale_each);
    task.batch = checked_int(product.batch);
    task.rows = checked_int(product.rows);
    task.columns = checked_int(product.columns);
    task.depth = checked_int(product.depth);
    checked_int(product.rows * product.depth);
    checked_int(product.columns * product.depth);
    tasks.push_back(task);
  }
  // The long sums first, so that none of them begins last.
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const ProductTask& a, const ProductTask& b) { return a.depth > b.depth; });
  if constexpr (std::is_same_v<T, double>) {
    launch_products<Fp64>(tasks, stream);
  } else if (method == Float32Method::Tf32x3) {
    launch_products<Tf32x3>(tasks, stream);
  } else {
    launch_products<Fp32>(tasks, stream);
  }
}

template void multiply<float>(const std::vector<Product<float>>&, const Stream&, Float32Method);
template void multiply<double>(const std::vector<Product<double>>&, const Stream&, Float32Method);

}  // namespace kronla::cuda
