// Fills the table of one instruction set. Built once per set, in the namespace MK_ISA.
#include "kernels/table.h"

namespace medkern::MK_ISA {

extern const GemmKernels gemm_kernels;
extern const LayerNormKernels layer_norm_kernels;
extern const NormKernels norm_kernels;
extern const OptimKernels optim_kernels;
extern const PoolKernels pool_kernels;

// Pointers only: a table must not need code of its instruction set to initialise itself.
extern const KernelTable table;
constinit const KernelTable table = {
    .gemm = &gemm_kernels,
    .layer_norm = &layer_norm_kernels,
    .norm = &norm_kernels,
    .optim = &optim_kernels,
    .pool = &pool_kernels,
};

}  // namespace medkern::MK_ISA
