// CUDA kernels of softmax: none yet.
#include "kernels/softmax/softmax.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const SoftmaxKernels softmax_kernels;
constinit const SoftmaxKernels softmax_kernels = {
    .forward = absent,
    .backward = absent,
};

extern const CrossEntropyKernels cross_entropy_kernels;
constinit const CrossEntropyKernels cross_entropy_kernels = {
    .forward = absent,
    .backward = absent,
};

}  // namespace medkern::cuda
