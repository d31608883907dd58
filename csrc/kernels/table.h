// The registry: every kernel of a device and instruction set, filled in cpu/table.simd.cpp and
// chosen in dispatch.cpp. An empty slot is a compile error there.
#pragma once

#include "kernels/pool/pool.h"
#include "kernels/random/random.h"
#include "kernels/resize/resize.h"
#include "medkern/base.h"

namespace medkern {

struct KernelTable {
  const PoolKernels* pool;
  const RandomKernels* random;
  const ResizeKernels* resize;
};

// The kernels for a device; fails with MK_DEVICE_ERROR where there are none. Defined in
// dispatch.cpp.
const KernelTable& kernels_for(DLDevice device);

}  // namespace medkern
