// CUDA kernels of peak: none yet.
#include "kernels/peak/peak.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const PeakKernels peak_kernels;
constinit const PeakKernels peak_kernels = {
    .fma_chain = absent,
};

}  // namespace medkern::cuda
