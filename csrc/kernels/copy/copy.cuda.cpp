// CUDA kernels of copy: none yet.
#include "kernels/copy/copy.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const CopyKernels copy_kernels;
constinit const CopyKernels copy_kernels = {
    .copy = absent,
    .pad = absent,
    .pad_backward = absent,
};

}  // namespace medkern::cuda
