// Matrix product on compute capability 9.0: c[m, n] = act(sum over k of a[m, k] b[k, n] + bias[n])
// for many items, with operands of 16 bits or float32 rounded to tf32 (the copy engine rounds).
//
// A block takes tiles of c one after the other, 128 rows by 256, 128 or 64 columns, 8 tiles of rows
// before the next column of tiles. One warp has the copy engine bring slices, 128 bytes of k of
// both operands, into a ring of stages in shared memory, as far ahead as there is room: also while
// the others store the tile before. Two warpgroups multiply 64 rows each (wgmma), sums in their
// registers, one slice behind the copies and with the next products queued before the last are
// waited for. 16-bit operands are read along k or along their rows, as they lie; tf32 along k.
//
// A slice of 128 x 256 is 48 KiB of copies for 4.2 Mflop of bf16 (2.1 of tf32), 1024 clocks of the
// tensor cores at their peak: 48 of the 64 bytes a clock that a multiprocessor gets from L2. The
// ring takes 192 KiB of 227 (four stages of 128 x 256), sums on their way to c 20. A thread has 128
// sums and takes the 168 registers that 288 threads may have. Storing a tile costs about 3000
// clocks per 128 KiB (float32) in which nothing is multiplied: 4 % at k = 4096 for bf16. Tiles of
// 8192 x 8192 fill 132 blocks 15.5 times: 97 %. Published kernels of this form reach 80 to 95 % of
// cuBLAS; expect 550 to 650 Tflop/s of bf16 at 4096 and above (55 to 65 % of the peak), half of it
// for tf32. What must be packed first costs 6 bytes a number (float32 to bf16) or 8 (float32
// turned): 25 % of the product's time at 4096 for bf16, 8 % for tf32 with one operand turned.
//
// An element is summed over k in one order that neither the tile nor the item changes.
#include "cuda/half.h"
#include "cuda/hopper.h"
#include "cuda/product.h"
#include "kernels/gemm/gemm.cuda.h"

namespace medkern::cuda {

constexpr int kRowBytes = 128;  // of k, or of rows: what the swizzle spans
constexpr int kRows = 128;
// A warp's 16 x 32 sums on their way to c: rows of 40, so that writing pairs meets in no bank.
constexpr int kChunkRow = 40;
constexpr int kRingBytes = 192 << 10;
constexpr int kConsumerWarps = 8;
constexpr int kChunkBytes = kConsumerWarps * 16 * kChunkRow * 4;
constexpr int kThreads = 288;  // two warpgroups and a warp

template <Wgmma kHow>
constexpr int kSliceDepth = kHow == Wgmma::tf32 ? 32 : 64;

// The place in the ring: which stage, and the parity of its phase.
template <int kStages>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  MK_INLINE void next() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

// A tile's work: where it begins in c, which item, and which part of k in slices.
struct Work {
  int row, column, item, split, first, slices;
};

MK_INLINE Work work_of(const GemmWgmmaArgs& p, uint32_t number, int columns) {
  const uint32_t part = number / p.tiles;
  const TilePlace at = tile_place(p.m, p.n, kRows, columns, number - part * p.tiles);
  const int item = part / p.splits, split = part - item * p.splits, first = split * p.split_slices;
  const int left = p.slices - first;
  return {at.row, at.column, item, split, first, left < p.split_slices ? left : p.split_slices};
}

// Starts the copies of `kCount` rows from `row` on and a slice of k from `k` on.
template <int kCount, bool kByRows>
MK_INLINE void copy_slice(unsigned char* to, const TensorMap& tensor, int row, int k, int item,
                          uint64_t* barrier) {
  if constexpr (!kByRows) {
    copy_box(to, tensor, k, row, item, barrier);
  } else {
#pragma unroll
    for (int part = 0; part < kCount / 64; ++part) {
      copy_box(to + part * 64 * kRowBytes, tensor, row + part * 64, k, item, barrier);
    }
  }
}

MK_INLINE float number_at(const void* numbers, int i, GemmType type) {
  if (type == GemmType::f32) return static_cast<const float*>(numbers)[i];
  return type == GemmType::bf16 ? static_cast<const bfloat16*>(numbers)[i]
                                : static_cast<const float16*>(numbers)[i];
}

// The 16 rows from `row` on and 32 columns from `column` on of c, four columns of a row a thread.
MK_INLINE void store_chunk(const GemmWgmmaArgs& p, const float* chunk, int64_t begin, int row,
                           int column) {
  const int lane = threadIdx.x % kWarp, first = lane % 8 * 4;
  column += first;
  float bias[4] = {};
  if (p.bias != nullptr) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + i < p.n) bias[i] = number_at(p.bias, column + i, p.type);
    }
  }
#pragma unroll 1
  for (int r = lane / 8; r < 16; r += 4) {
    if (row + r >= p.m || column >= p.n) break;
    const float4 sums = load16(chunk + r * kChunkRow + first);
    float v[4] = {sums.x, sums.y, sums.z, sums.w};
    const int64_t at = begin + (row + r) * p.c_row + column;
    float* c = static_cast<float*>(p.c) + at;
    uint16_t* c16 = static_cast<uint16_t*>(p.c) + at;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[i] += bias[i];
      if (p.accumulate && column + i < p.n) v[i] += c[i];
      if (p.relu && v[i] < 0) v[i] = 0;
    }
    if (p.type == GemmType::f32) {
      if (p.vectors) {
        store16(c, {v[0], v[1], v[2], v[3]});
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (column + i < p.n) c[i] = v[i];
        }
      }
      continue;
    }
    const bool bf16 = p.type == GemmType::bf16;
    const uint2 two = bf16 ? make_uint2(to_bf16x2(v[0], v[1]), to_bf16x2(v[2], v[3]))
                           : make_uint2(to_f16x2(v[0], v[1]), to_f16x2(v[2], v[3]));
    if (p.vectors) {
      *reinterpret_cast<uint2*>(c16) = two;
      continue;
    }
    c16[0] = static_cast<uint16_t>(two.x);
    if (column + 1 < p.n) c16[1] = static_cast<uint16_t>(two.x >> 16);
    if (column + 2 < p.n) c16[2] = static_cast<uint16_t>(two.y);
    if (column + 3 < p.n) c16[3] = static_cast<uint16_t>(two.y >> 16);
  }
}

// Which sums d holds: cuda/hopper.h. `chunk` is the warp's own.
template <int kCount>
MK_INLINE void store_tile(const GemmWgmmaArgs& p, const Work& work, const float (&d)[kCount],
                          float* chunk) {
  const int lane = threadIdx.x % kWarp, row = work.row + threadIdx.x / kWarp * 16;
  const int64_t begin = work.item * p.c_item + work.split * p.c_split;
  float* mine = chunk + lane / 4 * kChunkRow + lane % 4 * 2;
#pragma unroll
  for (int j = 0; j < kCount / 4; j += 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* v = d + 4 * (j + i);
      *reinterpret_cast<float2*>(mine + 8 * i) = make_float2(v[0], v[1]);
      *reinterpret_cast<float2*>(mine + 8 * kChunkRow + 8 * i) = make_float2(v[2], v[3]);
    }
    __syncwarp();
    store_chunk(p, chunk, begin, row, work.column + 8 * j);
    __syncwarp();
  }
}

template <Wgmma kHow, int kColumns, bool kARows, bool kBRows>
MK_INLINE void gemm_wgmma(const GemmWgmmaArgs& p) {
  constexpr int kStageBytes = (kRows + kColumns) * kRowBytes;
  constexpr int kStages = kRingBytes / kStageBytes;
  unsigned char* ring = shared<unsigned char>();
  float* chunk = reinterpret_cast<float*>(ring + kRingBytes) + threadIdx.x / kWarp * 16 * kChunkRow;
  uint64_t* full = reinterpret_cast<uint64_t*>(ring + kRingBytes + kChunkBytes);
  uint64_t* empty = full + kStages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      mbarrier_init(full + i, 1);
      mbarrier_init(empty + i, kConsumerWarps);
    }
    fence_proxy_async();
  }
  __syncthreads();
  const uint32_t all = p.tiles * p.splits * p.items;
  Turn<kStages> turn;

  if (threadIdx.x / kWarp == kConsumerWarps) {
    if (threadIdx.x % kWarp != 0) return;
    prefetch_tensor(p.a);
    prefetch_tensor(p.b);
    for (uint32_t number = blockIdx.x; number < all; number += gridDim.x) {
      const Work work = work_of(p, number, kColumns);
      for (int s = 0; s < work.slices; ++s) {
        unsigned char* stage = ring + turn.stage * kStageBytes;
        uint64_t* barrier = full + turn.stage;
        const int k = (work.first + s) * kSliceDepth<kHow>;
        mbarrier_wait(empty + turn.stage, turn.parity ^ 1);
        mbarrier_arrive_expect(barrier, kStageBytes);
        copy_slice<kRows, kARows>(stage, p.a, work.row, k, p.a_moves ? work.item : 0, barrier);
        copy_slice<kColumns, kBRows>(stage + kRows * kRowBytes, p.b, work.column, k,
                                     p.b_moves ? work.item : 0, barrier);
        turn.next();
      }
    }
    return;
  }

  // From 64 rows to the next, and from 16 of k to the next (8 of tf32: 32 bytes).
  constexpr uint32_t kNext = 64 * kRowBytes;
  constexpr uint32_t kAStep = kARows ? 16 * kRowBytes : 32, kBStep = kBRows ? 16 * kRowBytes : 32;
  const uint32_t a_begin = shared_address(ring) + threadIdx.x / 128 * kNext;
  const uint32_t b_begin = shared_address(ring) + kRows * kRowBytes;
  const bool tells = threadIdx.x % kWarp == 0;
  for (uint32_t number = blockIdx.x; number < all; number += gridDim.x) {
    const Work work = work_of(p, number, kColumns);
    float d[kColumns / 2];
    int before = 0;
    for (int s = 0; s < work.slices; ++s) {
      mbarrier_wait(full + turn.stage, turn.parity);
      const uint32_t stage = turn.stage * kStageBytes;
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        wgmma<kHow, kARows, kBRows>(d, wgmma_operand(a_begin + stage + step * kAStep, kNext, 1024),
                                    wgmma_operand(b_begin + stage + step * kBStep, kNext, 1024),
                                    s > 0 || step > 0);
      }
      wgmma_commit();
      if (s > 0) {
        wgmma_wait<1>();
        if (tells) mbarrier_arrive(empty + before);
      }
      before = turn.stage;
      turn.next();
    }
    wgmma_wait<0>(d);
    if (tells) mbarrier_arrive(empty + before);
    store_tile(p, work, d, chunk);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

// gemm_wgmma_<how>_<columns>_<a><b>: k or r for the contiguous axis of an operand, k or its rows.
MK_KERNEL(gemm_wgmma_bf16_256_kk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 256, false, false>(args);
}
MK_KERNEL(gemm_wgmma_bf16_256_kr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 256, false, true>(args);
}
MK_KERNEL(gemm_wgmma_bf16_256_rk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 256, true, false>(args);
}
MK_KERNEL(gemm_wgmma_bf16_256_rr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 256, true, true>(args);
}
MK_KERNEL(gemm_wgmma_bf16_128_kk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 128, false, false>(args);
}
MK_KERNEL(gemm_wgmma_bf16_128_kr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 128, false, true>(args);
}
MK_KERNEL(gemm_wgmma_bf16_128_rk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 128, true, false>(args);
}
MK_KERNEL(gemm_wgmma_bf16_128_rr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 128, true, true>(args);
}
MK_KERNEL(gemm_wgmma_bf16_64_kk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 64, false, false>(args);
}
MK_KERNEL(gemm_wgmma_bf16_64_kr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 64, false, true>(args);
}
MK_KERNEL(gemm_wgmma_bf16_64_rk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 64, true, false>(args);
}
MK_KERNEL(gemm_wgmma_bf16_64_rr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::bf16, 64, true, true>(args);
}
MK_KERNEL(gemm_wgmma_f16_256_kk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 256, false, false>(args);
}
MK_KERNEL(gemm_wgmma_f16_256_kr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 256, false, true>(args);
}
MK_KERNEL(gemm_wgmma_f16_256_rk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 256, true, false>(args);
}
MK_KERNEL(gemm_wgmma_f16_256_rr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 256, true, true>(args);
}
MK_KERNEL(gemm_wgmma_f16_128_kk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 128, false, false>(args);
}
MK_KERNEL(gemm_wgmma_f16_128_kr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 128, false, true>(args);
}
MK_KERNEL(gemm_wgmma_f16_128_rk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 128, true, false>(args);
}
MK_KERNEL(gemm_wgmma_f16_128_rr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 128, true, true>(args);
}
MK_KERNEL(gemm_wgmma_f16_64_kk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 64, false, false>(args);
}
MK_KERNEL(gemm_wgmma_f16_64_kr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 64, false, true>(args);
}
MK_KERNEL(gemm_wgmma_f16_64_rk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 64, true, false>(args);
}
MK_KERNEL(gemm_wgmma_f16_64_rr, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::f16, 64, true, true>(args);
}
MK_KERNEL(gemm_wgmma_tf32_256_kk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::tf32, 256, false, false>(args);
}
MK_KERNEL(gemm_wgmma_tf32_128_kk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::tf32, 128, false, false>(args);
}
MK_KERNEL(gemm_wgmma_tf32_64_kk, GemmWgmmaArgs, kThreads, 1) {
  gemm_wgmma<Wgmma::tf32, 64, false, false>(args);
}
