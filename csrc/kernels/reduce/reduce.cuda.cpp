// CUDA kernels of reduce: none yet.
#include "kernels/reduce/reduce.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const ReduceKernels reduce_kernels;
constinit const ReduceKernels reduce_kernels = {
    .reduce = absent,
    .take = absent,
    .put = absent,
};

}  // namespace medkern::cuda
