// What compute capability 9.0 has beyond cuda/device.h: barriers in shared memory that count bytes,
// copies of boxes of a tensor by the copy engine, and products of a warpgroup on the tensor cores.
// Files that include it are compiled for sm_90a alone (cuda/compile.py); g++ takes the emulator's
// bodies.
//
// Threads see memory by one way, the copy engine and wgmma by another ("async"): what threads have
// written to shared memory themselves is there for those after fence_proxy_async() in each thread
// that wrote, and a barrier.
#pragma once

#include "cuda/device.h"
#include "cuda/tensor_map.h"

namespace medkern::cuda {

// How a warpgroup multiplies. f16 and bf16 take 16 of k at once, tf32 takes 8: always 32 bytes.
enum class Wgmma { bf16, f16, tf32 };

// What wgmma knows of an operand in shared memory, of rows of 128 bytes whose 16-byte pieces are
// swapped as the copy engine's 128-byte swizzle does: piece i of row r lies at i ^ r % 8. Rows
// begin at multiples of 1024 bytes together with the seven after them.
//   k contiguous:     a row has 128 bytes of k; `stride` bytes from eight rows of the operand to
//                     the next eight (1024 where they are packed); `leading` means nothing.
//   rows contiguous:  (16 bits only) a row has one k of 64 rows of the operand; `stride` bytes from
//                     eight k to the next eight, `leading` bytes from 64 rows to the next 64.
// `start`, an address in shared memory, may be moved by 32 bytes along k in the first case, by
// eight k in the second.
MK_INLINE uint64_t wgmma_operand(uint32_t start, uint32_t leading, uint32_t stride) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | uint64_t{stride >> 4} << 32 | uint64_t{leading >> 4} << 16 |
         (start & 0x3ffff) >> 4;
}

}  // namespace medkern::cuda

#if !defined(__CUDACC_RTC__)
#include "cuda/emulator/hopper.h"
#else

namespace medkern::cuda {

// A barrier of `count` arrivals, in 8 aligned bytes of shared memory. Its phase is over when all
// have arrived and as many bytes have come as they expect; then the next begins. Made by one
// thread, which then calls fence_proxy_async(), before a __syncthreads.
MK_INLINE void mbarrier_init(uint64_t* barrier, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
               : "memory");
}
MK_INLINE void mbarrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
// Arrives, and has the phase wait for so many bytes of copies.
MK_INLINE void mbarrier_arrive_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
// Returns when the phase of this parity (0 for the first) is over; at once if the one of the other
// parity is under way: a new barrier's phase 1 counts as over.
MK_INLINE void mbarrier_wait(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred over;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
      "@over bra done;\n"
      "bra again;\n"
      "done:\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// Gives registers back, or takes more: from here on a thread has kCount of them, a multiple of 8.
// All four warps of a warpgroup call them alike, each at the beginning of the one branch that is
// the warpgroup's; the kernel says how many of its blocks a multiprocessor has room for.
template <int kCount>
MK_INLINE void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
MK_INLINE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

MK_INLINE void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Starts the copy of the box at (x, y, z) of a tensor, zeros where it lies outside, to shared
// memory (a multiple of 1024 bytes), whose bytes `barrier` waits for. Called by one thread.
MK_INLINE void copy_box(void* shared, const TensorMap& tensor, int x, int y, int z,
                        uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(shared_address(shared)),
      "l"(&tensor), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier))
      : "memory");
}
// The same of a tensor of five axes.
MK_INLINE void copy_box(void* shared, const TensorMap& tensor, int v, int w, int x, int y, int z,
                        uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];" ::"r"(shared_address(shared)),
      "l"(&tensor), "r"(v), "r"(w), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier))
      : "memory");
}
// Has the engine read what it must know of a tensor.
MK_INLINE void prefetch_tensor(const TensorMap& tensor) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&tensor) : "memory");
}

// Products run on while the threads do. wgmma_fence() stands before the first one that uses
// registers which the threads have used themselves; wgmma_commit() closes a group of products;
// after wgmma_wait<Left> all groups but the last `Left` are done: their operands may be
// overwritten, and after wgmma_wait<0>(d) the sums d be used. All four warps of a warpgroup
// (threads 128 i .. 128 i + 127) call them alike.
MK_INLINE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
MK_INLINE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Left>
MK_INLINE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Left) : "memory");
}
template <int Left, int kCount>
MK_INLINE void wgmma_wait(float (&d)[kCount]) {
  wgmma_wait<Left>();
  // The compiler must not read d before.
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define MK_LIST32                                                        \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define MK_LIST64                                                                    \
  MK_LIST32                                                                          \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define MK_LIST128                                                                               \
  MK_LIST64                                                                                      \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"             \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, " \
  "%127"
#define MK_OUT8(d, i)                                                                         \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define MK_OUT32(d, i) MK_OUT8(d, i), MK_OUT8(d, i + 8), MK_OUT8(d, i + 16), MK_OUT8(d, i + 24)
#define MK_OUT64(d, i) MK_OUT32(d, i), MK_OUT32(d, i + 32)
#define MK_OUT128(d, i) MK_OUT64(d, i), MK_OUT64(d, i + 64)

// `count` sums of a thread, whose operands have the numbers that follow.
#define MK_PRODUCT(shape, type, count, a_number, b_number, add_number, flags, ...)          \
  asm volatile("{\n.reg .pred more;\nsetp.ne.b32 more, " add_number                         \
               ", 0;\nwgmma.mma_async.sync.aligned." shape ".f32." type "." type            \
               " {" MK_LIST##count "}, " a_number ", " b_number ", more, 1, 1" flags ";\n}" \
               : MK_OUT##count(d, 0)                                                        \
               : "l"(a), "l"(b), "r"(static_cast<int>(add))__VA_ARGS__)
#define MK_PRODUCTS(columns, count, a_number, b_number, add_number, flags)                   \
  if constexpr (kHow == Wgmma::bf16) {                                                       \
    MK_PRODUCT("m64n" columns "k16", "bf16", count, a_number, b_number, add_number, flags, , \
               "n"(kARows), "n"(kBRows));                                                    \
  } else if constexpr (kHow == Wgmma::f16) {                                                 \
    MK_PRODUCT("m64n" columns "k16", "f16", count, a_number, b_number, add_number, flags, ,  \
               "n"(kARows), "n"(kBRows));                                                    \
  } else {                                                                                   \
    static_assert(!kARows && !kBRows, "tf32 is read along k");                               \
    MK_PRODUCT("m64n" columns "k8", "tf32", count, a_number, b_number, add_number, "");      \
  }

// d = a b, or d += a b if `add`, for a of 64 rows and b of 2 kCount columns: 16 of k, 8 of tf32,
// whose lowest 13 bits are not looked at. kARows, kBRows: rows of the operand are contiguous, not
// k. Of the 64 rows warp w of the warpgroup holds 16 w .. 16 w + 15; of those, with g = lane / 4
// and t = lane % 4, a thread holds
//   d[4 j] = (g, 8 j + 2 t)  d[4 j + 1] = (g, 8 j + 2 t + 1)  d[4 j + 2], d[4 j + 3]: row g + 8
template <Wgmma kHow, bool kARows, bool kBRows, int kCount>
MK_INLINE void wgmma(float (&d)[kCount], uint64_t a, uint64_t b, bool add) {
  if constexpr (kCount == 128) {
    MK_PRODUCTS("256", 128, "%128", "%129", "%130", ", %131, %132")
  } else if constexpr (kCount == 64) {
    MK_PRODUCTS("128", 64, "%64", "%65", "%66", ", %67, %68")
  } else {
    static_assert(kCount == 32);
    MK_PRODUCTS("64", 32, "%32", "%33", "%34", ", %35, %36")
  }
}

#undef MK_PRODUCTS
#undef MK_PRODUCT
#undef MK_LIST32
#undef MK_LIST64
#undef MK_LIST128
#undef MK_OUT8
#undef MK_OUT32
#undef MK_OUT64
#undef MK_OUT128

}  // namespace medkern::cuda

#endif
