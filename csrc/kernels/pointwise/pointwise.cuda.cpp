// CUDA kernels of pointwise: none yet.
#include "kernels/pointwise/pointwise.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const BinaryKernels binary_kernels;
constinit const BinaryKernels binary_kernels = {
    .binary = absent,
    .compare = absent,
    .where = absent,
};

extern const UnaryKernels unary_kernels;
constinit const UnaryKernels unary_kernels = {
    .forward = absent,
    .backward = absent,
};

}  // namespace medkern::cuda
