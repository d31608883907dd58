// CUDA kernels of resize: none yet.
#include "kernels/resize/resize.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const ResizeKernels resize_kernels;
constinit const ResizeKernels resize_kernels = {
    .forward = absent,
    .backward = absent,
};

}  // namespace medkern::cuda
