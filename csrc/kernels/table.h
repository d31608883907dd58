// The registry: every kernel of a device and instruction set, filled in cpu/table.simd.cpp and
// chosen in dispatch.cpp. An empty slot is a compile error there.
#pragma once

#include "kernels/pointwise/pointwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/pool/pool.h"
#include "kernels/reduce/reduce.h"
#include "medkern/base.h"

namespace medkern {

struct KernelTable {
  const BinaryKernels* binary;
  const GemmKernels* gemm;
  const PoolKernels* pool;
  const ReduceKernels* reduce;
  const UnaryKernels* unary;
};

// The kernels for a device; fails with MK_DEVICE_ERROR where there are none. Defined in
// dispatch.cpp.
const KernelTable& kernels_for(DLDevice device);

}  // namespace medkern
