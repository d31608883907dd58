// CUDA kernels of optim: none yet.
#include "kernels/optim/optim.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const OptimKernels optim_kernels;
constinit const OptimKernels optim_kernels = {
    .sgd_step = absent,
    .adam_step = absent,
};

}  // namespace medkern::cuda
