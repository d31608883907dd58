// What device code may use beyond plain C++: CUDA's own names where it has them (threadIdx,
// __syncthreads, __shfl_xor_sync, atomicAdd on integers, ...), and functions for what otherwise is
// inline PTX. NVRTC compiles this file; g++ takes the emulator's in its place, which gives every
// name a body in C++, so that the same kernels run where there is no GPU.
//
// A kernel is MK_KERNEL(name, Args, threads) { ... args ... }: one struct of arguments, passed by
// value, and the number of threads of a block. A fourth argument is how many blocks a
// multiprocessor is to have room for: with 1 the compiler gives a thread all the registers it can
// use. Names are unique over all families.
//
// Rules that keep kernels the same on both: shared memory comes from shared<T>() only; no thread
// relies on its warp running in step; a collective (__shfl_*, __ballot_sync, mma, ldmatrix) is
// called by all 32 threads of a warp; no floating-point atomics, so that sums have one order.
#pragma once

#include "cuda/types.h"

#if !defined(__CUDACC_RTC__)
#include "cuda/emulator/device.h"
#else

#define MK_INLINE __forceinline__
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#define MK_KERNEL(name, Args, ...)                          \
  extern "C" __global__ void __launch_bounds__(__VA_ARGS__) \
      name(const __grid_constant__ medkern::cuda::Args args)

namespace medkern::cuda {

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

// The block's shared memory, aligned to 1024 bytes; its size is given at launch.
extern __shared__ __align__(1024) unsigned char shared_arena[];
template <class T>
MK_INLINE T* shared() {
  return reinterpret_cast<T*>(shared_arena);
}

MK_INLINE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Numbers as the tensor cores take them: tf32 in 32 bits, rounded to nearest with ties away from 0;
// two bf16 or fp16 in 32 bits, `low` in the lower half, rounded to nearest even.
MK_INLINE uint32_t to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}
MK_INLINE uint32_t to_bf16x2(float low, float high) {
  uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
MK_INLINE uint32_t to_f16x2(float low, float high) {
  uint32_t bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
MK_INLINE float from_f16(uint16_t bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}

// d += a b on the tensor cores of one warp, sums in float32. With g = lane / 4 and t = lane % 4
// thread `lane` holds, of the 16x8 result d, rows g and g + 8, columns 2t and 2t + 1:
//   d[0] = (g, 2t)  d[1] = (g, 2t + 1)  d[2] = (g + 8, 2t)  d[3] = (g + 8, 2t + 1)
// tf32, 16x8x8: a[0] = (g, t)  a[1] = (g + 8, t)  a[2] = (g, t + 4)  a[3] = (g + 8, t + 4)
//               b[0] = (t, g)  b[1] = (t + 4, g)         (row of k, column of n)
// bf16 and f16, 16x8x16, pairs along k:
//               a[0] = (g, 2t..)  a[1] = (g + 8, 2t..)  a[2] = (g, 2t + 8..)  a[3] = (g + 8, 2t
//               + 8..) b[0] = (2t.., g)  b[1] = (2t + 8.., g)
MK_INLINE void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
MK_INLINE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
MK_INLINE void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8x8 matrices of 16-bit elements from shared memory: lane 8 i + r passes the address of row r
// (16 bytes, aligned) of matrix i, and gets in r[i] the elements (lane / 4, 2 (lane % 4)..) of it,
// of its transpose with _trans.
MK_INLINE void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
MK_INLINE void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// Copies 16, 8 or 4 bytes (both addresses aligned to them) from global to shared memory while the
// thread goes on; zeros instead where not `valid`: then `global` is not read. What was copied
// before a commit is there after a wait that leaves at most `Left` commits open, for the thread
// itself; for the others after a barrier.
MK_INLINE void cp_async16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
}
MK_INLINE void cp_async8(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 8 : 0)
               : "memory");
}
MK_INLINE void cp_async4(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 4 : 0)
               : "memory");
}
MK_INLINE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Left>
MK_INLINE void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

// Returns when `blocks` blocks of a cooperative launch, all unless told otherwise, have called it
// as often; what they wrote before is then seen by all of them. `arrived` is a counter in global
// memory that is 0 before the launch, `passed` the thread's count of barriers so far, 0 at first.
MK_INLINE void grid_barrier(uint32_t* arrived, uint32_t& passed, uint32_t blocks = gridDim.x) {
  __syncthreads();
  ++passed;
  if (threadIdx.x == 0) {
    uint32_t seen;
    __threadfence();
    atomicAdd(arrived, 1u);
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
    } while (seen < passed * blocks);
  }
  __syncthreads();
}

// Vectors of four floats or two doubles: 16 bytes, aligned.
MK_INLINE float4 load16(const float* p) { return *reinterpret_cast<const float4*>(p); }
MK_INLINE void store16(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }

}  // namespace medkern::cuda

#endif
