// Optimizer steps: what the device's kernels are given.
#pragma once

#include "cuda/walk.h"

namespace medkern::cuda {

struct SgdKernelArgs {
  void *param, *buffer;  // buffer may be nullptr
  const void* grad;
  int64_t count;
  double lr, momentum, fresh, weight_decay;
  int32_t nesterov;
  int32_t aligned;  // all arrays, to 16 bytes
};

struct AdamKernelArgs {
  void *param, *exp_avg, *exp_avg_sq;
  const void* grad;
  int64_t count;
  double beta1, fresh1, beta2, fresh2, eps, penalty, kept, rate, root_scale;
  int32_t aligned;
};

}  // namespace medkern::cuda
