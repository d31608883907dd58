// CUDA kernels of norm: none yet.
#include "kernels/norm/norm.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const NormKernels norm_kernels;
constinit const NormKernels norm_kernels = {
    .forward = absent,
    .backward = absent,
};

extern const LayerNormKernels layer_norm_kernels;
constinit const LayerNormKernels layer_norm_kernels = {
    .forward = absent,
    .backward = absent,
};

}  // namespace medkern::cuda
