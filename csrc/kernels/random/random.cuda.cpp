// CUDA kernels of random: none yet.
#include "kernels/random/random.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const RandomKernels random_kernels;
constinit const RandomKernels random_kernels = {
    .uniform = absent,
    .normal = absent,
    .dropout = absent,
    .apply_mask = absent,
};

}  // namespace medkern::cuda
