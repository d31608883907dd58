// Embedding: what the kernels are given once every argument has been checked.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace medkern {

struct EmbeddingArgs {
  Dtype dtype;          // of weight and y
  Dtype index_dtype;    // i64 or i32
  int64_t count;        // number of indices
  int64_t rows, size;   // V and D of weight (V, D)
  int64_t padding_idx;  // a row without gradient; -1 if there is none
  const void* indices;  // (count)
  void* weight;         // (V, D); dweight in the backward pass
  void* y;              // (count, D); dy in the backward pass
};

struct EmbeddingKernels {
  void (*forward)(const EmbeddingArgs&);
  void (*backward)(const EmbeddingArgs&);
};

}  // namespace medkern
