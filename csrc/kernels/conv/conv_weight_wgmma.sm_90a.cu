// Gradient of the weights of float16 and bfloat16 convolutions on compute capability 9.0:
//   partial[split][row][tap][channel] = sum over the split's pixels of dy[pixel, row]
//                                       x[pixel at tap, channel]
//
// Pixels of dy are cut into patches of 64 (conv_wgmma.sm_90a.cu), which are the k of products of
// 64 rows, with both operands read along their rows, as they lie. A job is 64 or 128 channels of x
// at a tap or, with stride 1, at three taps along h, which read the same box of x, some rows
// taller. A block takes two jobs at once, one for each of two warpgroups: those of 128 rows, which
// share x, or two of 64 rows, which share dy. For each patch one thread has the copy engine bring
// both into a ring of stages in shared memory; pixels outside the images come as zeros, so what is
// infinite or not a number in x also shows at taps that reach beyond the edge of dy.
//
// Three taps of 128 x 128: 6.3 Mflop a patch, 1536 clocks of the tensor cores, for 36 KiB of
// copies, of which L2 gives some 33 bytes a clock; 96 sums of 64 x 64 each. A thread has up to 192
// sums of its 232 registers. The parts are added by conv_weight_reduce.
//
// An element is summed over its split's patches in order, by pixels; splits are cut by shape.
#include "cuda/divide.h"
#include "kernels/conv/conv.cuda.h"
#include "kernels/conv/conv_wgmma.cuh"

namespace medkern::cuda {

constexpr int kPatchBytes = 64 * kLine;

// How a block's two jobs lie: taps along h, blocks of 64 channels, and whether the jobs are of two
// blocks of rows.
template <int kTapCount, int kBlockCount, bool kPair>
struct Jobs {
  static constexpr int kTaps = kTapCount, kBlocks = kBlockCount;
  static constexpr bool kPairRows = kPair;
  static constexpr int kRowBlocks = kPair ? 2 : 1;           // of dy in a stage
  static constexpr int kBoxes = kBlocks * (3 - kRowBlocks);  // of x
};

// What a block sums: its first row, first job, split and patches.
struct WeightWork {
  int row, job, split, begin, end;
};
template <class J>
MK_INLINE WeightWork weight_work(const ConvWeightWgmmaArgs& p, uint32_t number) {
  WeightWork work;
  work.job = p.job_tiles.take(number) * (J::kPairRows ? 1 : 2);
  work.row = p.row_tiles.take(number) * J::kRowBlocks * kChannels;
  work.split = number;
  work.begin = number * p.split_patches;
  work.end = p.patches - work.begin < p.split_patches ? p.patches : work.begin + p.split_patches;
  return work;
}

// A job: its first channel and tap, beyond the last along d where there is none.
struct Job {
  int channel, d, h, w;
};
template <class J>
MK_INLINE Job job_of(const ConvWeightWgmmaArgs& p, uint32_t number) {
  Job job;
  job.channel = p.channel_blocks.take(number) * J::kBlocks * kChannels;
  job.w = p.taps_w.take(number);
  job.h = p.tap_sets.take(number) * J::kTaps;
  job.d = number;
  return job;
}

template <class J>
MK_INLINE void copy_patches(const ConvWeightWgmmaArgs& p, unsigned char* ring, uint64_t* full,
                            uint64_t* empty) {
  const uint32_t stage_bytes = J::kRowBlocks * kPatchBytes + J::kBoxes * p.copy_bytes;
  prefetch_tensor(p.dy);
  prefetch_tensor(p.x);
  Turn turn;
  for (uint32_t number = blockIdx.x; number < p.work; number += gridDim.x) {
    const WeightWork work = weight_work<J>(p, number);
    for (int patch = work.begin; patch < work.end; ++patch) {
      const Patch at = patch_of(p, patch);
      unsigned char* to = ring + turn.stage * stage_bytes;
      uint64_t* barrier = full + turn.stage;
      mbarrier_wait(empty + turn.stage, turn.parity ^ 1);
      mbarrier_arrive_expect(barrier, stage_bytes);
#pragma unroll
      for (int i = 0; i < J::kRowBlocks; ++i) {
        copy_box(to, p.dy, work.row + i * kChannels, at.w, at.h, at.d, at.image, barrier);
        to += kPatchBytes;
      }
#pragma unroll
      for (int i = 0; i < J::kBoxes; ++i) {
        const Job job = job_of<J>(p, work.job + i / J::kBlocks);
        copy_box(to, p.x, job.channel + i % J::kBlocks * kChannels,
                 at.w * p.stride[2] - p.pad[2] + job.w * p.dilation[2],
                 at.h * p.stride[1] - p.pad[1] + job.h * p.dilation[1],
                 at.d * p.stride[0] - p.pad[0] + job.d * p.dilation[0], at.image, barrier);
        to += p.copy_bytes;
      }
      turn.next(p.stages);
    }
  }
}

// Which sums d holds: cuda/hopper.h.
template <class J, int kCount>
MK_INLINE void store_part(const ConvWeightWgmmaArgs& p, const WeightWork& work, int row,
                          const Job& job, const float (&d)[J::kTaps][kCount]) {
  const int lane = threadIdx.x % kWarp, taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  row += threadIdx.x / kWarp % 4 * 16 + lane / 4;
#pragma unroll
  for (int tap = 0; tap < J::kTaps; ++tap) {
    if (job.d >= p.kernel[0] || job.h + tap >= p.kernel[1]) continue;
    const int number = (job.d * p.kernel[1] + job.h + tap) * p.kernel[2] + job.w;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (row + 8 * half >= p.rows) continue;
      float* to = static_cast<float*>(p.partial) +
                  ((int64_t{work.split} * p.rows + row + 8 * half) * taps + number) * p.channels;
#pragma unroll
      for (int j = 0; j < kCount / 4; ++j) {
        const int channel = job.channel + 8 * j + lane % 4 * 2;
        if (channel >= p.channels) continue;  // which come in whole eights
        *reinterpret_cast<float2*>(to + channel) =
            make_float2(d[tap][4 * j + 2 * half], d[tap][4 * j + 2 * half + 1]);
      }
    }
  }
}

template <Wgmma kHow, class J>
MK_INLINE void multiply_patches(const ConvWeightWgmmaArgs& p, unsigned char* ring, uint64_t* full,
                                uint64_t* empty) {
  constexpr int kSums = 32 * J::kBlocks;
  constexpr uint32_t kStep = 16 * kLine;  // 16 pixels
  const int group = threadIdx.x / 128;
  const uint32_t stage_bytes = J::kRowBlocks * kPatchBytes + J::kBoxes * p.copy_bytes;
  const uint32_t a_begin = shared_address(ring) + (J::kPairRows ? group : 0) * kPatchBytes;
  const uint32_t b_begin = shared_address(ring) + J::kRowBlocks * kPatchBytes +
                           (J::kPairRows ? 0 : group * J::kBlocks) * p.copy_bytes;
  const uint32_t down = (p.dilation[1] << p.patch_shift) * kLine;  // from a tap to the next
  const bool tells = threadIdx.x % kWarp == 0;
  Turn turn;
  for (uint32_t number = blockIdx.x; number < p.work; number += gridDim.x) {
    const WeightWork work = weight_work<J>(p, number);
    float d[J::kTaps][kSums] = {};
    int before = -1;
    for (int patch = work.begin; patch < work.end; ++patch) {
      mbarrier_wait(full + turn.stage, turn.parity);
      const uint32_t stage = turn.stage * stage_bytes;
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
#pragma unroll
        for (int tap = 0; tap < J::kTaps; ++tap) {
          wgmma<kHow, true, true>(
              d[tap], wgmma_operand(a_begin + stage + step * kStep, kPatchBytes, 1024),
              wgmma_operand(b_begin + stage + tap * down + step * kStep, p.copy_bytes, 1024), true);
        }
      }
      wgmma_commit();
      if (before >= 0) {
        wgmma_wait<1>();
        if (tells) mbarrier_arrive(empty + before);
      }
      before = turn.stage;
      turn.next(p.stages);
    }
#pragma unroll
    for (int tap = 0; tap < J::kTaps; ++tap) wgmma_wait<0>(d[tap]);
    if (tells) mbarrier_arrive(empty + before);
    const Job job = job_of<J>(p, work.job + (J::kPairRows ? 0 : group));
    store_part<J>(p, work, work.row + (J::kPairRows ? group : 0) * kChannels, job, d);
  }
}

template <Wgmma kHow, class J>
MK_INLINE void conv_weight_wgmma(const ConvWeightWgmmaArgs& p) {
  unsigned char* ring = shared<unsigned char>();
  uint64_t* full = reinterpret_cast<uint64_t*>(
      ring + p.stages * (J::kRowBlocks * kPatchBytes + J::kBoxes * p.copy_bytes));
  uint64_t* empty = full + p.stages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < p.stages; ++i) {
      mbarrier_init(full + i, 1);
      mbarrier_init(empty + i, kConsumerWarps);
    }
    fence_proxy_async();
  }
  __syncthreads();
  if (threadIdx.x / 128 == 2) {
    give_registers<kCopyRegisters>();
    if (threadIdx.x == kThreads - 128) copy_patches<J>(p, ring, full, empty);
  } else {
    take_registers<kProductRegisters>();
    multiply_patches<kHow, J>(p, ring, full, empty);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

// conv_weight_wgmma_<how>_<taps>_<channels>_<rows>
MK_KERNEL(conv_weight_wgmma_bf16_3_128_128, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::bf16, Jobs<3, 2, true>>(args);
}
MK_KERNEL(conv_weight_wgmma_bf16_3_128_64, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::bf16, Jobs<3, 2, false>>(args);
}
MK_KERNEL(conv_weight_wgmma_bf16_3_64_128, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::bf16, Jobs<3, 1, true>>(args);
}
MK_KERNEL(conv_weight_wgmma_bf16_3_64_64, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::bf16, Jobs<3, 1, false>>(args);
}
MK_KERNEL(conv_weight_wgmma_bf16_1_128_128, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::bf16, Jobs<1, 2, true>>(args);
}
MK_KERNEL(conv_weight_wgmma_bf16_1_128_64, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::bf16, Jobs<1, 2, false>>(args);
}
MK_KERNEL(conv_weight_wgmma_bf16_1_64_128, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::bf16, Jobs<1, 1, true>>(args);
}
MK_KERNEL(conv_weight_wgmma_bf16_1_64_64, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::bf16, Jobs<1, 1, false>>(args);
}
MK_KERNEL(conv_weight_wgmma_f16_3_128_128, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::f16, Jobs<3, 2, true>>(args);
}
MK_KERNEL(conv_weight_wgmma_f16_3_128_64, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::f16, Jobs<3, 2, false>>(args);
}
MK_KERNEL(conv_weight_wgmma_f16_3_64_128, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::f16, Jobs<3, 1, true>>(args);
}
MK_KERNEL(conv_weight_wgmma_f16_3_64_64, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::f16, Jobs<3, 1, false>>(args);
}
MK_KERNEL(conv_weight_wgmma_f16_1_128_128, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::f16, Jobs<1, 2, true>>(args);
}
MK_KERNEL(conv_weight_wgmma_f16_1_128_64, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::f16, Jobs<1, 2, false>>(args);
}
MK_KERNEL(conv_weight_wgmma_f16_1_64_128, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::f16, Jobs<1, 1, true>>(args);
}
MK_KERNEL(conv_weight_wgmma_f16_1_64_64, ConvWeightWgmmaArgs, kThreads, 1) {
  conv_weight_wgmma<Wgmma::f16, Jobs<1, 1, false>>(args);
}
