// Fills the table of one instruction set. Built once per set, in the namespace MK_ISA.
#include "kernels/table.h"

namespace medkern::MK_ISA {

extern const BinaryKernels binary_kernels;
extern const GemmKernels gemm_kernels;
extern const PoolKernels pool_kernels;
extern const ReduceKernels reduce_kernels;
extern const UnaryKernels unary_kernels;

// Pointers only: a table must not need code of its instruction set to initialise itself.
extern const KernelTable table;
constinit const KernelTable table = {
    .binary = &binary_kernels,
    .gemm = &gemm_kernels,
    .pool = &pool_kernels,
    .reduce = &reduce_kernels,
    .unary = &unary_kernels,
};

}  // namespace medkern::MK_ISA
