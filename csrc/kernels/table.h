// The registry: every kernel of a device and instruction set, filled in cpu/table.simd.cpp and
// chosen in dispatch.cpp. An empty slot is a compile error there.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/norm/norm.h"
#include "kernels/optim/optim.h"
#include "kernels/pool/pool.h"
#include "medkern/base.h"

namespace medkern {

struct KernelTable {
  const GemmKernels* gemm;
  const LayerNormKernels* layer_norm;
  const NormKernels* norm;
  const OptimKernels* optim;
  const PoolKernels* pool;
};

// The kernels for a device; fails with MK_DEVICE_ERROR where there are none. Defined in
// dispatch.cpp.
const KernelTable& kernels_for(DLDevice device);

}  // namespace medkern
