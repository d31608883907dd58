// One kernel for each of the things that device code is made of, for test_emulator.py.
#include "cuda/device.h"

namespace medkern::cuda {

struct TestArgs {
  const void *a, *b;
  void* out;
  int64_t count;
  int32_t number;
};

template <class T>
MK_INLINE const T* first(const TestArgs& args) {
  return static_cast<const T*>(args.a);
}
template <class T>
MK_INLINE const T* second(const TestArgs& args) {
  return static_cast<const T*>(args.b);
}
template <class T>
MK_INLINE T* result(const TestArgs& args) {
  return static_cast<T*>(args.out);
}

// All four shuffles of a warp's values, in segments of `number` lanes.
template <class T>
MK_INLINE void shuffle(const TestArgs& args) {
  const int lane = threadIdx.x % 32, width = args.number;
  const T value = first<T>(args)[threadIdx.x];
  T* out = result<T>(args) + threadIdx.x * 4;
  out[0] = __shfl_sync(kAllLanes, value, lane * 7 + 3, width);
  out[1] = __shfl_up_sync(kAllLanes, value, 3, width);
  out[2] = __shfl_down_sync(kAllLanes, value, 5, width);
  out[3] = __shfl_xor_sync(kAllLanes, value, 9, width);
}

// d = a b for a (16, Depth), b (Depth, 8) of 32-bit words (tf32) or pairs of 16 bits along k.
template <int Kind>
MK_INLINE void product(const TestArgs& args) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint32_t *a = first<uint32_t>(args), *b = second<uint32_t>(args);
  uint32_t fa[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4]};
  // b as (8 columns, 8 words along k)
  uint32_t fb[2] = {b[g * 8 + t], b[g * 8 + t + 4]};
  float* out = result<float>(args);
  float d[4] = {out[g * 8 + 2 * t], out[g * 8 + 2 * t + 1], out[(g + 8) * 8 + 2 * t],
                out[(g + 8) * 8 + 2 * t + 1]};
  if (Kind == 0) mma_tf32(d, fa, fb);
  if (Kind == 1) mma_bf16(d, fa, fb);
  if (Kind == 2) mma_f16(d, fa, fb);
  out[g * 8 + 2 * t] = d[0], out[g * 8 + 2 * t + 1] = d[1];
  out[(g + 8) * 8 + 2 * t] = d[2], out[(g + 8) * 8 + 2 * t + 1] = d[3];
}

// Sums of blocks of 128 values through a ring of `Stages` copies in flight; beyond `count` zeros.
template <int Stages>
MK_INLINE void ring(const TestArgs& args) {
  float* s = shared<float>();
  const int steps = args.number;
  auto fetch = [&](int step) {
    if (step < steps) {
      const int64_t at = int64_t{step} * 128 + threadIdx.x * 4;
      cp_async16(s + step % Stages * 128 + threadIdx.x * 4, first<float>(args) + at,
                 at < args.count);
    }
    cp_async_commit();
  };
  for (int step = 0; step < Stages - 1; ++step) fetch(step);
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<Stages - 2>();
    __syncthreads();
    fetch(step + Stages - 1);
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += s[step % Stages * 128 + (threadIdx.x + i * 32) % 128];
    result<float>(args)[step * 32 + threadIdx.x] = sum;
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(test_places, TestArgs, 256) {
  const uint32_t thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const uint32_t block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const uint32_t threads = blockDim.x * blockDim.y * blockDim.z;
  result<uint32_t>(args)[block * threads + thread] = threadIdx.x + 10 * threadIdx.y +
                                                     100 * threadIdx.z + 1000 * blockIdx.x +
                                                     10000 * blockIdx.y + 100000 * blockIdx.z;
}

MK_KERNEL(test_shuffle_i32, TestArgs, 64) { shuffle<int32_t>(args); }
MK_KERNEL(test_shuffle_u32, TestArgs, 64) { shuffle<uint32_t>(args); }
MK_KERNEL(test_shuffle_f32, TestArgs, 64) { shuffle<float>(args); }
MK_KERNEL(test_shuffle_f64, TestArgs, 64) { shuffle<double>(args); }
MK_KERNEL(test_shuffle_i64, TestArgs, 64) { shuffle<int64_t>(args); }

MK_KERNEL(test_votes, TestArgs, 64) {
  const int value = first<int32_t>(args)[threadIdx.x];
  uint32_t* out = result<uint32_t>(args) + threadIdx.x * 6;
  out[0] = __ballot_sync(kAllLanes, value > 0);
  out[1] = static_cast<uint32_t>(__any_sync(kAllLanes, value > 5) != 0);
  out[2] = static_cast<uint32_t>(__all_sync(kAllLanes, value > -5) != 0);
  out[3] = static_cast<uint32_t>(__syncthreads_count(value > 0));
  out[4] = static_cast<uint32_t>(__syncthreads_or(value > 5) != 0);
  out[5] = static_cast<uint32_t>(__syncthreads_and(value > -5) != 0);
}

// Half of the lanes shuffle among themselves.
MK_KERNEL(test_half_warp, TestArgs, 32) {
  int value = static_cast<int>(threadIdx.x);
  if (threadIdx.x % 2 == 0) value = __shfl_xor_sync(0x55555555u, value, 2);
  __syncwarp();
  result<int32_t>(args)[threadIdx.x] = value;
}

MK_KERNEL(test_atomics, TestArgs, 256) {
  const int32_t value = first<int32_t>(args)[blockIdx.x * blockDim.x + threadIdx.x];
  int32_t* out = result<int32_t>(args);
  atomicAdd(&out[0], value);
  atomicMax(&out[1], value);
  atomicMin(&out[2], value);
  atomicOr(&out[3], 1 << (value & 31));
  atomicCAS(&out[4], 0, 5);
  atomicAdd(reinterpret_cast<unsigned long long*>(out + 6), static_cast<unsigned long long>(value)
                                                                << 32);
  atomicAdd(reinterpret_cast<uint32_t*>(&out[5]), 1u);
}

// The places of the values are those of the threads in the order they run in.
MK_KERNEL(test_order, TestArgs, 256) {
  const uint32_t place = atomicAdd(const_cast<uint32_t*>(second<uint32_t>(args)), 1u);
  result<int32_t>(args)[place] = first<int32_t>(args)[blockIdx.x * blockDim.x + threadIdx.x];
}

// Reverses a block's values, twice, through one place.
MK_KERNEL(test_barrier, TestArgs, 256) {
  float* s = shared<float>();
  s[threadIdx.x] = first<float>(args)[threadIdx.x];
  for (int i = 0; i < args.number; ++i) {
    __syncthreads();
    const float other = s[blockDim.x - 1 - threadIdx.x];
    __syncthreads();
    s[threadIdx.x] = other + 1;
  }
  result<float>(args)[threadIdx.x] = s[threadIdx.x];
}

MK_KERNEL(test_product_tf32, TestArgs, 32) { product<0>(args); }
MK_KERNEL(test_product_bf16, TestArgs, 32) { product<1>(args); }
MK_KERNEL(test_product_f16, TestArgs, 32) { product<2>(args); }

// Four 8x8 matrices of 16 bits, rows one after the other; then the same transposed.
MK_KERNEL(test_load_matrix, TestArgs, 32) {
  uint4* s = shared<uint4>();
  s[threadIdx.x] = first<uint4>(args)[threadIdx.x];
  __syncwarp();
  uint32_t plain[4], transposed[4];
  ldmatrix_x4(plain, s + threadIdx.x);
  ldmatrix_x4_trans(transposed, s + threadIdx.x);
  for (int i = 0; i < 4; ++i) {
    result<uint32_t>(args)[i * 32 + threadIdx.x] = plain[i];
    result<uint32_t>(args)[(4 + i) * 32 + threadIdx.x] = transposed[i];
  }
}

MK_KERNEL(test_ring, TestArgs, 32) { ring<3>(args); }

MK_KERNEL(test_small_copies, TestArgs, 32) {
  float* s = shared<float>();
  cp_async4(s + threadIdx.x, first<float>(args) + threadIdx.x, threadIdx.x < 20);
  cp_async8(s + 32 + 2 * threadIdx.x, first<float>(args) + 2 * threadIdx.x, threadIdx.x < 16);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  for (int i = 0; i < 3; ++i) result<float>(args)[i * 32 + threadIdx.x] = s[i * 32 + threadIdx.x];
}

// Each round every block adds its left neighbor's last value to its own; `b` is the counter.
MK_KERNEL(test_grid_barrier, TestArgs, 64) {
  uint32_t passed = 0;
  uint32_t* arrived = const_cast<uint32_t*>(second<uint32_t>(args));
  int32_t* out = result<int32_t>(args);
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<int32_t>(blockIdx.x);
  for (int round = 0; round < args.number; ++round) {
    grid_barrier(arrived, passed);
    const int32_t left = out[(blockIdx.x + gridDim.x - 1) % gridDim.x];
    grid_barrier(arrived, passed);
    if (threadIdx.x == 0) out[blockIdx.x] += left;
  }
}

MK_KERNEL(test_rounding, TestArgs, 256) {
  const float x = first<float>(args)[threadIdx.x];
  uint32_t* out = result<uint32_t>(args) + 3 * threadIdx.x;
  out[0] = to_tf32(x), out[1] = to_bf16x2(x, 0), out[2] = to_f16x2(0, x);
}

MK_KERNEL(test_arithmetic, TestArgs, 256) {
  const uint32_t x = first<uint32_t>(args)[threadIdx.x];
  const float f = __uint_as_float(x);
  uint32_t* out = result<uint32_t>(args) + 10 * threadIdx.x;
  out[0] = static_cast<uint32_t>(__popc(x));
  out[1] = static_cast<uint32_t>(__clz(static_cast<int>(x)));
  out[2] = static_cast<uint32_t>(__ffs(static_cast<int>(x)));
  out[3] = __umulhi(x, 0x9e3779b9u);
  out[4] = __brev(x);
  out[5] = __float_as_uint(max(f, 1.0f));
  out[6] = __float_as_uint(min(f, 1.0f));
  out[7] = static_cast<uint32_t>(min(static_cast<int>(x), 5));
  out[8] = max(x, 5u);
  out[9] = __byte_perm(x, 0x01234567u, 0x7210u);
}

MK_KERNEL(test_vectors, TestArgs, 256) {
  float4 v = load16(first<float>(args) + 4 * threadIdx.x);
  v = make_float4(v.w, v.z, v.y, v.x);
  store16(result<float>(args) + 4 * threadIdx.x, v);
}

MK_KERNEL(test_add, TestArgs, 256) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < args.count) result<float>(args)[i] = first<float>(args)[i] + 1;
}
