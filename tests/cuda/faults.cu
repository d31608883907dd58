// Kernels with a fault each, which the emulator has to show (test_emulator_faults.py).
#include "cuda/device.h"

namespace medkern::cuda {

struct TestArgs {
  const void *a, *b;
  void* out;
  int64_t count;
  int32_t number;
};

// An array on a thread's stack, which an index may leave.
MK_INLINE float pick(const float (&values)[4], int i) { return values[i]; }

// Another than the one in namesakes.cu.
template <int N>
struct Namesake {
  static __attribute__((noinline)) float value(float x) { return x + N; }
};

}  // namespace medkern::cuda

using namespace medkern::cuda;

#define FLOATS(name) static_cast<float*>(const_cast<void*>(args.name))

// No __syncthreads between one round's reads and the next one's writes.
MK_KERNEL(fault_missing_barrier, TestArgs, 256) {
  float* s = shared<float>();
  float value = FLOATS(a)[threadIdx.x];
  for (int i = 0; i < args.number; ++i) {
    s[threadIdx.x] = value;
    __syncthreads();
    value += s[(threadIdx.x + 33) % blockDim.x];
  }
  FLOATS(out)[threadIdx.x] = value;
}

// No __syncwarp between a write and a neighbor's read.
MK_KERNEL(fault_missing_syncwarp, TestArgs, 32) {
  float* s = shared<float>();
  s[threadIdx.x] = FLOATS(a)[threadIdx.x];
  FLOATS(out)[threadIdx.x] = s[threadIdx.x ^ 1];
}

// Shared memory that nobody has written.
MK_KERNEL(fault_unwritten_shared, TestArgs, 32) {
  FLOATS(out)[threadIdx.x] = shared<float>()[threadIdx.x];
}

MK_KERNEL(fault_past_shared, TestArgs, 64) {
  float* s = shared<float>();
  s[threadIdx.x] = 1;
  __syncthreads();
  FLOATS(out)[threadIdx.x] = s[threadIdx.x + 1];
}

MK_KERNEL(fault_before_shared, TestArgs, 64) { (shared<float>() - 2048)[threadIdx.x] = 1; }

// One element more than there are.
MK_KERNEL(fault_past_allocation, TestArgs, 256) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i <= args.count) FLOATS(out)[i] = 1;
}

MK_KERNEL(fault_read_past_allocation, TestArgs, 256) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < args.count) FLOATS(out)[i] = FLOATS(a)[i + args.number];
}

// Rows g and g + 8 of a exchanged.
MK_KERNEL(fault_fragment, TestArgs, 32) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto *a = static_cast<const uint32_t*>(args.a), *b = static_cast<const uint32_t*>(args.b);
  uint32_t fa[4] = {a[(g + 8) * 8 + t], a[g * 8 + t], a[(g + 8) * 8 + t + 4], a[g * 8 + t + 4]};
  uint32_t fb[2] = {b[g * 8 + t], b[g * 8 + t + 4]};
  float d[4] = {};
  mma_tf32(d, fa, fb);
  float* out = FLOATS(out);
  out[g * 8 + 2 * t] = d[0], out[g * 8 + 2 * t + 1] = d[1];
  out[(g + 8) * 8 + 2 * t] = d[2], out[(g + 8) * 8 + 2 * t + 1] = d[3];
}

// The copy is committed and never waited for; or the wait leaves one commit too many open.
MK_KERNEL(fault_missing_wait, TestArgs, 32) {
  float* s = shared<float>();
  cp_async4(s + threadIdx.x, FLOATS(a) + threadIdx.x, true);
  cp_async_commit();
  if (args.number == 1) cp_async_wait<1>();
  __syncthreads();
  FLOATS(out)[threadIdx.x] = s[threadIdx.x];
}

// Waited for, but only by the thread itself.
MK_KERNEL(fault_wait_without_barrier, TestArgs, 64) {
  float* s = shared<float>();
  cp_async4(s + threadIdx.x, FLOATS(a) + threadIdx.x, true);
  cp_async_commit();
  cp_async_wait<0>();
  FLOATS(out)[threadIdx.x] = s[(threadIdx.x + 32) % 64];
}

MK_KERNEL(fault_divergent_barrier, TestArgs, 64) {
  if (threadIdx.x < 16) __syncthreads();
  __syncwarp();
}

MK_KERNEL(fault_returned_before_barrier, TestArgs, 64) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
}

MK_KERNEL(fault_two_barriers, TestArgs, 64) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

MK_KERNEL(fault_partial_collective, TestArgs, 32) {
  if (threadIdx.x < 20) {
    FLOATS(out)[threadIdx.x] = __shfl_xor_sync(kAllLanes, FLOATS(a)[threadIdx.x], 1);
  }
}

MK_KERNEL(fault_two_collectives, TestArgs, 32) {
  float value = FLOATS(a)[threadIdx.x];
  if (threadIdx.x < 16) {
    value = __shfl_xor_sync(kAllLanes, value, 1);
  } else {
    value = static_cast<float>(__ballot_sync(kAllLanes, value > 0));
  }
  FLOATS(out)[threadIdx.x] = value;
}

MK_KERNEL(fault_outside_mask, TestArgs, 32) {
  FLOATS(out)[threadIdx.x] = __shfl_xor_sync(0xffffu, FLOATS(a)[threadIdx.x], 1);
}

MK_KERNEL(fault_grid_barrier, TestArgs, 32) {
  uint32_t passed = 0;
  grid_barrier(static_cast<uint32_t*>(args.out), passed);
}

// One block comes once less often than the others.
MK_KERNEL(fault_uneven_grid_barrier, TestArgs, 32) {
  uint32_t passed = 0;
  grid_barrier(static_cast<uint32_t*>(args.out), passed);
  if (blockIdx.x > 0) grid_barrier(static_cast<uint32_t*>(args.out), passed);
}

MK_KERNEL(fault_misaligned, TestArgs, 32) {
  const float4 v = *reinterpret_cast<const float4*>(FLOATS(a) + threadIdx.x);
  FLOATS(out)[threadIdx.x] = v.x + v.w;
}

MK_KERNEL(fault_misaligned_load16, TestArgs, 32) {
  FLOATS(out)[threadIdx.x] = load16(FLOATS(a) + threadIdx.x).x;
}

MK_KERNEL(fault_misaligned_copy, TestArgs, 32) {
  cp_async16(shared<float>() + 4 * threadIdx.x, FLOATS(a) + threadIdx.x, true);
}

MK_KERNEL(fault_division, TestArgs, 32) {
  static_cast<int32_t*>(args.out)[threadIdx.x] = static_cast<int32_t>(args.count) / args.number;
}

MK_KERNEL(fault_local_index, TestArgs, 32) {
  const float values[4] = {1, 2, 3, 4};
  FLOATS(out)[threadIdx.x] = pick(values, static_cast<int>(threadIdx.x) / 4);
}

MK_KERNEL(fault_shift, TestArgs, 64) {
  static_cast<uint32_t*>(args.out)[threadIdx.x] = 1u << threadIdx.x;
}

// The order of additions is that of the threads.
MK_KERNEL(fault_order, TestArgs, 256) {
  unsigned* word = static_cast<unsigned*>(args.out);
  unsigned old = *word, seen;
  do {
    seen = old;
    old = atomicCAS(word, seen, __float_as_uint(__uint_as_float(seen) + FLOATS(a)[threadIdx.x]));
  } while (old != seen);
}

MK_KERNEL(fault_none, TestArgs, 256) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < args.count) FLOATS(out)[i] = FLOATS(a)[i] + 1;
}

MK_KERNEL(namesake_of_one, TestArgs, 32) { FLOATS(out)[threadIdx.x] = Namesake<1>::value(1); }
