// What the kernels of convolution share: the classes of positions, where their pixels and taps lie,
// and the storing of results.
#pragma once

#include "cuda/product.h"
#include "kernels/conv/conv.cuda.h"

namespace medkern::cuda {

struct ConvClass {
  const ConvAxisClass &d, &h, &w;
  int32_t pixels, k;
};

MK_INLINE ConvClass class_of_block(const ConvKernelArgs& p) {
  const int cw = blockIdx.z % p.classes[2], ch = blockIdx.z / p.classes[2] % p.classes[1];
  const int cd = blockIdx.z / p.classes[2] / p.classes[1];
  const ConvAxisClass &d = p.axis[0][cd], &h = p.axis[1][ch], &w = p.axis[2][cw];
  return {d, h, w, p.images * d.count * h.count * w.count, d.taps * h.taps * w.taps * p.channels};
}

// Position j of a class in the result's memory.
MK_INLINE int64_t result_at(const ConvKernelArgs& p, const ConvClass& c, uint32_t pixel) {
  const int64_t w = c.w.counts.take(pixel), h = c.h.counts.take(pixel), d = c.d.counts.take(pixel);
  return pixel * p.result.stride_n + (c.d.out_first + d * c.d.out_step) * p.result.stride[0] +
         (c.h.out_first + h * c.h.out_step) * p.result.stride[1] +
         (c.w.out_first + w * c.w.out_step) * p.result.stride[2];
}

// A tap of a class and a channel.
struct ConvK {
  int32_t d, h, w, channel;
  bool inside;
};

MK_INLINE ConvK k_of(const ConvKernelArgs& p, const ConvClass& c, int k, int end) {
  uint32_t tap = p.channel_counts.quotient(k);
  ConvK at;
  at.channel = k - tap * p.channels;
  at.w = c.w.tap_counts.take(tap);
  at.h = c.h.tap_counts.take(tap);
  at.d = tap;
  at.inside = k < end;
  return at;
}

MK_INLINE int64_t source_step(const ConvKernelArgs& p, const ConvClass& c, const ConvK& k) {
  return int64_t{k.d} * c.d.in_tap_step * p.source.stride[0] +
         int64_t{k.h} * c.h.in_tap_step * p.source.stride[1] +
         int64_t{k.w} * c.w.in_tap_step * p.source.stride[2] + k.channel * p.source.stride_c;
}

MK_INLINE int32_t weight_step(const ConvKernelArgs& p, const ConvClass& c, const ConvK& k) {
  const int32_t tap =
      ((c.d.tap_first + k.d * c.d.tap_step) * p.kernel[1] + c.h.tap_first + k.h * c.h.tap_step) *
          p.kernel[2] +
      c.w.tap_first + k.w * c.w.tap_step;
  return tap * p.channels + k.channel;
}

// Where the window of a pixel begins in the source.
struct ConvStart {
  int64_t at;
  int32_t d, h, w;
};

MK_INLINE ConvStart start_of(const ConvKernelArgs& p, const ConvClass& c, uint32_t pixel) {
  ConvStart s;
  s.w = c.w.in_first + static_cast<int32_t>(c.w.counts.take(pixel)) * c.w.in_step;
  s.h = c.h.in_first + static_cast<int32_t>(c.h.counts.take(pixel)) * c.h.in_step;
  s.d = c.d.in_first + static_cast<int32_t>(c.d.counts.take(pixel)) * c.d.in_step;
  s.at = pixel * p.source.stride_n + s.d * p.source.stride[0] + s.h * p.source.stride[1] +
         s.w * p.source.stride[2];
  return s;
}

// Bit `first + u` for each tap u of an axis that lies in the source.
MK_INLINE uint32_t taps_inside(int32_t start, const ConvAxisClass& c, int32_t size, int first) {
  uint32_t bits = 0;
  for (int u = 0; u < c.taps; ++u) {
    const uint32_t at = start + u * c.in_tap_step;
    bits |= static_cast<uint32_t>(at < static_cast<uint32_t>(size)) << (first + u);
  }
  return bits;
}

constexpr uint32_t kNever = 1u << 31;

// A tap of the class, or a channel of a tap: its distance in the source and in the weights, and the
// bits of its axes.
struct alignas(16) ConvTap {
  uint32_t source;  // distances wrap around: only those inside the image count
  int32_t weight;
  uint32_t needed, unused;
};

// The tables of a class, in shared memory.
template <int kThreads>
MK_INLINE void find_taps(const ConvKernelArgs& p, const ConvClass& c, ConvTap* taps) {
  const int count = c.d.taps * c.h.taps * c.w.taps;
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const ConvK k = k_of(p, c, i * p.channels, c.k);
    taps[i] = {static_cast<uint32_t>(source_step(p, c, k)), weight_step(p, c, k),
               1u << k.d | 1u << (c.d.taps + k.h) | 1u << (c.d.taps + c.h.taps + k.w), 0};
  }
  __syncthreads();
}

// The same for every k, up to whole slices; what is beyond the last lies nowhere.
template <int kThreads>
MK_INLINE void find_all_k(const ConvKernelArgs& p, const ConvClass& c, int count, ConvTap* taps) {
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const ConvK k = k_of(p, c, i < c.k ? i : 0, c.k);
    const uint32_t needed = 1u << k.d | 1u << (c.d.taps + k.h) | 1u << (c.d.taps + c.h.taps + k.w);
    taps[i] = {static_cast<uint32_t>(source_step(p, c, k)), weight_step(p, c, k),
               i < c.k ? needed : kNever, 0};
  }
  __syncthreads();
}

// Stores v[i] where bit i of `wanted` is set: channels column .. column + 7 of a group at a pixel,
// or its part of their sums.
MK_INLINE void store_results(const ConvKernelArgs& p, const ConvClass& c, int group, int split,
                             int pixel, int column, float (&v)[8], uint32_t wanted) {
  const bool part = p.partial != nullptr;
  const int all = p.groups * p.columns, first = group * p.columns + column;
  const int left = p.columns - column;
  if (pixel >= c.pixels || left <= 0) return;
  if (left < 8) wanted &= (1u << left) - 1;
  const int64_t step = part ? 1 : p.result.stride_c;
  float* to =
      part ? static_cast<float*>(p.partial) + (split * int64_t{c.pixels} + pixel) * all + first
           : static_cast<float*>(p.result.data) + result_at(p, c, pixel) + first * step;
  if (!part) {
    const float* bias = static_cast<const float*>(p.bias);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (wanted >> i & 1) v[i] = finished(v[i], bias, first + i, p.relu);
    }
  }
  if (wanted == 255u && step == 1 && reinterpret_cast<size_t>(to) % 16 == 0) {
    store16(to, {v[0], v[1], v[2], v[3]});
    store16(to + 4, {v[4], v[5], v[6], v[7]});
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (wanted >> i & 1) to[i * step] = v[i];
  }
}

}  // namespace medkern::cuda
