// CUDA kernels of gemm: none yet.
#include "kernels/gemm/gemm.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const GemmKernels gemm_kernels;
constinit const GemmKernels gemm_kernels = {
    .workspace = absent,
    .run = absent,
    .packed_b_bytes = absent,
    .pack_b = absent,
    .bias_backward_workspace = absent,
    .bias_backward = absent,
};

}  // namespace medkern::cuda
