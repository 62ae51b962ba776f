// Grouped products C = scale · A Bᵀ of many shapes in one launch, for the families that need products which are not
// symmetric. The list travels in the kernel's parameters.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/scalar_type.h"

namespace kronla::cuda {

// How float32 products are made: three TF32 products each on the tensor cores (two where one side has 16 bits and so is
// exact in TF32), or float32 arithmetic.
enum class Float32Method { Tf32x3, Fp32 };

// Matrices [rows, depth]: element (i, k) of entry b at data + b · step + i · depth + k, or, transposed, k · rows + i.
struct ProductInput {
  const void* data;
  ScalarType type;
  bool transposed;
  int64_t step;
};

template <class T>
struct Product {
  int64_t batch, rows, columns, depth;
  ProductInput A;                 // [rows, depth]
  ProductInput B;                 // [columns, depth]; transposed if A is
  T* C;                           // [batch, rows, columns]
  const double* scale = nullptr;  // [batch] on the device; nullptr for 1
  // Where not 0: B, transposed, and C are slices side by side, [batch, columns / inner, depth or rows, inner].
  int64_t inner = 0;
};

template <class T>
void multiply(const std::vector<Product<T>>& products, const Stream& stream,
              Float32Method method = Float32Method::Tf32x3);

}  // namespace kronla::cuda
