// What compute capability 9.0 has beyond the rest, for test_hopper.py: right, and with a fault
// each.
#include "cuda/hopper.h"

namespace medkern::cuda {

struct HopperArgs {
  TensorMap a, b;
  void* out;
  int32_t x, y, z;  // of the box of a
  int32_t number;
};

template <class T>
MK_INLINE T* result(const HopperArgs& args) {
  return static_cast<T*>(args.out);
}

// Barriers behind `bytes` of shared memory, each of one arrival.
MK_INLINE uint64_t* barriers_behind(int bytes, int count, bool publish = true) {
  uint64_t* all = reinterpret_cast<uint64_t*>(shared<unsigned char>() + bytes);
  if (threadIdx.x == 0) {
    for (int i = 0; i < count; ++i) mbarrier_init(all + i, 1);
    if (publish) fence_proxy_async();
  }
  __syncthreads();
  return all;
}

// The box of a at (x, y, z) as it lies in shared memory, 64 lines of 128 bytes.
MK_INLINE void box(const HopperArgs& args) {
  constexpr int kBytes = 64 * 128;
  uint64_t* barrier = barriers_behind(kBytes, 1, args.number != 1);
  if (threadIdx.x == 0) {
    const int expected = args.number == 3 ? kBytes - 16 : args.number == 4 ? kBytes + 16 : kBytes;
    mbarrier_arrive_expect(barrier, expected);
    copy_box(shared<unsigned char>(), args.a, args.x, args.y, args.z, barrier);
  }
  if (args.number != 2) mbarrier_wait(barrier, 0);
  const uint32_t* words = shared<uint32_t>();
  for (int i = threadIdx.x; i < kBytes / 4; i += blockDim.x) result<uint32_t>(args)[i] = words[i];
  if (args.number == 2) {
    __syncthreads();
    mbarrier_wait(barrier, 0);
  }
}

// The box of a tensor of five axes at (0, x, y, z, 1), of 64 lines too. `number`: without waiting,
// or with coordinates of three axes.
MK_INLINE void grid_box(const HopperArgs& args) {
  constexpr int kBytes = 64 * 128;
  uint64_t* barrier = barriers_behind(kBytes, 1);
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(barrier, kBytes);
    if (args.number == 2) {
      copy_box(shared<unsigned char>(), args.a, args.x, args.y, args.z, barrier);
    } else {
      copy_box(shared<unsigned char>(), args.a, 0, args.x, args.y, args.z, 1, barrier);
    }
  }
  if (args.number != 1) mbarrier_wait(barrier, 0);
  const uint32_t* words = shared<uint32_t>();
  for (int i = threadIdx.x; i < kBytes / 4; i += blockDim.x) result<uint32_t>(args)[i] = words[i];
  __syncthreads();
  mbarrier_wait(barrier, 0);
}

constexpr int kARowBytes = 64 * 128;

// out = a b for 64 rows, kColumns columns and 128 bytes of k (64 k where rows are contiguous), by
// one warpgroup; `number` names a fault.
template <Wgmma kHow, int kColumns, bool kARows, bool kBRows>
MK_INLINE void product(const HopperArgs& args) {
  constexpr int kBytes = kARowBytes + kColumns * 128;
  uint64_t* barrier = barriers_behind(kBytes, 2);
  unsigned char* a = shared<unsigned char>();
  unsigned char* b = a + kARowBytes;
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(barrier, kBytes);
    copy_box(a, args.a, 0, 0, 0, barrier);
    for (int part = 0; part < (kBRows ? kColumns / 64 : 1); ++part) {
      copy_box(b + part * 64 * 128, args.b, part * 64, 0, 0, barrier);
    }
  }
  mbarrier_wait(barrier, 0);
  if (args.number == 5) a[threadIdx.x * 16] ^= 1;  // without fence_proxy_async
  const uint32_t stride = args.number == 9 ? 2048 : 1024;
  float d[kColumns / 2];
  if (args.number != 1) wgmma_fence();
  for (int step = 0; step < 4; ++step) {
    const uint32_t a_at = shared_address(a) + step * (kARows ? 2048 : 32);
    const uint32_t b_at = shared_address(b) + step * (kBRows ? 2048 : 32);
    wgmma<kHow, kARows, kBRows>(d, wgmma_operand(a_at, 8192, stride),
                                wgmma_operand(b_at, 8192, 1024), step > 0);
  }
  if (args.number == 2) d[0] = 0;
  if (args.number != 3) wgmma_commit();
  if (args.number == 4) {
    __syncthreads();
    a[threadIdx.x * 16] ^= 1;  // before they are read
    fence_proxy_async();
    __syncthreads();
  }
  if (args.number == 8 && threadIdx.x == 0) {
    mbarrier_arrive_expect(barrier + 1, kColumns * 128);
    copy_box(a, args.b, 0, 0, 0, barrier + 1);  // another box
  }
  if (args.number == 8) mbarrier_wait(barrier + 1, 0);
  if (args.number == 6) {
    wgmma_wait<1>(d);
  } else if (args.number != 7) {
    wgmma_wait<0>(d);
  }
  const int lane = threadIdx.x % kWarp;
  float* out = result<float>(args) + (threadIdx.x / kWarp * 16 + lane / 4) * kColumns;
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
    const int column = 8 * j + lane % 4 * 2;
    out[column] = d[4 * j], out[column + 1] = d[4 * j + 1];
    out[8 * kColumns + column] = d[4 * j + 2], out[8 * kColumns + column + 1] = d[4 * j + 3];
  }
  if (args.number == 6) wgmma_wait<0>(d);
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(test_box, HopperArgs, 128) { box(args); }
MK_KERNEL(test_grid_box, HopperArgs, 128) { grid_box(args); }

// test_product_<how>_<columns>_<a><b>: the axis that is contiguous, k or rows.
MK_KERNEL(test_product_bf16_256_kk, HopperArgs, 128) {
  product<Wgmma::bf16, 256, false, false>(args);
}
MK_KERNEL(test_product_bf16_256_kr, HopperArgs, 128) {
  product<Wgmma::bf16, 256, false, true>(args);
}
MK_KERNEL(test_product_bf16_64_rk, HopperArgs, 128) { product<Wgmma::bf16, 64, true, false>(args); }
MK_KERNEL(test_product_f16_128_rr, HopperArgs, 128) { product<Wgmma::f16, 128, true, true>(args); }
MK_KERNEL(test_product_f16_64_kk, HopperArgs, 128) { product<Wgmma::f16, 64, false, false>(args); }
MK_KERNEL(test_product_tf32_128_kk, HopperArgs, 128) {
  product<Wgmma::tf32, 128, false, false>(args);
}

// Numbers go round between two halves of a block through one place, by turns.
MK_KERNEL(test_turns, HopperArgs, 256) {
  uint64_t* full = shared<uint64_t>();
  uint64_t* empty = full + 1;
  uint32_t* place = reinterpret_cast<uint32_t*>(full + 2);
  if (threadIdx.x == 0) {
    mbarrier_init(full, 128);
    mbarrier_init(empty, 128);
  }
  __syncthreads();
  const int me = threadIdx.x % 128;
  for (int turn = 0; turn < args.x; ++turn) {
    if (threadIdx.x < 128) {
      mbarrier_wait(empty, turn % 2 ^ 1);
      place[me] = turn * 1000 + me;
      mbarrier_arrive(full);
    } else {
      mbarrier_wait(full, turn % 2);
      result<uint32_t>(args)[turn * 128 + me] = place[127 - me];
      mbarrier_arrive(empty);
    }
  }
}

// Waits for what nobody has made.
MK_KERNEL(test_no_barrier, HopperArgs, 32) { mbarrier_wait(shared<uint64_t>(), 0); }

// Arrives once more while the bytes of the phase are still to come.
MK_KERNEL(test_arrivals, HopperArgs, 32) {
  uint64_t* barrier = barriers_behind(0, 1);
  if (threadIdx.x == 0) mbarrier_arrive_expect(barrier, 16);
  if (threadIdx.x == 0) mbarrier_arrive(barrier);
}

// Leaves with a copy under way.
MK_KERNEL(test_leaves, HopperArgs, 32) {
  uint64_t* barrier = barriers_behind(kARowBytes, 1);
  if (threadIdx.x == 0) copy_box(shared<unsigned char>(), args.a, 0, 0, 0, barrier);
}
