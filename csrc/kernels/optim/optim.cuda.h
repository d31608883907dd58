// Optimizer steps: what the device's kernels are given.
#pragma once

#include "cuda/walk.h"

namespace medkern::cuda {

// Parameters of one launch: a power of two, whose arrays fit a kernel's 4096 bytes of arguments.
constexpr int kMostParameters = 64;

// One parameter, its gradient and state; SGD's buffer may be nullptr, and so may `rounded`, which
// gets the parameter in bfloat16.
struct OptimArrays {
  void* param;
  const void* grad;
  void* state[2];
  void* rounded;
  int64_t count;
  uint32_t first_block;
  int32_t aligned;  // all arrays, to 16 bytes
};

struct ParameterList {
  OptimArrays of[kMostParameters];
  int32_t used;
};

struct SgdKernelArgs {
  ParameterList list;
  double lr, momentum, fresh, weight_decay;
  int32_t has_buffer, nesterov;
};

struct AdamKernelArgs {
  ParameterList list;
  double beta1, fresh1, beta2, fresh2, eps, penalty, kept, rate, root_scale;
};

}  // namespace medkern::cuda
