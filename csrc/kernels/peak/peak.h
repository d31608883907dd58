// The chain of multiply-adds: what the kernel is given once every argument has been checked.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace medkern {

struct FmaChainArgs {
  Dtype dtype;
  const void* x;
  void* y;
  int64_t count, rounds;
};

struct PeakKernels {
  void (*fma_chain)(const FmaChainArgs&);
};

}  // namespace medkern
