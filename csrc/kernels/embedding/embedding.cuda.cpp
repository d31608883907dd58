// CUDA kernels of embedding: none yet.
#include "kernels/embedding/embedding.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const EmbeddingKernels embedding_kernels;
constinit const EmbeddingKernels embedding_kernels = {
    .forward = absent,
    .backward = absent,
};

}  // namespace medkern::cuda
