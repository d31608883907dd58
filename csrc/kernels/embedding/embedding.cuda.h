// Embedding: what the device's kernels are given.
#pragma once

#include "cuda/walk.h"

namespace medkern::cuda {

// y[i] = weight[indices[i / size]] in vectors of `lanes`.
struct LookupKernelArgs {
  const void* indices;
  const void* weight;
  void* y;
  uint32_t count;   // of vectors of y
  Divider vectors;  // of a row
  int64_t rows;
  int32_t lanes;
};

// A block sums kRowsOfBlock rows by kColumnsOfBlock columns of dweight.
constexpr int kRowsOfBlock = 32, kColumnsOfBlock = 64;
constexpr int kScatterThreads = 256, kIndicesOfStep = 1024;
constexpr size_t scatter_shared_bytes(size_t item) {
  return kRowsOfBlock * kColumnsOfBlock * item +
         kIndicesOfStep * (sizeof(int64_t) + sizeof(int32_t)) +
         kScatterThreads / 32 * sizeof(int32_t);
}
struct ScatterKernelArgs {
  const void* indices;
  const void* dy;
  void* dweight;
  int64_t count, rows, size;  // indices, V, D
  int64_t padding_idx;        // -1 if there is none
  Divider row_blocks;
};

}  // namespace medkern::cuda
