// What the kernels of convolution by warpgroups share: threads, rings and patches.
#pragma once

#include "cuda/hopper.h"

namespace medkern::cuda {

constexpr int kLine = 128;  // bytes of channels: what the swizzle spans
constexpr int kChannels = 64;
constexpr int kThreads = 384;  // two warpgroups multiply, one thread of the third copies
constexpr int kConsumerWarps = 8;
constexpr int kCopyRegisters = 40, kProductRegisters = 232;

// A place in a ring: which stage, and the parity of its phase.
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  MK_INLINE void next(int stages) {
    if (++stage == stages) stage = 0, parity ^= 1;
  }
};

// The first pixel of a patch; the image is beyond the last where the patch is.
struct Patch {
  int d, h, w, image;
};
template <class Args>
MK_INLINE Patch patch_of(const Args& p, uint32_t number) {
  Patch at;
  at.w = p.across[2].take(number) << p.patch_shift;
  at.h = p.across[1].take(number) * (64 >> p.patch_shift);
  at.d = p.across[0].take(number);
  at.image = number;
  return at;
}

}  // namespace medkern::cuda
