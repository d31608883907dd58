// The check of indices that a tensor holds.
#pragma once

#include "core/tensor.h"

namespace medkern {

// Every element of the integer tensor `x` is within [low, high]. On a CUDA device the check is
// queued, and a fault is reported by the next synchronization: the kernels that follow must be safe
// for any value.
void expect_indices(const char* op, const TensorView& x, int64_t low, int64_t high);

}  // namespace medkern
