// The gradient of convolution weights on CUDA, as one product for each group:
//
//   dweight[row, (tap, channel)] = sum over pixels of dy[pixel, row] x[pixel at tap, channel]
//
// Both operands are read along channels, 16 bytes at a time; a slice is 32 pixels of dy. Where a
// pixel's window begins is found once for all threads, by one warp, four slices ahead. The pixels
// are cut into splits by the shape, so that there are enough tiles; a second kernel adds the parts
// in order and brings them into the order of the weights. float64: cuda/plain_tile.h.
//
// Work 2 pixels rows taps channels flops. Memory: x once for each tap and tile of rows, dy once for
// each tile of columns, mostly from L2; the parts twice.
#include "cuda/plain_tile.h"
#include "cuda/product.h"
#include "cuda/tile.h"
#include "kernels/conv/conv.cuda.h"

namespace medkern::cuda {

using Large = Tile<128, 128, 64, 32>;
using Small = Tile<64, 64, 32, 32>;
// Of a small tile's blocks, which have 128: with this bound the compiler takes the registers it
// needs.
constexpr int kSmallBound = 192;

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

template <class T, class Math>
MK_INLINE void conv_weight_tile(const ConvWeightKernelArgs& p) {
  using A = Slice<T::kRows, false>;
  using B = Slice<T::kColumns, false>;
  static_assert(T::kRows == T::kColumns);
  constexpr int kVectors = T::kRows / 4, kStep = T::kThreads / kVectors;
  constexpr int kAhead = 4, kSlots = 8;
  const int columns = p.taps * p.channels;
  const TilePlace at = tile_place(p.rows, columns, T::kRows, T::kColumns);
  const int split = blockIdx.y, group = blockIdx.z;
  const int first = split * p.split_k;
  const int end = p.pixels - first < p.split_k ? p.pixels : first + p.split_k;
  const int slices = (end - first + kDepth - 1) / kDepth;
  const int vector = threadIdx.x % kVectors * 4, mine = threadIdx.x / kVectors;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;

  const bool row_valid = at.row + vector < p.rows, column_valid = at.column + vector < columns;
  const WeightColumn column = weight_column(p, column_valid ? at.column + vector : 0);
  const float* x = static_cast<const float*>(p.x.data) + group * p.channels;
  const float* dy = static_cast<const float*>(p.dy.data) + group * p.dy_group + at.row + vector;
  const int dy_step = static_cast<int>(p.dy.stride[2]);
  auto* starts = reinterpret_cast<WindowStart*>(shared<float>() + kStages * T::kStageFloats);
  const auto find = [&](int s) {
    const int pixel = first + s * kDepth + lane;
    if (pixel < end) starts[s % kSlots * kDepth + lane] = window_start(p, pixel);
  };
  const auto load = [&](float* a, float* b, int s) {
    if (s == 0) {
      __syncthreads();
      if (warp < kAhead) find(warp);
      __syncthreads();
    }
    const WindowStart* slot = starts + s % kSlots * kDepth;
#pragma unroll
    for (int i = 0; i < kDepth / kStep; ++i) {
      const int k = mine + i * kStep, pixel = first + s * kDepth + k;
      const bool valid = pixel < end;
      const WindowStart start = valid ? slot[k] : WindowStart{0, 0, 0, 0};
      cp_async16(a + A::at(vector, k), dy + pixel * dy_step, valid && row_valid);
      cp_async16(b + B::at(vector, k), x + static_cast<int32_t>(start.at + column.at),
                 valid && column_valid && inside(p, start, column));
    }
    if (warp == s % (T::kThreads / kWarp)) find(s + kAhead);
  };
  float* partial =
      static_cast<float*>(p.partial) + (int64_t{split} * gridDim.z + group) * p.rows * columns;
  sum_and_store<T, Math, A, B>(slices, load, [&](int r, int c, float (&v)[8], uint32_t wanted) {
    r += at.row;
    c += at.column;
    if (r >= p.rows) return;
    float* to = partial + int64_t{r} * columns + c;
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
      if (c + i >= columns) break;  // columns come in whole vectors
      if ((wanted >> i & 15u) == 15u) {
        store16(to + i, {v[i], v[i + 1], v[i + 2], v[i + 3]});
        continue;
      }
#pragma unroll
      for (int j = i; j < i + 4; ++j) {
        if (wanted >> j & 1) to[j] = v[j];
      }
    }
  });
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
  T sum[4][4];
  plain_sum<T>(
      count, p.dy.stride_c != 1, p.x.stride_c != 1,
      [&](int row, int k) {
        if (at.row + row >= p.rows) return T(0);
        uint32_t pixel = first + k;
        const int64_t w = p.size[2].take(pixel), h = p.size[1].take(pixel);
        const int64_t d = p.size[0].take(pixel);
        return dy[pixel * p.dy.stride_n + d * p.dy.stride[0] + h * p.dy.stride[1] +
                  w * p.dy.stride[2] + (at.row + row) * p.dy.stride_c];
      },
      [&](int column, int k) {
        if (at.column + column >= columns) return T(0);
        uint32_t tap = p.channel_counts.quotient(at.column + column);
        const int channel = at.column + column - tap * p.channels;
        uint32_t pixel = first + k;
        int64_t place = channel * p.x.stride_c;
        for (int axis = 2; axis >= 0; --axis) {
          const int64_t to = int64_t{p.size[axis].take(pixel)} * p.stride[axis] - p.pad[axis] +
                             int64_t{p.kernel[axis].take(tap)} * p.dilation[axis];
          if (to < 0 || to >= p.x.size[axis]) return T(0);
          place += to * p.x.stride[axis];
        }
        return x[pixel * p.x.stride_n + place];
      },
      sum);
  T* partial = static_cast<T*>(p.partial) + (int64_t{split} * gridDim.z + group) * p.rows * columns;
  plain_give(sum, [&](int row, int column, T value) {
    row += at.row;
    column += at.column;
    if (row < p.rows && column < columns) partial[int64_t{row} * columns + column] = value;
  });
}

// One thread an element of the parts.
template <class T>
MK_INLINE void conv_weight_reduce(const ConvWeightReduceArgs& p) {
  const int64_t columns = int64_t{p.taps} * p.padded, count = p.rows * columns;
  const T* partial = static_cast<const T*>(p.partial);
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int row = i / columns, column = i % columns;
    const int tap = column / p.padded, channel = column % p.padded;
    if (channel >= p.channels) continue;
    T sum = 0;
#pragma unroll 8
    for (int s = 0; s < p.splits; ++s) sum += partial[s * count + i];
    static_cast<T*>(p.dweight)[(int64_t{row} * p.channels + channel) * p.taps + tap] = sum;
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(conv_weight_f32_large, ConvWeightKernelArgs, 256) {
  conv_weight_tile<Large, Exact>(args);
}
MK_KERNEL(conv_weight_f32_small, ConvWeightKernelArgs, kSmallBound) {
  conv_weight_tile<Small, Exact>(args);
}
MK_KERNEL(conv_weight_tf32_large, ConvWeightKernelArgs, 256) {
  conv_weight_tile<Large, Tf32>(args);
}
MK_KERNEL(conv_weight_tf32_small, ConvWeightKernelArgs, kSmallBound) {
  conv_weight_tile<Small, Tf32>(args);
}
MK_KERNEL(conv_weight_bf16_large, ConvWeightKernelArgs, 256) {
  conv_weight_tile<Large, Bf16>(args);
}
MK_KERNEL(conv_weight_bf16_small, ConvWeightKernelArgs, kSmallBound) {
  conv_weight_tile<Small, Bf16>(args);
}
MK_KERNEL(conv_weight_plain_f32, ConvWeightKernelArgs, 256) { conv_weight_plain<float>(args); }
MK_KERNEL(conv_weight_plain_f64, ConvWeightKernelArgs, 256) { conv_weight_plain<double>(args); }
MK_KERNEL(conv_weight_reduce_f32, ConvWeightReduceArgs, 256) { conv_weight_reduce<float>(args); }
MK_KERNEL(conv_weight_reduce_f64, ConvWeightReduceArgs, 256) { conv_weight_reduce<double>(args); }
