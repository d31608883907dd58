// The chain of multiply-adds: what the device's kernel is given.
#pragma once

#include "cuda/types.h"

namespace medkern::cuda {

struct FmaChainKernelArgs {
  const void* x;
  void* y;
  int64_t count, rounds;
};
constexpr int kChains = 4;  // of a thread

}  // namespace medkern::cuda
