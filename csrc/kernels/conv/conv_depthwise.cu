// Depthwise convolution on CUDA: each result channel has one source channel.
//
//   result[pixel, c] = act(sum over taps of source[pixel at tap, c / columns] weights[tap, c] +
//   bias[c]) dweight[c, tap]  = sum over pixels of dy[pixel, c] x[pixel at tap, c / rows]
//
// Forward, and backward with respect to the input where no channel has several results. One thread
// two pixels of a channel, or of 4 channels that lie side by side; neighboring threads go along
// channels where these are contiguous, else along pixels. Taps in order, in one chain of fma.
//
// The gradient: blocks of (32 channels, a tap, a chunk of pixels), 8 pixels at a time; the parts
// are added in order by conv_weight_reduce.
//
// Memory-bound: source and result once from memory, source once for each tap from the caches.
#include "kernels/conv/conv.cuh"

namespace medkern::cuda {

MK_INLINE int64_t place_of(const ConvImage& image, int64_t d, int64_t h, int64_t w) {
  return d * image.stride[0] + h * image.stride[1] + w * image.stride[2];
}

template <class T>
struct Scalar {
  static constexpr int kWidth = 1;
  Wide<T> v[1];
  MK_INLINE static Scalar load(const T* p) { return {{Wide<T>(*p)}}; }
  MK_INLINE void store(T* p) const { *p = T(v[0]); }
};
struct Four {
  static constexpr int kWidth = 4;
  float v[4];
  MK_INLINE static Four load(const float* p) {
    const float4 x = load16(p);
    return {{x.x, x.y, x.z, x.w}};
  }
  MK_INLINE void store(float* p) const { store16(p, {v[0], v[1], v[2], v[3]}); }
};

// weights are [tap][result channel]; p.columns is the number of results of a channel. blockIdx.z is
// the class.
template <class T, class V>
MK_INLINE void depthwise(const ConvKernelArgs& p) {
  constexpr int kPixels = 2;
  const int cw = blockIdx.z % p.classes[2], ch = blockIdx.z / p.classes[2] % p.classes[1];
  const int cd = blockIdx.z / p.classes[2] / p.classes[1];
  const ConvAxisClass &d = p.axis[0][cd], &h = p.axis[1][ch], &w = p.axis[2][cw];
  const uint32_t pixels = p.images * d.count * h.count * w.count;
  const int results = p.groups * p.columns;
  const uint32_t across = results / V::kWidth, pairs = (pixels + kPixels - 1) / kPixels;
  const T* source = static_cast<const T*>(p.source.data);
  const T* weights = static_cast<const T*>(p.weights);
  const bool along_channels = p.result.stride_c == 1;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < int64_t{pairs} * across;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int c = (along_channels ? i % across : i / pairs) * V::kWidth;
    const uint32_t first = (along_channels ? i / across : i % pairs) * kPixels;
    const T* plane = source + (p.columns == 1 ? c : c / p.columns) * p.source.stride_c;
    int32_t at[kPixels][3];
    int64_t from[kPixels], to[kPixels];
    V sum[kPixels];
#pragma unroll
    for (int q = 0; q < kPixels; ++q) {
      uint32_t pixel = first + q < pixels ? first + q : first;
      const int32_t jw = w.counts.take(pixel), jh = h.counts.take(pixel), jd = d.counts.take(pixel);
      at[q][0] = d.in_first + jd * d.in_step;
      at[q][1] = h.in_first + jh * h.in_step;
      at[q][2] = w.in_first + jw * w.in_step;
      from[q] = pixel * p.source.stride_n;
      to[q] =
          pixel * p.result.stride_n +
          place_of(p.result, d.out_first + int64_t{jd} * d.out_step,
                   h.out_first + int64_t{jh} * h.out_step, w.out_first + int64_t{jw} * w.out_step) +
          c * p.result.stride_c;
#pragma unroll
      for (int j = 0; j < V::kWidth; ++j) sum[q].v[j] = 0;
    }
    for (int ud = 0; ud < d.taps; ++ud) {
      for (int uh = 0; uh < h.taps; ++uh) {
        for (int uw = 0; uw < w.taps; ++uw) {
          const int tap =
              ((d.tap_first + ud * d.tap_step) * p.kernel[1] + h.tap_first + uh * h.tap_step) *
                  p.kernel[2] +
              w.tap_first + uw * w.tap_step;
          const V weight = V::load(weights + int64_t{tap} * results + c);
#pragma unroll
          for (int q = 0; q < kPixels; ++q) {
            const uint32_t sd = at[q][0] + ud * d.in_tap_step, sh = at[q][1] + uh * h.in_tap_step;
            const uint32_t sw = at[q][2] + uw * w.in_tap_step;
            // Padding is multiplied too: an infinite weight makes it no number, as in the formula.
            V x = {};
            if (sd < static_cast<uint32_t>(p.source.size[0]) &&
                sh < static_cast<uint32_t>(p.source.size[1]) &&
                sw < static_cast<uint32_t>(p.source.size[2])) {
              x = V::load(plane + from[q] + place_of(p.source, sd, sh, sw));
            }
#pragma unroll
            for (int j = 0; j < V::kWidth; ++j) {
              sum[q].v[j] = fma(x.v[j], weight.v[j], sum[q].v[j]);
            }
          }
        }
      }
    }
#pragma unroll
    for (int q = 0; q < kPixels; ++q) {
      if (first + q >= pixels) break;
#pragma unroll
      for (int j = 0; j < V::kWidth; ++j) {
        sum[q].v[j] = with_bias<T>(sum[q].v[j], p.bias, p.half_bias, c + j, p.relu);
      }
      sum[q].store(static_cast<T*>(p.result.data) + to[q]);
    }
  }
}

// blockIdx: 32 channels of dy, the tap, the split.
template <class T>
MK_INLINE void depthwise_weight(const ConvWeightKernelArgs& p) {
  constexpr int kLines = 8;
  using W = Wide<T>;
  W* sums = shared<W>();
  const int lane = threadIdx.x % kWarp, line = threadIdx.x / kWarp;
  const int channels = p.dy_group, c = blockIdx.x * kWarp + lane;
  uint32_t tap = blockIdx.y;
  const int tw = p.kernel[2].take(tap), th = p.kernel[1].take(tap), td = tap;
  const int first = blockIdx.z * p.split_k;
  const int end = p.pixels - first < p.split_k ? p.pixels : first + p.split_k;
  W sum = 0;
  if (c < channels) {
    const T* x = static_cast<const T*>(p.x.data) + c / p.rows * p.x.stride_c;
    const T* dy = static_cast<const T*>(p.dy.data) + c * p.dy.stride_c;
#pragma unroll 4
    for (int i = first + line; i < end; i += kLines) {
      uint32_t pixel = i;
      const int64_t w = p.size[2].take(pixel), h = p.size[1].take(pixel);
      const int64_t d = p.size[0].take(pixel);
      const int64_t xd = d * p.stride[0] - p.pad[0] + int64_t{td} * p.dilation[0];
      const int64_t xh = h * p.stride[1] - p.pad[1] + int64_t{th} * p.dilation[1];
      const int64_t xw = w * p.stride[2] - p.pad[2] + int64_t{tw} * p.dilation[2];
      if (xd < 0 || xd >= p.x.size[0] || xh < 0 || xh >= p.x.size[1] || xw < 0 ||
          xw >= p.x.size[2]) {
        continue;
      }
      sum = fma(W(dy[pixel * p.dy.stride_n + place_of(p.dy, d, h, w)]),
                W(x[pixel * p.x.stride_n + place_of(p.x, xd, xh, xw)]), sum);
    }
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (line != 0 || c >= channels) return;
  for (int i = 1; i < kLines; ++i) sum += sums[i * kWarp + lane];
  static_cast<W*>(p.partial)[(int64_t{blockIdx.z} * channels + c) * p.taps + blockIdx.y] = sum;
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(conv_depthwise_f32_vectors, ConvKernelArgs, 256, 1) { depthwise<float, Four>(args); }
MK_KERNEL(conv_depthwise_f32, ConvKernelArgs, 256) { depthwise<float, Scalar<float>>(args); }
MK_KERNEL(conv_depthwise_f64, ConvKernelArgs, 256, 1) { depthwise<double, Scalar<double>>(args); }
MK_KERNEL(conv_depthwise_weight_f32, ConvWeightKernelArgs, 256) { depthwise_weight<float>(args); }
MK_KERNEL(conv_depthwise_weight_f64, ConvWeightKernelArgs, 256) { depthwise_weight<double>(args); }
MK_KERNEL(conv_depthwise_f16, ConvKernelArgs, 256) { depthwise<float16, Scalar<float16>>(args); }
MK_KERNEL(conv_depthwise_bf16, ConvKernelArgs, 256) { depthwise<bfloat16, Scalar<bfloat16>>(args); }
MK_KERNEL(conv_depthwise_weight_f16, ConvWeightKernelArgs, 256) { depthwise_weight<float16>(args); }
MK_KERNEL(conv_depthwise_weight_bf16, ConvWeightKernelArgs, 256) {
  depthwise_weight<bfloat16>(args);
}
