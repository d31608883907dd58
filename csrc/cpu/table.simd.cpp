// Fills the table of one instruction set. Built once per set, in the namespace MK_ISA.
#include "kernels/table.h"

namespace medkern::MK_ISA {

extern const PoolKernels pool_kernels;
extern const RandomKernels random_kernels;
extern const ResizeKernels resize_kernels;

// Pointers only: a table must not need code of its instruction set to initialise itself.
extern const KernelTable table;
constinit const KernelTable table = {
    .pool = &pool_kernels,
    .random = &random_kernels,
    .resize = &resize_kernels,
};

}  // namespace medkern::MK_ISA
