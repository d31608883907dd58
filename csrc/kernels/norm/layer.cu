// Layer normalization on CUDA, forward and backward: rows of `width` contiguous elements.
//
//   y  = (x - mean) * rstd * weight + bias
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),   g = dy * weight, xhat = (x - mean) * rstd
//   dweight = sum over rows of dy * xhat,   dbias = sum over rows of dy
//
// Order     a warp or a block takes a row, for its sums and again for the result: the second
//           reading hits the cache. dweight and dbias: blocks sum a tile of columns over a chunk of
//           rows; then the chunks are merged.
// Memory    forward x and y once; backward x and dy twice, dx once.
// Numerics  sums in float64, but for those of up to kNormRows terms of a gradient, which are in T
//           (float32 of 16-bit rows, whose parameters are float32 as well);
//           their order depends on the shape alone. The mean is used as in norm.cuh.
#include "kernels/norm/layer.cuda.h"
#include "kernels/norm/norm.cuh"

namespace medkern::cuda {

template <class T, int lanes>
MK_INLINE Pack<T, lanes> load_or(const void* p, uint32_t at, T otherwise) {
  if (p != nullptr) return load_pack<lanes>(static_cast<const T*>(p) + at);
  Pack<T, lanes> pack;
#pragma unroll
  for (int i = 0; i < lanes; ++i) pack.at[i] = otherwise;
  return pack;
}

template <class T, int lanes, int threads>
MK_INLINE void layer_norm_forward(const LayerNormKernelArgs& a) {
  using W = Wide<T>;
  const uint32_t row = team_number<threads>(), first = threadIdx.x % threads * lanes;
  if (row >= a.rows) return;
  const T* x = static_cast<const T*>(a.x) + int64_t{row} * a.width;
  T* y = static_cast<T*>(a.y) + int64_t{row} * a.width;
  constexpr uint32_t step = threads * lanes;
  const double origin = a.width > 0 ? W(x[0]) : W(0);
  double sums[2] = {0, 0};
#pragma unroll 4
  for (uint32_t i = first; i < a.width; i += step) {
    const auto value = load_wide<lanes>(x + i);
#pragma unroll
    for (int k = 0; k < lanes; ++k) {
      const double d = value.at[k] - origin;
      sums[0] += d;
      sums[1] = fma(d, d, sums[1]);
    }
  }
  sum_team<threads>(sums);
  const double count = a.width > 0 ? a.width : 1;
  const double rest = sums[1] - sums[0] * sums[0] / count;
  const double mean = origin + sums[0] / count;
  const double rstd = 1 / sqrt((rest < 0 ? 0 : rest) / count + a.eps);
  if (threadIdx.x % threads == 0) {
    a.mean[row] = mean;
    a.rstd[row] = rstd;
  }
  const W hi = static_cast<W>(mean), scale = static_cast<W>(rstd);
  const W shift = static_cast<W>((hi - mean) * rstd);
#pragma unroll 4
  for (uint32_t i = first; i < a.width; i += step) {
    auto value = load_wide<lanes>(x + i);
    const auto weight = load_or<W, lanes>(a.weight, i, 1);
    const auto bias = load_or<W, lanes>(a.bias, i, 0);
#pragma unroll
    for (int k = 0; k < lanes; ++k) {
      const W xhat = fma(value.at[k] - hi, scale, shift);
      value.at[k] = fma(xhat, weight.at[k], bias.at[k]);
    }
    store_rounded(y + i, value);
  }
}

template <class T, int lanes, int threads>
MK_INLINE void layer_norm_input_gradient(const LayerNormKernelArgs& a) {
  using W = Wide<T>;
  const uint32_t row = team_number<threads>(), first = threadIdx.x % threads * lanes;
  if (row >= a.rows) return;
  const int64_t offset = int64_t{row} * a.width;
  const T* x = static_cast<const T*>(a.x) + offset;
  const T* dy = static_cast<const T*>(a.dy) + offset;
  T* dx = static_cast<T*>(a.y) + offset;
  constexpr uint32_t step = threads * lanes;
  const double mean = a.mean[row], rstd = a.rstd[row];
  const W hi = static_cast<W>(mean);
  double sums[2] = {0, 0};  // of g and of g * (x - hi)
#pragma unroll 4
  for (uint32_t i = first; i < a.width; i += step) {
    const auto gradient = load_wide<lanes>(dy + i), value = load_wide<lanes>(x + i);
    const auto weight = load_or<W, lanes>(a.weight, i, 1);
    W all = 0, products = 0;
#pragma unroll
    for (int k = 0; k < lanes; ++k) {
      const W g = gradient.at[k] * weight.at[k];
      all += g;
      products = fma(g, value.at[k] - hi, products);
    }
    sums[0] += all;
    sums[1] += products;
  }
  sum_team<threads>(sums);
  const double rest = mean - hi, count = a.width;
  const double slope = -rstd * rstd * rstd * (sums[1] - rest * sums[0]) / count;
  const W k1 = static_cast<W>(rstd), k2 = static_cast<W>(slope);
  const W k0 = static_cast<W>(-rstd * sums[0] / count - slope * rest);
#pragma unroll 4
  for (uint32_t i = first; i < a.width; i += step) {
    auto gradient = load_wide<lanes>(dy + i);
    const auto value = load_wide<lanes>(x + i);
    const auto weight = load_or<W, lanes>(a.weight, i, 1);
#pragma unroll
    for (int k = 0; k < lanes; ++k) {
      const W g = gradient.at[k] * weight.at[k];
      gradient.at[k] = fma(k1, g, fma(k2, value.at[k] - hi, k0));
    }
    store_rounded(dx + i, gradient);
  }
}

struct ParameterSums {
  double of_bias, of_weight;
};
MK_INLINE ParameterSums operator+(const ParameterSums& p, const ParameterSums& q) {
  return {p.of_bias + q.of_bias, p.of_weight + q.of_weight};
}

template <class T, int lanes>
MK_INLINE void layer_norm_parameter_sums(const LayerNormKernelArgs& a) {
  using W = Wide<T>;
  constexpr int kRows = 4;
  const TilePlace at = tile_place<lanes>(a.tiles);
  const uint32_t begin = blockIdx.x * a.chunk, end = min(begin + a.chunk, a.rows);
  ParameterSums of[lanes] = {};
  if (at.inside) {
    const T* x = static_cast<const T*>(a.x) + at.column;
    const T* dy = static_cast<const T*>(a.dy) + at.column;
    const auto add = [&](auto rows, uint32_t row) {
      Pack<T, lanes> gradient[rows.count], value[rows.count];
#pragma unroll
      for (int k = 0; k < rows.count; ++k) {
        const int64_t offset = int64_t{row + k * a.tiles.down} * a.width;
        gradient[k] = load_pack<lanes>(dy + offset);
        value[k] = load_pack<lanes>(x + offset);
      }
      W all[lanes] = {}, products[lanes] = {};
#pragma unroll
      for (int k = 0; k < rows.count; ++k) {
        const double mean = a.mean[row + k * a.tiles.down], rstd = a.rstd[row + k * a.tiles.down];
        const W hi = static_cast<W>(mean), scale = static_cast<W>(rstd);
        const W shift = static_cast<W>((hi - mean) * rstd);
#pragma unroll
        for (int i = 0; i < lanes; ++i) {
          const W xhat = fma(W(value[k].at[i]) - hi, scale, shift), g = gradient[k].at[i];
          all[i] += g;
          products[i] = fma(g, xhat, products[i]);
        }
      }
#pragma unroll
      for (int i = 0; i < lanes; ++i) {
        of[i].of_bias += all[i];
        of[i].of_weight += products[i];
      }
    };
    for_rows<kRows>(
        begin + at.down, a.tiles.down, end, [&](uint32_t row) { add(Rows<kRows>(), row); },
        [&](uint32_t row) { add(Rows<1>(), row); });
  }
  merge_rows(of, shared<ParameterSums>(), at.across, a.tiles.across, at.down, a.tiles.down, Sum());
  if (!at.inside || at.down > 0) return;
  double* to = a.partials + int64_t{blockIdx.x} * 2 * a.width + at.column;
#pragma unroll
  for (int i = 0; i < lanes; ++i) {
    to[i] = of[i].of_bias;
    to[a.width + i] = of[i].of_weight;
  }
}

template <class T>
MK_INLINE void layer_norm_parameter_gradients(const LayerNormKernelArgs& a) {
  const uint32_t lane = threadIdx.x % kMergeColumns, row = threadIdx.x / kMergeColumns;
  const uint32_t column = blockIdx.x * kMergeColumns + lane;
  ParameterSums of[1] = {};
  if (column < a.width) {
#pragma unroll 4
    for (uint32_t chunk = row; chunk < a.chunks; chunk += kMergeRows) {
      const double* from = a.partials + int64_t{chunk} * 2 * a.width + column;
      of[0] = of[0] + ParameterSums{from[0], from[a.width]};
    }
  }
  merge_rows(of, shared<ParameterSums>(), lane, kMergeColumns, row, kMergeRows, Sum());
  if (row > 0 || column >= a.width) return;
  if (a.dweight != nullptr) static_cast<T*>(a.dweight)[column] = static_cast<T>(of[0].of_weight);
  if (a.dbias != nullptr) static_cast<T*>(a.dbias)[column] = static_cast<T>(of[0].of_bias);
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(layer_norm_by_block_f32x4, LayerNormKernelArgs, 256) {
  layer_norm_forward<float, 4, 256>(args);
}
MK_KERNEL(layer_norm_by_block_f32, LayerNormKernelArgs, 256) {
  layer_norm_forward<float, 1, 256>(args);
}
MK_KERNEL(layer_norm_by_block_f64, LayerNormKernelArgs, 256) {
  layer_norm_forward<double, 1, 256>(args);
}
MK_KERNEL(layer_norm_by_warp_f32x4, LayerNormKernelArgs, 256) {
  layer_norm_forward<float, 4, 32>(args);
}
MK_KERNEL(layer_norm_by_warp_f32, LayerNormKernelArgs, 256) {
  layer_norm_forward<float, 1, 32>(args);
}
MK_KERNEL(layer_norm_by_warp_f64, LayerNormKernelArgs, 256) {
  layer_norm_forward<double, 1, 32>(args);
}

MK_KERNEL(layer_norm_gradient_by_block_f32x4, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<float, 4, 256>(args);
}
MK_KERNEL(layer_norm_gradient_by_block_f32, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<float, 1, 256>(args);
}
MK_KERNEL(layer_norm_gradient_by_block_f64, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<double, 1, 256>(args);
}
MK_KERNEL(layer_norm_gradient_by_warp_f32x4, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<float, 4, 32>(args);
}
MK_KERNEL(layer_norm_gradient_by_warp_f32, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<float, 1, 32>(args);
}
MK_KERNEL(layer_norm_gradient_by_warp_f64, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<double, 1, 32>(args);
}

MK_KERNEL(layer_norm_parameter_sums_f32x4, LayerNormKernelArgs, 256) {
  layer_norm_parameter_sums<float, 4>(args);
}
MK_KERNEL(layer_norm_parameter_sums_f32, LayerNormKernelArgs, 256) {
  layer_norm_parameter_sums<float, 1>(args);
}
MK_KERNEL(layer_norm_parameter_sums_f64, LayerNormKernelArgs, 256) {
  layer_norm_parameter_sums<double, 1>(args);
}
MK_KERNEL(layer_norm_parameter_gradients_f32, LayerNormKernelArgs, 256) {
  layer_norm_parameter_gradients<float>(args);
}
MK_KERNEL(layer_norm_parameter_gradients_f64, LayerNormKernelArgs, 256) {
  layer_norm_parameter_gradients<double>(args);
}

// 16-bit rows.
MK_KERNEL(layer_norm_by_block_bf16x8, LayerNormKernelArgs, 256) {
  layer_norm_forward<bfloat16, 8, 256>(args);
}
MK_KERNEL(layer_norm_by_block_bf16, LayerNormKernelArgs, 256) {
  layer_norm_forward<bfloat16, 1, 256>(args);
}
MK_KERNEL(layer_norm_by_warp_bf16x8, LayerNormKernelArgs, 256) {
  layer_norm_forward<bfloat16, 8, 32>(args);
}
MK_KERNEL(layer_norm_by_warp_bf16, LayerNormKernelArgs, 256, 4) {
  layer_norm_forward<bfloat16, 1, 32>(args);
}
MK_KERNEL(layer_norm_gradient_by_block_bf16x8, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<bfloat16, 8, 256>(args);
}
MK_KERNEL(layer_norm_gradient_by_block_bf16, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<bfloat16, 1, 256>(args);
}
MK_KERNEL(layer_norm_gradient_by_warp_bf16x8, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<bfloat16, 8, 32>(args);
}
MK_KERNEL(layer_norm_gradient_by_warp_bf16, LayerNormKernelArgs, 256) {
  layer_norm_input_gradient<bfloat16, 1, 32>(args);
}
MK_KERNEL(layer_norm_parameter_sums_bf16x8, LayerNormKernelArgs, 256) {
  layer_norm_parameter_sums<bfloat16, 8>(args);
}
MK_KERNEL(layer_norm_parameter_sums_bf16, LayerNormKernelArgs, 256) {
  layer_norm_parameter_sums<bfloat16, 1>(args);
}
