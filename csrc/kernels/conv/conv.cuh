// What the kernels of convolution share: the classes of positions, where their pixels and taps lie,
// the storing of results, and what is the same for all types of elements.
#pragma once

#include "cuda/half.h"
#include "cuda/loops.h"
#include "cuda/plain_tile.h"
#include "cuda/product.h"
#include "cuda/tile.h"
#include "kernels/conv/conv.cuda.h"
#include "kernels/conv/conv_store.cuh"

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
template <class T>
MK_INLINE void store_results(const ConvKernelArgs& p, const ConvClass& c, int group, int split,
                             int pixel, int column, float (&v)[8], uint32_t wanted) {
  const int all = p.groups * p.columns, first = group * p.columns + column;
  const int left = p.columns - column;
  if (pixel >= c.pixels || left <= 0) return;
  if (left < 8) wanted &= (1u << left) - 1;
  if (p.partial != nullptr) {
    float* to = static_cast<float*>(p.partial) + (split * int64_t{c.pixels} + pixel) * all + first;
    store_eight(to, 1, v, wanted);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (wanted >> i & 1) v[i] = with_bias<T>(v[i], p.bias, p.half_bias, first + i, p.relu);
  }
  const int64_t step = p.result.stride_c;
  store_eight(static_cast<T*>(p.result.data) + result_at(p, c, pixel) + first * step, step, v,
              wanted);
}

// A tile of the result. sum(slices, load, store, look) sums the slices and stores the results, and
// shows look the sums; elements are of 4 or 2 bytes, slices of 128 bytes a row.
template <class T, class Element, class A, class B, class Sum>
MK_INLINE void conv_tile(const ConvKernelArgs& p, Sum sum) {
  constexpr int kSliceK = 128 / sizeof(Element), kLanes = 16 / sizeof(Element);
  constexpr int kVectors = kSliceK / kLanes, kStep = T::kThreads / kVectors;
  constexpr int kPixels = T::kRows / kStep, kColumns = T::kColumns / kStep;  // of a thread
  const ConvClass c = class_of_block(p);
  const TilePlace at = tile_place(c.pixels, p.columns, T::kRows, T::kColumns);
  if (at.row >= c.pixels || at.column >= p.columns) return;
  const int group = blockIdx.y % p.groups, split = blockIdx.y / p.groups;
  const int k_first = split * p.split_k;
  const int k_end = c.k - k_first < p.split_k ? c.k : k_first + p.split_k;
  const int row = threadIdx.x / kVectors, vector = threadIdx.x % kVectors * kLanes;
  constexpr int kStageBytes = (T::kRows + T::kColumns) * 128;
  ConvTap* taps = reinterpret_cast<ConvTap*>(shared<char>() + kStages * kStageBytes);
  find_taps<T::kThreads>(p, c, taps);

  // Places in the source are below 2^31: the host sees to it.
  const Element* source = static_cast<const Element*>(p.source.data) + group * p.channels;
  const int column_elements = p.kernel[0] * p.kernel[1] * p.kernel[2] * p.channels;
  const Element* weights = static_cast<const Element*>(p.weights) +
                           (int64_t{group} * p.columns + at.column + row) * column_elements;
  uint32_t from[kPixels];
  uint32_t inside[kPixels];
#pragma unroll
  for (int i = 0; i < kPixels; ++i) {
    const int pixel = at.row + row + i * kStep;
    from[i] = 0;
    inside[i] = 0;
    if (pixel >= c.pixels) continue;
    const ConvStart s = start_of(p, c, pixel);
    from[i] = static_cast<uint32_t>(s.at);
    inside[i] = taps_inside(s.d, c.d, p.source.size[0], 0) |
                taps_inside(s.h, c.h, p.source.size[1], c.d.taps) |
                taps_inside(s.w, c.w, p.source.size[2], c.d.taps + c.h.taps);
  }
  const int columns_left = p.columns - at.column - row;
  const auto load = [&](auto* a, auto* b, int s) {
    const int k = k_first + s * kSliceK + vector;
    const bool valid = k < k_end;
    const int tap = valid ? p.channel_counts.quotient(k) : 0;
    const int channel = k - tap * p.channels;
    const ConvTap t = taps[tap];
    const uint32_t needed = valid ? t.needed : kNever;
    const uint32_t step = t.source + static_cast<uint32_t>(channel);
    const Element* w = weights + t.weight + channel;
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      cp_async16(a + A::at(row + i * kStep, vector), source + static_cast<int32_t>(from[i] + step),
                 (inside[i] & needed) == needed);
    }
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      cp_async16(b + B::at(row + i * kStep, vector), w + int64_t{i * kStep} * column_elements,
                 valid && i * kStep < columns_left);
    }
  };

  const int slices = (k_end - k_first + kSliceK - 1) / kSliceK;
  sum(
      slices, load,
      [&](int r, int column, float (&v)[8], uint32_t wanted) {
        store_results<Element>(p, c, group, split, at.row + r, at.column + column, v, wanted);
      },
      [&](const Sums<T>& sums) {
        if (p.moments != nullptr) store_moments<T, Element>(p, c.pixels, group, at, sums);
      });
}

// A tile without tensor cores.
template <class T>
MK_INLINE void conv_plain(const ConvKernelArgs& p) {
  const ConvClass c = class_of_block(p);
  const TilePlace at = tile_place(c.pixels, p.columns, kPlainTile, kPlainTile);
  if (at.row >= c.pixels || at.column >= p.columns) return;
  const int group = blockIdx.y, first = group * p.columns;
  const T* source = static_cast<const T*>(p.source.data) + group * p.channels * p.source.stride_c;
  const int64_t column_elements = int64_t{p.kernel[0]} * p.kernel[1] * p.kernel[2] * p.channels;
  const T* weights = static_cast<const T*>(p.weights) + (first + at.column) * column_elements;
  using W = Wide<T>;
  W sum[4][4];
  plain_sum<W>(
      c.k, p.source.stride_c == 1, true,
      [&](int row, int k) {
        if (at.row + row >= c.pixels) return W(0);
        const ConvStart s = start_of(p, c, at.row + row);
        const ConvK tap = k_of(p, c, k, c.k);
        const uint32_t d = s.d + tap.d * c.d.in_tap_step, h = s.h + tap.h * c.h.in_tap_step;
        const uint32_t w = s.w + tap.w * c.w.in_tap_step;
        const bool inside = d < static_cast<uint32_t>(p.source.size[0]) &&
                            h < static_cast<uint32_t>(p.source.size[1]) &&
                            w < static_cast<uint32_t>(p.source.size[2]);
        return inside ? W(source[s.at + source_step(p, c, tap)]) : W(0);
      },
      [&](int column, int k) {
        if (at.column + column >= p.columns) return W(0);
        return W(weights[column * column_elements + weight_step(p, c, k_of(p, c, k, c.k))]);
      },
      sum);
  plain_give(sum, [&](int row, int column, W value) {
    const int pixel = at.row + row;
    column += at.column;
    if (pixel >= c.pixels || column >= p.columns) return;
    T* to = static_cast<T*>(p.result.data) + result_at(p, c, pixel);
    to[(first + column) * p.result.stride_c] =
        T(with_bias<T>(value, p.bias, p.half_bias, first + column, p.relu));
  });
}

// One thread an element of the result, channels next to each other.
template <class T>
MK_INLINE void conv_reduce(const ConvReduceArgs& p) {
  const int64_t count = int64_t{p.pixels} * p.channels;
  const float* partial = static_cast<const float*>(p.partial);
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    float sum = 0;
#pragma unroll 4
    for (int s = 0; s < p.splits; ++s) sum += partial[s * count + i];
    uint32_t pixel = i / p.channels;
    const int channel = i - int64_t{pixel} * p.channels;
    const int64_t w = p.size[2].take(pixel), h = p.size[1].take(pixel), d = p.size[0].take(pixel);
    static_cast<T*>(
        p.result.data)[pixel * p.result.stride_n + d * p.result.stride[0] + h * p.result.stride[1] +
                       w * p.result.stride[2] + channel * p.result.stride_c] =
        T(with_bias<T>(sum, p.bias, p.half_bias, channel, p.relu));
  }
}

}  // namespace medkern::cuda
