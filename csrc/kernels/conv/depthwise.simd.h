// Depthwise convolution: every channel with weights of its own.
//
//   y[pixel, c] = act(sum over taps t of x[pixel + t, c] w[t, c] + bias[c])
//
// Loops: one task per row of pixels; vectors of channels, pixels in fours, taps: one vector of
// weights against four pixels. Memory-bound from about 20 taps down. One chain of fma over the
// taps.
#pragma once

#include "core/parallel.h"
#include "kernels/conv/pass.simd.h"

namespace medkern::MK_ISA {

template <class T, int kPixels>
MK_INLINE void depthwise_pixels(const Pass<T>& p, int64_t c, const T* source, T* result) {
  using V = Vec<T>;
  const int64_t lanes = smaller(p.groups - c, V::kLanes);
  V acc[kPixels];
#pragma GCC unroll 4
  for (int i = 0; i < kPixels; ++i) acc[i] = V::zero();
  for (int64_t s = 0; s < p.steps; ++s) {
    const V weight = V::load(p.weights + s * p.groups + c, lanes);
#pragma GCC unroll 4
    for (int i = 0; i < kPixels; ++i) {
      const V x = V::load(source + p.offsets[s] + i * p.source_step[3] + c, lanes);
      acc[i] = fma(x, weight, acc[i]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kPixels; ++i) {
    if (p.bias != nullptr) acc[i] += V::load(p.bias + c, lanes);
    if (p.relu) acc[i] = max(acc[i], V::zero());
    T* to = result + i * p.result_step[3] + c * p.result_channel;
    if (p.result_channel == 1) {
      acc[i].store(to, lanes);
    } else {
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane * p.result_channel] = acc[i][lane];
    }
  }
}

template <class T>
void run_depthwise(const Pass<T>& p) {
  const int64_t rows = p.count[0] * p.count[1] * p.count[2];
  const int64_t work = 2 * rows * p.count[3] * p.groups * larger(p.steps, 1);
  parallel_for(rows, work, [&](int64_t row, int) {
    const T* source = p.source + row_offset(p.count, p.source_step, row);
    T* result = p.result + row_offset(p.count, p.result_step, row);
    for (int64_t c = 0; c < p.groups; c += Vec<T>::kLanes) {
      int64_t w = 0;
      for (; w + 4 <= p.count[3]; w += 4) {
        depthwise_pixels<T, 4>(p, c, source + w * p.source_step[3], result + w * p.result_step[3]);
      }
      for (; w < p.count[3]; ++w) {
        depthwise_pixels<T, 1>(p, c, source + w * p.source_step[3], result + w * p.result_step[3]);
      }
    }
  });
}

}  // namespace medkern::MK_ISA
