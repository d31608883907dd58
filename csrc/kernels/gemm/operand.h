// Operands of a product on CUDA as the host looks at them, and copies of them in another type and
// order (gemm_pack.cu).
#pragma once

#include "kernels/gemm/gemm.h"

namespace medkern::cuda {

// a, or b transposed: element (row, k) of an item is at data[row row_stride + k k_stride].
struct Operand {
  const void* data;
  Dtype dtype;
  int64_t rows, k, row_stride, k_stride;
  int64_t items, item_stride;  // one item for all has the stride 0

  // Of 16-bit numbers and float32 whether rows are contiguous, and not k.
  bool by_rows() const { return row_stride == 1 && k_stride != 1; }
  int64_t inner() const { return by_rows() ? rows : k; }
  int64_t lines() const { return by_rows() ? k : rows; }
  int64_t line() const { return by_rows() ? k_stride : row_stride; }
};

Operand operand_a(const GemmArgs& g);
Operand operand_b(const GemmArgs& g);

// The operand as pack() leaves it at `memory`: contiguous along its rows or along k, in lines of a
// multiple of 8 numbers.
Operand packed_operand(const Operand& x, Dtype to, bool by_rows, void* memory);
// Memory that takes, a multiple of 256.
size_t bytes_of(const Operand& packed);

// Copies each of `from`, of which there are one or two, to what packed_operand made of it: float32
// to bfloat16 or float32, 16 bits to the same or to float32, all from and to one type.
void pack(const Operand* from, const Operand* to, int count);

}  // namespace medkern::cuda
