// CUDA kernels of conv: none yet.
#include "kernels/conv/conv.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const ConvKernels conv_kernels;
constinit const ConvKernels conv_kernels = {
    .form = absent,
    .packed_bytes = absent,
    .pack = absent,
    .workspace = absent,
    .run = absent,
    .backward_weight_workspace = absent,
    .backward_weight = absent,
};

}  // namespace medkern::cuda
