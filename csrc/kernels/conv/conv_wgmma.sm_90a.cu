// Convolution of float16 and bfloat16 images, and of float32 rounded to tf32 (by the copy engine),
// on compute capability 9.0, forward and backward with respect to the input:
//   result[pixel, column] = act(sum over taps and channels of source weights + bias[column])
//
// The pixels of an image are cut into patches of 8 x 8 (or 16 x 4, 32 x 2, 64 x 1), 64 rows of a
// product of a warpgroup. A block takes tiles one after the other: 4 or 2 patches, wherever they
// lie, by 128 or 64 columns, 8 tiles of patches before the next column of tiles. One warp has the
// copy engine bring what the two warpgroups multiply into two rings in shared memory, lines of 128
// bytes, 64 channels (32 of tf32, everywhere below):
//   source:  a box of the image for each patch, at a tap; what lies outside the image comes as
//            zeros. Patches are 8 k pixels wide, so that a step down of one pixel moves the box by
//            whole blocks of 8 lines: with stride 1 the taps along h read the same box, some rows
//            taller, one after the other. 3x3 brings 3 x 10 x 8 pixels a patch in place of 9 x 64.
//   weights: the columns of the tile at a tap, as conv_arrange.cu leaves them.
// The products that share a box of the source are a group: those of 64 channels at one place of the
// axes d and w. The order of a sum is groups (d, then h where its taps share nothing, then w, then
// channels), the taps along h, channels. Long sums are cut into splits of whole groups, whose sums
// are added from the first to the last: by conv_reduce, or where there are enough tiles by the
// block itself. Neither tile nor batch changes the order.
//
// 256 pixels x 128 columns of 64 channels are 4.2 Mflop, 1024 clocks of the tensor cores, for 29
// KiB of copies with 3x3 (48 without what the taps share): 29 bytes a clock of the some 33 that a
// multiprocessor gets from L2 when all ask. Products of 128 columns read 96 of the 128 bytes a
// clock of shared memory, those of 64 columns all of them. Rings take up to 208 KiB, sums on their
// way 18. A thread has 128 sums in the large tile, 64 and as many totals in the others.
#include "cuda/half.h"
#include "cuda/product.h"
#include "kernels/conv/conv.cuda.h"
#include "kernels/conv/conv_wgmma.cuh"

namespace medkern::cuda {

// A warp's 16 x 64 results on their way, in lines of 72, so that writing pairs meets in no bank.
constexpr int kChunkLine = 72;
constexpr int kChunkBytes = kConsumerWarps * 16 * kChunkLine * 2;

template <Wgmma kHow>
struct ElementOf {
  using Type = bfloat16;
};
template <>
struct ElementOf<Wgmma::f16> {
  using Type = float16;
};
template <>
struct ElementOf<Wgmma::tf32> {
  using Type = float;
};
template <Wgmma kHow>
constexpr int kLineChannels = kHow == Wgmma::tf32 ? 32 : 64;

// A piece of work: the classes of its pixels, its first patch and column, and its groups.
struct ConvWork {
  const ConvAxisClass &d, &h, &w;
  int patch, column, split, begin, end;
};

template <int kTilePatches, int kColumns>
MK_INLINE ConvWork work_of(const ConvWgmmaArgs& p, uint32_t number) {
  uint32_t part = number;
  const uint32_t tile = p.tile_counts.take(part);
  const int split = p.split_counts.take(part);
  const int cw = part % p.classes[2], ch = part / p.classes[2] % p.classes[1];
  const ConvAxisClass& d = p.axis[0][part / p.classes[2] / p.classes[1]];
  const ConvAxisClass &h = p.axis[1][ch], &w = p.axis[2][cw];
  const TilePlace at = tile_place(p.patches, p.columns, kTilePatches, kColumns, tile);
  const int h_taps = p.shared_rows && h.taps > 0 ? 1 : h.taps;
  const int groups = d.taps * h_taps * w.taps * p.steps, begin = split * p.block_groups;
  return {
      d,         h,     w,     at.row,
      at.column, split, begin, groups - begin < p.block_groups ? groups : begin + p.block_groups};
}

// The barriers of the rings, behind all else, and those of the warpgroups.
struct Barriers {
  uint64_t *a_full, *a_empty, *b_full, *b_empty, *together;
};

// The four warps of a warpgroup.
struct Team {
  uint64_t* barrier;
  uint32_t parity;
  // Waits for the others.
  MK_INLINE void meet() {
    __syncwarp();
    if (threadIdx.x % kWarp == 0) mbarrier_arrive(barrier);
    mbarrier_wait(barrier, parity);
    parity ^= 1;
  }
};

template <Wgmma kHow, int kPatches, int kColumns>
MK_INLINE void copy_all(const ConvWgmmaArgs& p, unsigned char* a_ring, unsigned char* b_ring,
                        const Barriers& barriers) {
  constexpr int kTilePatches = 2 * kPatches, kWeightBytes = kColumns * kLine;
  prefetch_tensor(p.source);
  prefetch_tensor(p.weights);
  Turn a_turn, b_turn;
  for (uint32_t number = blockIdx.x; number < p.work; number += gridDim.x) {
    const ConvWork work = work_of<kTilePatches, kColumns>(p, number);
    int x[kTilePatches], y[kTilePatches], z[kTilePatches], image[kTilePatches];
#pragma unroll
    for (int i = 0; i < kTilePatches; ++i) {
      const Patch at = patch_of(p, work.patch + i);
      x[i] = work.w.in_first + at.w * work.w.in_step;
      y[i] = work.h.in_first + at.h * work.h.in_step;
      z[i] = work.d.in_first + at.d * work.d.in_step;
      image[i] = at.image;
    }
    for (int group = work.begin; group < work.end; ++group) {
      uint32_t rest = group;
      const int channel = p.step_counts.take(rest) * kLineChannels<kHow>;
      const int uw = work.w.tap_counts.take(rest);
      const int uh = p.shared_rows ? 0 : work.h.tap_counts.take(rest);
      const int ud = rest;
      uint64_t* a_full = barriers.a_full + a_turn.stage;
      unsigned char* to = a_ring + a_turn.stage * kTilePatches * p.copy_bytes;
      mbarrier_wait(barriers.a_empty + a_turn.stage, a_turn.parity ^ 1);
      mbarrier_arrive_expect(a_full, kTilePatches * p.copy_bytes);
#pragma unroll
      for (int i = 0; i < kTilePatches; ++i) {
        copy_box(to + i * p.copy_bytes, p.source, channel, x[i] + uw * work.w.in_tap_step,
                 y[i] + uh * work.h.in_tap_step, z[i] + ud * work.d.in_tap_step, image[i], a_full);
      }
      a_turn.next(p.a_stages);
      const int taps = p.shared_rows ? work.h.taps : 1;
      const int plane = (work.d.tap_first + ud * work.d.tap_step) * p.kernel[1];
      const int column = work.w.tap_first + uw * work.w.tap_step;
      for (int i = 0; i < taps; ++i) {
        const int row = work.h.tap_first + (uh + i) * work.h.tap_step;
        uint64_t* b_full = barriers.b_full + b_turn.stage;
        mbarrier_wait(barriers.b_empty + b_turn.stage, b_turn.parity ^ 1);
        mbarrier_arrive_expect(b_full, kWeightBytes);
        copy_box(b_ring + b_turn.stage * kWeightBytes, p.weights, channel,
                 (plane + row) * p.kernel[2] + column, work.column, 0, 0, b_full);
        b_turn.next(p.b_stages);
      }
    }
  }
}

// A row of a patch: its place in the result and among all pixels, or none.
struct PixelPlace {
  int64_t at;
  int pixel;
  bool inside;
};
MK_INLINE PixelPlace place_of(const ConvWgmmaArgs& p, const ConvWork& work, const Patch& patch,
                              int row) {
  const int down = row >> p.patch_shift, h = patch.h + down;
  const int w = patch.w + row - (down << p.patch_shift);
  const bool inside =
      patch.image < p.images && patch.d < work.d.count && h < work.h.count && w < work.w.count;
  const int64_t at = patch.image * p.result.stride_n +
                     (work.d.out_first + int64_t{patch.d} * work.d.out_step) * p.result.stride[0] +
                     (work.h.out_first + int64_t{h} * work.h.out_step) * p.result.stride[1] +
                     (work.w.out_first + int64_t{w} * work.w.out_step) * p.result.stride[2];
  const int pixel = ((patch.image * work.d.count + patch.d) * work.h.count + h) * work.w.count + w;
  return {at, pixel, inside};
}

// Sums of the pixels of a patch, to be added up by conv_reduce.
template <int kCount>
MK_INLINE void store_sums(const ConvWgmmaArgs& p, const ConvWork& work, const Patch& patch,
                          const float (&d)[kCount]) {
  const int lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp % 4 * 16 + lane / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const PixelPlace to = place_of(p, work, patch, row + 8 * half);
    if (!to.inside) continue;
    float* sums =
        static_cast<float*>(p.partial) + (int64_t{work.split} * p.pixels + to.pixel) * p.columns;
#pragma unroll
    for (int j = 0; j < kCount / 4; ++j) {
      const int column = work.column + 8 * j + lane % 4 * 2;
      if (column < p.columns) sums[column] = d[4 * j + 2 * half];
      if (column + 1 < p.columns) sums[column + 1] = d[4 * j + 2 * half + 1];
    }
  }
}

template <class Element>
MK_INLINE float bias_of(const ConvWgmmaArgs& p, int column) {
  if (p.bias == nullptr || column >= p.columns) return 0;
  return p.half_bias ? float(static_cast<const Element*>(p.bias)[column])
                     : static_cast<const float*>(p.bias)[column];
}

// Results of a patch in float32, as the threads hold them: whole sectors of 32 bytes.
template <int kCount>
MK_INLINE void store_floats(const ConvWgmmaArgs& p, const ConvWork& work, const Patch& patch,
                            const float (&d)[kCount]) {
  const int lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp % 4 * 16 + lane / 4;
  const float least = p.relu ? 0 : -INFINITY;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const PixelPlace place = place_of(p, work, patch, row + 8 * half);
    if (!place.inside) continue;
    float* result = static_cast<float*>(p.result.data) + place.at;
#pragma unroll
    for (int j = 0; j < kCount / 4; ++j) {
      const int column = work.column + 8 * j + lane % 4 * 2;
      float v[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        v[i] = d[4 * j + 2 * half + i] + bias_of<float>(p, column + i);
        if (v[i] < least) v[i] = 0;
      }
      if (p.vectors && column < p.columns) {
        *reinterpret_cast<float2*>(result + column) = make_float2(v[0], v[1]);
        continue;
      }
      if (column < p.columns) result[column * p.result.stride_c] = v[0];
      if (column + 1 < p.columns) result[(column + 1) * p.result.stride_c] = v[1];
    }
  }
}

// The moments of 64 columns of a patch (kernels/moments.h), of the values in the chunks of its four
// warps: as in conv_store.cuh, with an origin for the 16 rows of each warp.
template <class Element>
MK_INLINE void store_moments(const ConvWgmmaArgs& p, int patch, int column, uint16_t* chunk,
                             Team& team) {
  constexpr int kRows = 16, kPixels = 64, kStep = kRows * kChunkLine / 2;  // floats of a chunk
  const int lane = threadIdx.x % kWarp, own = threadIdx.x % 128;
  const uint32_t* pairs = reinterpret_cast<const uint32_t*>(chunk) + lane;
  float origin[2], s[2] = {}, q[2] = {};
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const uint32_t pair = pairs[row * (kChunkLine / 2)];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      Element x;
      x.bits = static_cast<uint16_t>(pair >> (16 * i));
      const float value = x;
      if (row == 0) origin[i] = value;
      const float d = value - origin[i];
      s[i] += d;
      q[i] = fma(d, d, q[i]);
    }
  }
  __syncwarp();
  float* sums = reinterpret_cast<float*>(chunk);  // [origin, s, q][column]
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    sums[2 * lane + i] = origin[i];
    sums[kPixels + 2 * lane + i] = s[i];
    sums[2 * kPixels + 2 * lane + i] = q[i];
  }
  team.meet();
  if (own < 64 && column + own < p.columns && patch < p.patches) {
    const float* from = sums - own / kWarp * kStep + own;
    double sum = 0, squares = 0;
    for (int w = 0; w < 4; ++w) {
      const double d = static_cast<double>(from[w * kStep]) - from[0];
      const double part = from[w * kStep + kPixels];
      sum += part + kRows * d;
      squares += from[w * kStep + 2 * kPixels] + d * (2 * part + kRows * d);
    }
    const double m2 = squares - sum * sum / kPixels;
    double* to = p.moments + int64_t{patch} * 2 * p.columns + column + own;
    to[0] = from[0] + sum / kPixels;
    to[p.columns] = m2 < 0 ? 0 : m2;
  }
  team.meet();
}

// The results of a patch. Which sums a thread holds: cuda/hopper.h. `chunk` is the warp's own: 16
// rows of the patch by 64 columns.
template <class Element, int kCount>
MK_INLINE void store_results(const ConvWgmmaArgs& p, const ConvWork& work, int number,
                             const Patch& patch, const float (&d)[kCount], uint16_t* chunk,
                             Team& team) {
  const int lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp % 4 * 16;
  uint16_t* result = static_cast<uint16_t*>(p.result.data);
  // A thread's rows are lane / 8 and every fourth after it, with 8 columns of each; or the one row
  // lane % 16 with every other column, so that threads go along w.
  constexpr int kRows = 4;
  int64_t places[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const PixelPlace to =
        place_of(p, work, patch, row + (p.vectors ? lane / 8 + 4 * r : lane % 16));
    places[r] = to.inside ? to.at : -1;
  }
  const float least = p.relu ? 0 : -INFINITY;
  uint16_t* mine = chunk + lane / 4 * kChunkLine + lane % 4 * 2;
#pragma unroll
  for (int begin = 0; begin < kCount / 4; begin += 8) {
    const int column = work.column + 8 * begin;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int pair = column + 8 * j + lane % 4 * 2;
      const float bias[2] = {bias_of<Element>(p, pair), bias_of<Element>(p, pair + 1)};
      float v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        v[i] = d[4 * (begin + j) + i] + bias[i % 2];
        if (v[i] < least) v[i] = 0;
      }
      *reinterpret_cast<uint32_t*>(mine + 8 * j) = rounded_pair<Element>(v[0], v[1]);
      *reinterpret_cast<uint32_t*>(mine + 8 * kChunkLine + 8 * j) =
          rounded_pair<Element>(v[2], v[3]);
    }
    __syncwarp();
    if (p.vectors) {
      const int first = lane % 8 * 8;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (places[r] < 0 || column + first >= p.columns) continue;
        *reinterpret_cast<uint4*>(result + places[r] + column + first) =
            *reinterpret_cast<const uint4*>(chunk + (lane / 8 + 4 * r) * kChunkLine + first);
      }
    } else if (places[0] >= 0) {
#pragma unroll 1
      for (int j = lane / 16; j < 64 && column + j < p.columns; j += 2) {
        result[places[0] + (column + j) * p.result.stride_c] = chunk[lane % 16 * kChunkLine + j];
      }
    }
    if (p.moments != nullptr) store_moments<Element>(p, number, column, chunk, team);
    __syncwarp();
  }
}

// kPatches: of a warpgroup.
template <Wgmma kHow, int kPatches, int kColumns>
MK_INLINE void multiply_all(const ConvWgmmaArgs& p, unsigned char* a_ring, unsigned char* b_ring,
                            unsigned char* chunks, const Barriers& barriers) {
  constexpr int kTilePatches = 2 * kPatches, kSums = kColumns / 2;
  constexpr bool kTotals = kPatches * kSums <= 64;  // there are registers for them
  using Element = typename ElementOf<kHow>::Type;
  const int mine = threadIdx.x / 128 * kPatches;  // patches of the tile
  const uint32_t a_begin = shared_address(a_ring) + mine * p.copy_bytes;
  const uint32_t b_begin = shared_address(b_ring);
  uint16_t* chunk = reinterpret_cast<uint16_t*>(chunks) + threadIdx.x / kWarp * 16 * kChunkLine;
  const bool tells = threadIdx.x % kWarp == 0;
  Turn a_turn, b_turn;
  Team team = {barriers.together + threadIdx.x / 128, 0};
  for (uint32_t number = blockIdx.x; number < p.work; number += gridDim.x) {
    const ConvWork work = work_of<kTilePatches, kColumns>(p, number);
    const int taps = p.shared_rows ? work.h.taps : 1;
    const uint32_t down = (work.h.in_tap_step << p.patch_shift) * kLine;  // from a tap to the next
    float d[kPatches][kSums], totals[kPatches][kTotals ? kSums : 1] = {};
    int group = work.begin;
    do {
      int end = group + p.split_groups;
      if (end > work.end) end = work.end;
#pragma unroll
      for (int i = 0; i < kPatches; ++i) {
#pragma unroll
        for (int j = 0; j < kSums; ++j) d[i][j] = 0;
      }
      int a_before = -1, b_before = -1;
      for (; group < end; ++group) {
        mbarrier_wait(barriers.a_full + a_turn.stage, a_turn.parity);
        const uint32_t a_stage = a_begin + a_turn.stage * kTilePatches * p.copy_bytes;
        for (int tap = 0; tap < taps; ++tap) {
          mbarrier_wait(barriers.b_full + b_turn.stage, b_turn.parity);
          const uint32_t a_at = a_stage + tap * down;
          const uint32_t b_at = b_begin + b_turn.stage * kColumns * kLine;
          wgmma_fence();
#pragma unroll
          for (int step = 0; step < 4; ++step) {
#pragma unroll
            for (int i = 0; i < kPatches; ++i) {
              wgmma<kHow, false, false>(d[i],
                                        wgmma_operand(a_at + i * p.copy_bytes + step * 32, 0, 1024),
                                        wgmma_operand(b_at + step * 32, 0, 1024), true);
            }
          }
          wgmma_commit();
          if (b_before >= 0) {
            wgmma_wait<1>();
            if (tells) {
              mbarrier_arrive(barriers.b_empty + b_before);
              if (a_before >= 0) mbarrier_arrive(barriers.a_empty + a_before);
            }
          }
          b_before = b_turn.stage;
          a_before = tap == taps - 1 ? a_turn.stage : -1;
          b_turn.next(p.b_stages);
        }
        a_turn.next(p.a_stages);
      }
#pragma unroll
      for (int i = 0; i < kPatches; ++i) wgmma_wait<0>(d[i]);
      if (tells && b_before >= 0) {
        mbarrier_arrive(barriers.b_empty + b_before);
        mbarrier_arrive(barriers.a_empty + a_before);
      }
      if constexpr (kTotals) {
#pragma unroll
        for (int i = 0; i < kPatches; ++i) {
#pragma unroll
          for (int j = 0; j < kSums; ++j) totals[i][j] += d[i][j];
        }
      }
    } while (group < work.end);
    const auto store = [&](auto& sums) {
#pragma unroll
      for (int i = 0; i < kPatches; ++i) {
        const Patch patch = patch_of(p, work.patch + mine + i);
        if (p.partial != nullptr) {
          store_sums(p, work, patch, sums[i]);
        } else if constexpr (kHow == Wgmma::tf32) {
          store_floats(p, work, patch, sums[i]);
        } else {
          store_results<Element>(p, work, work.patch + mine + i, patch, sums[i], chunk, team);
        }
      }
    };
    if constexpr (kTotals) {
      store(totals);
    } else {
      store(d);
    }
  }
}

template <Wgmma kHow, int kPatches, int kColumns>
MK_INLINE void conv_wgmma(const ConvWgmmaArgs& p) {
  constexpr int kTilePatches = 2 * kPatches;
  unsigned char* a_ring = shared<unsigned char>();
  unsigned char* b_ring = a_ring + p.a_stages * kTilePatches * p.copy_bytes;
  unsigned char* chunks = b_ring + p.b_stages * kColumns * kLine;
  Barriers barriers;
  barriers.a_full = reinterpret_cast<uint64_t*>(chunks + kChunkBytes);
  barriers.a_empty = barriers.a_full + p.a_stages;
  barriers.b_full = barriers.a_empty + p.a_stages;
  barriers.b_empty = barriers.b_full + p.b_stages;
  barriers.together = barriers.b_empty + p.b_stages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) mbarrier_init(barriers.together + i, 4);
    for (int i = 0; i < p.a_stages; ++i) {
      mbarrier_init(barriers.a_full + i, 1);
      mbarrier_init(barriers.a_empty + i, kConsumerWarps);
    }
    for (int i = 0; i < p.b_stages; ++i) {
      mbarrier_init(barriers.b_full + i, 1);
      mbarrier_init(barriers.b_empty + i, kConsumerWarps);
    }
    fence_proxy_async();
  }
  __syncthreads();
  if (threadIdx.x / 128 == 2) {
    give_registers<kCopyRegisters>();
    if (threadIdx.x == kThreads - 128) {
      copy_all<kHow, kPatches, kColumns>(p, a_ring, b_ring, barriers);
    }
  } else {
    take_registers<kProductRegisters>();
    multiply_all<kHow, kPatches, kColumns>(p, a_ring, b_ring, chunks, barriers);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

// conv_wgmma_<how>_<pixels>_<columns>
MK_KERNEL(conv_wgmma_bf16_256_128, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::bf16, 2, 128>(args);
}
MK_KERNEL(conv_wgmma_bf16_256_64, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::bf16, 2, 64>(args);
}
MK_KERNEL(conv_wgmma_bf16_128_128, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::bf16, 1, 128>(args);
}
MK_KERNEL(conv_wgmma_bf16_128_64, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::bf16, 1, 64>(args);
}
MK_KERNEL(conv_wgmma_f16_256_128, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::f16, 2, 128>(args);
}
MK_KERNEL(conv_wgmma_f16_256_64, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::f16, 2, 64>(args);
}
MK_KERNEL(conv_wgmma_f16_128_128, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::f16, 1, 128>(args);
}
MK_KERNEL(conv_wgmma_f16_128_64, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::f16, 1, 64>(args);
}
MK_KERNEL(conv_wgmma_tf32_256_128, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::tf32, 2, 128>(args);
}
MK_KERNEL(conv_wgmma_tf32_256_64, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::tf32, 2, 64>(args);
}
MK_KERNEL(conv_wgmma_tf32_128_128, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::tf32, 1, 128>(args);
}
MK_KERNEL(conv_wgmma_tf32_128_64, ConvWgmmaArgs, kThreads, 1) {
  conv_wgmma<Wgmma::tf32, 1, 64>(args);
}
