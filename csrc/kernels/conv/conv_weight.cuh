// What the kernels of the gradient of convolution weights share: where windows and taps lie in x,
// and what is the same for all types of elements.
#pragma once

#include "cuda/half.h"
#include "cuda/plain_tile.h"
#include "cuda/product.h"
#include "cuda/tile.h"
#include "kernels/conv/conv.cuda.h"

namespace medkern::cuda {

// Where the window of a pixel of dy begins in x.
struct alignas(16) WindowStart {
  uint32_t at;  // wraps around: only what is inside counts
  int32_t d, h, w;
};

MK_INLINE WindowStart window_start(const ConvWeightKernelArgs& p, uint32_t pixel) {
  WindowStart s;
  s.w = static_cast<int32_t>(p.size[2].take(pixel)) * p.stride[2] - p.pad[2];
  s.h = static_cast<int32_t>(p.size[1].take(pixel)) * p.stride[1] - p.pad[1];
  s.d = static_cast<int32_t>(p.size[0].take(pixel)) * p.stride[0] - p.pad[0];
  s.at = static_cast<uint32_t>(pixel * p.x.stride_n + s.d * p.x.stride[0] + s.h * p.x.stride[1] +
                               s.w * p.x.stride[2]);
  return s;
}

// A column of the product: a tap, as distances from the window's beginning, and a channel.
struct WeightColumn {
  uint32_t at;
  int32_t d, h, w;
};

MK_INLINE WeightColumn weight_column(const ConvWeightKernelArgs& p, int column) {
  uint32_t tap = p.channel_counts.quotient(column);
  const int channel = column - tap * p.channels;
  WeightColumn c;
  c.w = p.kernel[2].take(tap) * p.dilation[2];
  c.h = p.kernel[1].take(tap) * p.dilation[1];
  c.d = p.kernel[0].take(tap) * p.dilation[0];
  c.at = static_cast<uint32_t>(c.d * p.x.stride[0] + c.h * p.x.stride[1] + c.w * p.x.stride[2] +
                               channel * p.x.stride_c);
  return c;
}

MK_INLINE bool inside(const ConvWeightKernelArgs& p, const WindowStart& s, const WeightColumn& c) {
  return static_cast<uint32_t>(s.d + c.d) < static_cast<uint32_t>(p.x.size[0]) &&
         static_cast<uint32_t>(s.h + c.h) < static_cast<uint32_t>(p.x.size[1]) &&
         static_cast<uint32_t>(s.w + c.w) < static_cast<uint32_t>(p.x.size[2]);
}

// Tile and split of a block: sum(slices, load) sums the slices. Elements are of 4 or 2 bytes,
// slices of 128 bytes a row.
template <class T, class Element, class A, class B, class Sum>
MK_INLINE void conv_weight_tile(const ConvWeightKernelArgs& p, TilePlace at, Sum sum) {
  static_assert(T::kRows == T::kColumns);
  constexpr int kSliceK = 128 / sizeof(Element), kLanes = 16 / sizeof(Element);
  constexpr int kVectors = T::kRows / kLanes, kStep = T::kThreads / kVectors;
  constexpr int kAhead = 4, kSlots = 8;
  const int columns = p.taps * p.channels;
  const int split = blockIdx.y, group = blockIdx.z;
  const int first = split * p.split_k;
  const int end = p.pixels - first < p.split_k ? p.pixels : first + p.split_k;
  const int slices = (end - first + kSliceK - 1) / kSliceK;
  const int vector = threadIdx.x % kVectors * kLanes, mine = threadIdx.x / kVectors;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;

  const bool row_valid = at.row + vector < p.rows, column_valid = at.column + vector < columns;
  const WeightColumn column = weight_column(p, column_valid ? at.column + vector : 0);
  const Element* x = static_cast<const Element*>(p.x.data) + group * p.channels;
  const Element* dy = static_cast<const Element*>(p.dy.data) + group * p.dy_group + at.row + vector;
  const int dy_step = static_cast<int>(p.dy.stride[2]);
  auto* starts =
      reinterpret_cast<WindowStart*>(shared<char>() + kStages * (T::kRows + T::kColumns) * 128);
  const auto find = [&](int s) {
#pragma unroll
    for (int k = lane; k < kSliceK; k += kWarp) {
      const int pixel = first + s * kSliceK + k;
      if (pixel < end) starts[s % kSlots * kSliceK + k] = window_start(p, pixel);
    }
  };
  const auto load = [&](auto* a, auto* b, int s) {
    if (s == 0) {
      __syncthreads();
      if (warp < kAhead) find(warp);
      __syncthreads();
    }
    const WindowStart* slot = starts + s % kSlots * kSliceK;
#pragma unroll
    for (int i = 0; i < kSliceK / kStep; ++i) {
      const int k = mine + i * kStep, pixel = first + s * kSliceK + k;
      const bool valid = pixel < end;
      const WindowStart start = valid ? slot[k] : WindowStart{0, 0, 0, 0};
      cp_async16(a + A::at(vector, k), dy + pixel * dy_step, valid && row_valid);
      cp_async16(b + B::at(vector, k), x + static_cast<int32_t>(start.at + column.at),
                 valid && column_valid && inside(p, start, column));
    }
    if (warp == s % (T::kThreads / kWarp)) find(s + kAhead);
  };
  sum(slices, load);
}

// Where a block's part of the sums begins.
MK_INLINE float* part_of_block(const ConvWeightKernelArgs& p) {
  const int64_t block = int64_t{blockIdx.y} * gridDim.z + blockIdx.z;
  return static_cast<float*>(p.partial) + block * p.rows * p.taps * p.channels;
}

template <class T>
MK_INLINE void conv_weight_plain(const ConvWeightKernelArgs& p) {
  const int columns = p.taps * p.channels;
  const TilePlace at = tile_place(p.rows, columns, kPlainTile, kPlainTile);
  const int split = blockIdx.y, group = blockIdx.z;
  const int first = split * p.split_k;
  const int count = p.pixels - first < p.split_k ? p.pixels - first : p.split_k;
  const T* x = static_cast<const T*>(p.x.data) + group * p.channels * p.x.stride_c;
  const T* dy = static_cast<const T*>(p.dy.data) + group * p.dy_group * p.dy.stride_c;
  using W = Wide<T>;
  W sum[4][4];
  plain_sum<W>(
      count, p.dy.stride_c != 1, p.x.stride_c != 1,
      [&](int row, int k) {
        if (at.row + row >= p.rows) return W(0);
        uint32_t pixel = first + k;
        const int64_t w = p.size[2].take(pixel), h = p.size[1].take(pixel);
        const int64_t d = p.size[0].take(pixel);
        return W(dy[pixel * p.dy.stride_n + d * p.dy.stride[0] + h * p.dy.stride[1] +
                    w * p.dy.stride[2] + (at.row + row) * p.dy.stride_c]);
      },
      [&](int column, int k) {
        if (at.column + column >= columns) return W(0);
        uint32_t tap = p.channel_counts.quotient(at.column + column);
        const int channel = at.column + column - tap * p.channels;
        uint32_t pixel = first + k;
        int64_t place = channel * p.x.stride_c;
        for (int axis = 2; axis >= 0; --axis) {
          const int64_t to = int64_t{p.size[axis].take(pixel)} * p.stride[axis] - p.pad[axis] +
                             int64_t{p.kernel[axis].take(tap)} * p.dilation[axis];
          if (to < 0 || to >= p.x.size[axis]) return W(0);
          place += to * p.x.stride[axis];
        }
        return W(x[pixel * p.x.stride_n + place]);
      },
      sum);
  W* partial = static_cast<W*>(p.partial) + (int64_t{split} * gridDim.z + group) * p.rows * columns;
  plain_give(sum, [&](int row, int column, W value) {
    row += at.row;
    column += at.column;
    if (row < p.rows && column < columns) partial[int64_t{row} * columns + column] = value;
  });
}

// One thread an element of the parts.
template <class T, class Part>
MK_INLINE void conv_weight_reduce(const ConvWeightReduceArgs& p) {
  const int64_t columns = int64_t{p.taps} * p.padded, count = p.rows * columns;
  const Part* partial = static_cast<const Part*>(p.partial);
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int row = i / columns, column = i % columns;
    const int tap = column / p.padded, channel = column % p.padded;
    if (channel >= p.channels) continue;
    Part sum = 0;
#pragma unroll 8
    for (int s = 0; s < p.splits; ++s) sum += partial[s * count + i];
    static_cast<T*>(p.dweight)[(int64_t{row} * p.channels + channel) * p.taps + tap] = T(sum);
  }
}

}  // namespace medkern::cuda
