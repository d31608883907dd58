// One residue class of a convolution, its pixels and taps as pointers, steps and counts.
#pragma once

#include "cpu/integers.h"
#include "kernels/conv/conv.h"

namespace medkern::MK_ISA {

template <class T>
struct Pass {
  const T* source;   // of the first pixel and tap
  T* result;         // of the first pixel
  const T* weights;  // packed, of the class
  const T* bias;
  bool relu;
  int64_t groups, channels, results;  // channels per group
  int64_t k, steps;                   // run length, and number of runs
  const int64_t* offsets;             // [steps]
  int64_t count[4];                   // pixels: n d h w
  int64_t source_step[4], result_step[4];
  int64_t result_channel;  // stride of the result's channels
};

// Offset of row number `row` of n, d, h.
MK_INLINE int64_t row_offset(const int64_t count[4], const int64_t step[4], int64_t row) {
  const int64_t h = row % count[2], d = row / count[2] % count[1], n = row / count[2] / count[1];
  return n * step[0] + d * step[1] + h * step[2];
}

// Merges axes that lie one behind the other in both images, so that short rows become long ones.
template <class T>
MK_INLINE void collapse(Pass<T>& p) {
  for (int i = 2; i >= 0; --i) {
    const int64_t inner = p.count[3];
    const bool joined = p.source_step[i] == p.source_step[3] * inner &&
                        p.result_step[i] == p.result_step[3] * inner;
    if (p.count[i] != 1 && inner != 1 && !joined) return;
    if (p.count[i] != 1 && inner == 1) {
      p.source_step[3] = p.source_step[i];
      p.result_step[3] = p.result_step[i];
    }
    p.count[3] *= p.count[i];
    p.count[i] = 1;
  }
}

}  // namespace medkern::MK_ISA
