// CUDA kernels of embedding: what the checked arguments come to on the device.
#include "kernels/embedding/embedding.cuda.h"

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/launch.h"
#include "kernels/embedding/embedding.h"

namespace medkern::cuda {
namespace {

// For float32 and float64, and for indices of int32 and int64.
Kernel lookups[2][2] = {
    {{"embedding", "embedding_lookup_f32_i32"}, {"embedding", "embedding_lookup_f32_i64"}},
    {{"embedding", "embedding_lookup_f64_i32"}, {"embedding", "embedding_lookup_f64_i64"}}};
Kernel scatters[2][2] = {
    {{"embedding", "embedding_scatter_f32_i32"}, {"embedding", "embedding_scatter_f32_i64"}},
    {{"embedding", "embedding_scatter_f64_i32"}, {"embedding", "embedding_scatter_f64_i64"}}};

Kernel& choose(Kernel (&kernels)[2][2], const EmbeddingArgs& a) {
  return kernels[a.dtype == Dtype::f64][a.index_dtype == Dtype::i64];
}

void forward(const EmbeddingArgs& a) {
  const int lanes = vector_lanes(size_of(a.dtype));
  const bool vectors = a.size % lanes == 0 && are_aligned({a.weight, a.y});
  LookupKernelArgs p{};
  p.indices = a.indices;
  p.weight = a.weight;
  p.y = a.y;
  p.rows = a.rows;
  p.lanes = vectors ? lanes : 1;
  const int64_t size = a.size / p.lanes;
  require(size <= INT32_MAX && a.count <= INT32_MAX / size,
          "embedding: CUDA kernels give up to 2^31 - 1 elements, or vectors of 16 bytes");
  p.count = static_cast<uint32_t>(a.count * size);
  p.vectors = divider(static_cast<uint32_t>(size));
  constexpr uint32_t kBlock = kWalkThreads * kVectorSteps;
  launch(choose(lookups, a), {(p.count - 1) / kBlock + 1}, kWalkThreads, 0, p);
}

void backward(const EmbeddingArgs& a) {
  const int64_t row_blocks = (a.rows - 1) / kRowsOfBlock + 1;
  const int64_t column_blocks = (a.size - 1) / kColumnsOfBlock + 1;
  require(row_blocks <= INT32_MAX / column_blocks,
          "embedding_backward: dweight is too large for a CUDA kernel");
  ScatterKernelArgs p{};
  p.indices = a.indices;
  p.dy = a.y;
  p.dweight = a.weight;
  p.count = a.count;
  p.rows = a.rows;
  p.size = a.size;
  p.padding_idx = a.padding_idx;
  p.row_blocks = divider(static_cast<uint32_t>(row_blocks));
  launch(choose(scatters, a), {static_cast<uint32_t>(row_blocks * column_blocks)}, kScatterThreads,
         scatter_shared_bytes(size_of(a.dtype)), p);
}

}  // namespace

extern const EmbeddingKernels embedding_kernels;
constinit const EmbeddingKernels embedding_kernels = {
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::cuda
