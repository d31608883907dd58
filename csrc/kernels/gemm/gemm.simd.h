// The GEMM core, for kernels of other families built for the same instruction set.
#pragma once

#include "kernels/gemm/gemm.h"

namespace medkern::MK_ISA {

// Scratch bytes that gemm(args) needs; depends on sizes and strides only.
size_t gemm_workspace(const GemmArgs& args);

// The product. Parallel over blocks of c; serial inside a parallel_for and when small. An element
// of c has the same bits whatever m and n, at any number of threads. With k = 0 the sum is 0.
void gemm(const GemmArgs& args);

// b[k, n] packed once for many products: set GemmArgs::b to `packed` and b_packed to true.
size_t packed_b_bytes(Dtype dtype, int64_t k, int64_t n);
void pack_b(Dtype dtype, int64_t k, int64_t n, const void* b, int64_t b_row, int64_t b_col,
            void* packed);

}  // namespace medkern::MK_ISA
