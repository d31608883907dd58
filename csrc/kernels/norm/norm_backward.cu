// The gradients of batch, group and instance normalization on CUDA.
//
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),   g = dy * weight, xhat = (x - mean) * rstd
//   dweight = sum of dy * xhat,   dbias = sum of dy
//
// With ReLU dy counts where y > 0: y is computed anew from x.
//
// Order     sums of dy and dy * (x - hi) over short stretches; merged per channel (and sample);
//           dweight, dbias and the coefficients of dx from those; then dx = k1 * dy + k2 * (x - hi)
//           + k0 from the end to the beginning.
// Memory    x and dy twice, dx once; the sums are 16 bytes per stretch of 128 numbers or more.
// Numerics  a thread's sums of up to kNormRows terms in T, all others in float64, in an order that
//           depends on the shape alone. hi is the mean rounded to T; what it lacks goes into k0.
#include "kernels/norm/norm.cuh"

namespace medkern::cuda {

// dy where y > 0, for d = x - hi; all of it without ReLU.
template <class T>
MK_INLINE T passed(const NormKernelArgs& a, const Affine<T>& affine, T dy, T d) {
  return a.relu && !(normalized(affine, d) > 0) ? T(0) : dy;
}

// Sums of dy and dy * (x - hi): of a few terms, and of all.
template <class T>
struct GradientSums {
  T few = 0, few_products = 0;
  double all = 0, products = 0;

  MK_INLINE void add(const NormKernelArgs& a, const Affine<T>& affine, T dy, T x) {
    const T d = x - affine.hi, gradient = passed(a, affine, dy, d);
    few += gradient;
    few_products = fma(gradient, d, few_products);
  }
  MK_INLINE void fold() {
    all += few;
    products += few_products;
    few = few_products = 0;
  }
};

template <class T, int lanes>
MK_INLINE void sums_of_columns(const NormKernelArgs& a) {
  constexpr int kRows = 4;
  const ChunkPlace chunk = chunk_place(a, blockIdx.x);
  const TilePlace at = tile_place<lanes>(a.tiles);
  using W = Wide<T>;
  GradientSums<W> of[lanes];
  if (at.inside) {
    Affine<W> affine[lanes];
#pragma unroll
    for (int i = 0; i < lanes; ++i) {
      const uint32_t channel = at.column + i;
      affine[i] = affine_of<W>(a, chunk.unit * a.groups + a.by_group.quotient(channel), channel);
    }
    const int64_t first = chunk.first * a.c + at.column;
    const T* x = static_cast<const T*>(a.x) + first;
    const T* dy = static_cast<const T*>(a.dy) + first;
    const auto add = [&](const Pack<T, lanes>& gradient, const Pack<T, lanes>& value) {
#pragma unroll
      for (int i = 0; i < lanes; ++i) of[i].add(a, affine[i], gradient.at[i], value.at[i]);
    };
    const auto fold = [&] {
#pragma unroll
      for (int i = 0; i < lanes; ++i) of[i].fold();
    };
    const uint32_t down = a.tiles.down;
    for_rows<kRows>(
        at.down, down, chunk.items,
        [&](uint32_t row) {
          Pack<T, lanes> gradient[kRows], value[kRows];
#pragma unroll
          for (int k = 0; k < kRows; ++k) {
            const int64_t offset = int64_t{row + k * down} * a.c;
            gradient[k] = load_pack<lanes>(dy + offset);
            value[k] = load_pack<lanes>(x + offset);
          }
#pragma unroll
          for (int k = 0; k < kRows; ++k) add(gradient[k], value[k]);
          fold();
        },
        [&](uint32_t row) {
          const int64_t offset = int64_t{row} * a.c;
          add(load_pack<lanes>(dy + offset), load_pack<lanes>(x + offset));
          fold();
        });
  }
  struct Pair {
    double all, products;
  };
  Pair sums[lanes];
#pragma unroll
  for (int i = 0; i < lanes; ++i) sums[i] = {of[i].all, of[i].products};
  merge_rows(
      sums, shared<Pair>(), at.across, a.tiles.across, at.down, a.tiles.down,
      [](const Pair& p, const Pair& q) { return Pair{p.all + q.all, p.products + q.products}; });
  if (!at.inside || at.down > 0) return;
  double* to = partial(a, chunk, a.c) + at.column;
#pragma unroll
  for (int i = 0; i < lanes; ++i) {
    to[i] = sums[i].all;
    to[a.c + i] = sums[i].products;
  }
}

template <class T, int lanes, int threads>
MK_INLINE void sums_of_runs(const NormKernelArgs& a) {
  const uint32_t item = team_number<threads>();
  if (item >= a.units * a.chunks) return;
  const ChunkPlace chunk = chunk_place(a, item);
  const ChannelPlace place = channel_place(a, chunk.unit);
  using W = Wide<T>;
  const Affine<W> affine = affine_of<W>(a, place.statistic, place.channel);
  const T* x = static_cast<const T*>(a.x) + chunk.first;
  const T* dy = static_cast<const T*>(a.dy) + chunk.first;
  GradientSums<W> of;
  constexpr uint32_t step = threads * lanes;
  for (uint32_t base = threadIdx.x % threads * lanes; base < chunk.items;
       base += kNormVectors * step) {
    Pack<T, lanes> gradient[kNormVectors], value[kNormVectors];
#pragma unroll
    for (int k = 0; k < kNormVectors; ++k) {
      const uint32_t i = base + k * step;
      if (i >= chunk.items) continue;
      gradient[k] = load_pack<lanes>(dy + i);
      value[k] = load_pack<lanes>(x + i);
    }
#pragma unroll
    for (int k = 0; k < kNormVectors; ++k) {
      if (base + k * step >= chunk.items) continue;
#pragma unroll
      for (int i = 0; i < lanes; ++i) of.add(a, affine, gradient[k].at[i], value[k].at[i]);
    }
    of.fold();
  }
  double sums[2] = {of.all, of.products};
  sum_team<threads>(sums);
  if (threadIdx.x % threads > 0) return;
  double* to = partial(a, chunk, 1);
  to[0] = sums[0];
  to[1] = sums[1];
}

// The mean less its rounded value.
template <class T>
MK_INLINE double mean_rest(const NormKernelArgs& a, uint32_t statistic) {
  return a.mean[statistic] - static_cast<T>(a.mean[statistic]);
}

template <class T>
MK_INLINE void give_parameters(const NormKernelArgs& a, uint32_t channel, const double (&sums)[2]) {
  if (a.dweight != nullptr) static_cast<T*>(a.dweight)[channel] = static_cast<T>(sums[1]);
  if (a.dbias != nullptr) static_cast<T*>(a.dbias)[channel] = static_cast<T>(sums[0]);
}

// `sums` of weight * dy and weight * dy * (x - mean) over all that share the statistic.
MK_INLINE void give_slopes(const NormKernelArgs& a, uint32_t statistic, double rest,
                           const double (&sums)[2]) {
  const double values =
      static_cast<double>(a.n) * a.c * a.s / ((a.over_batch ? 1 : a.n) * a.groups);
  const double rstd = a.rstd[statistic];
  const double slope = -rstd * rstd * rstd * sums[1] / values;
  a.slopes[2 * statistic] = slope;
  a.slopes[2 * statistic + 1] = -rstd * sums[0] / values - slope * rest;
}

template <class T>
MK_INLINE double weight_of(const NormKernelArgs& a, uint32_t channel) {
  return a.weight != nullptr ? static_cast<const T*>(a.weight)[channel] : T(1);
}

// The totals of a channel (of a sample, unless over_batch): its chunks' sums.
template <class T, int threads>
MK_INLINE void totals(const NormKernelArgs& a) {
  const uint32_t i = team_number<threads>();
  if (i >= (a.over_batch ? 1 : a.n) * a.c) return;
  const bool batch_runs = a.over_batch && !a.channels_last;
  const uint32_t count = batch_runs ? static_cast<uint32_t>(a.n) * a.chunks : a.chunks;
  const ChannelPlace place = channel_place(a, i);
  const uint32_t width = a.channels_last ? a.c : 1;
  const int64_t unit = a.channels_last ? a.by_channels.quotient(i) : i;
  double sums[2] = {0, 0};
#pragma unroll 4
  for (uint32_t k = threadIdx.x % threads; k < count; k += threads) {
    uint32_t sample = k;
    const uint32_t chunk = a.by_chunks.take(sample);  // sample is 0 but for batch_runs
    const double* from = a.partials +
                         ((unit + int64_t{sample} * a.c) * a.chunks + chunk) * 2 * width +
                         (a.channels_last ? place.channel : 0);
    sums[0] += from[0];
    sums[1] += from[width];
  }
  sum_team<threads>(sums);
  if (threadIdx.x % threads > 0) return;
  const double rest = mean_rest<T>(a, place.statistic);
  sums[1] -= rest * sums[0];  // of dy * (x - mean)
  if (!a.over_batch) {
    a.totals[2 * i] = sums[0];
    a.totals[2 * i + 1] = sums[1];
    return;
  }
  const double weight = weight_of<T>(a, place.channel);
  const double weighted[2] = {weight * sums[0], weight * sums[1]};
  give_slopes(a, place.statistic, rest, weighted);
  sums[1] *= a.rstd[place.statistic];
  give_parameters<T>(a, place.channel, sums);
}

// From the totals of samples a warp makes the gradients of a channel's parameters, or the
// coefficients of a statistic.
template <class T>
MK_INLINE void gradients_of_samples(const NormKernelArgs& a) {
  const uint32_t i = team_number<kWarp>(), lane = threadIdx.x % kWarp;
  double sums[2] = {0, 0};
  if (i < a.c) {
    for (uint32_t n = lane; n < a.n; n += kWarp) {
      const ChannelPlace place = channel_place(a, n * a.c + i);
      const double* of = a.totals + 2 * (int64_t{n} * a.c + i);
      sums[0] += of[0];
      sums[1] = fma(of[1], a.rstd[place.statistic], sums[1]);
    }
    sum_team<kWarp>(sums);
    if (lane == 0) give_parameters<T>(a, i, sums);
  } else if (i - a.c < a.n * a.groups) {
    const uint32_t statistic = i - a.c, sample = statistic / a.groups;
    const uint32_t first = (statistic - sample * a.groups) * a.per_group;
    for (uint32_t c = first + lane; c < first + a.per_group; c += kWarp) {
      const double* of = a.totals + 2 * (int64_t{sample} * a.c + c);
      const double weight = weight_of<T>(a, c);
      sums[0] = fma(weight, of[0], sums[0]);
      sums[1] = fma(weight, of[1], sums[1]);
    }
    sum_team<kWarp>(sums);
    if (lane == 0) give_slopes(a, statistic, mean_rest<T>(a, statistic), sums);
  }
}

// dx = k1 * dy + k2 * (x - hi) + k0, with dy where y > 0 only if there is ReLU.
template <class T>
struct Slopes {
  Affine<T> affine;
  T k1, k2, k0;
};
template <class T>
MK_INLINE Slopes<T> slopes_of(const NormKernelArgs& a, uint32_t statistic, uint32_t channel) {
  return {affine_of<T>(a, statistic, channel),
          static_cast<T>(a.rstd[statistic] * weight_of<T>(a, channel)),
          static_cast<T>(a.slopes[2 * statistic]), static_cast<T>(a.slopes[2 * statistic + 1])};
}

// Of constant statistics (`constant`) x has no part in dx, not even where it is NaN; `value` is
// read with ReLU only.
template <bool constant, class T, int lanes>
MK_INLINE Pack<T, lanes> input_gradient(const NormKernelArgs& a, const Slopes<Wide<T>>* of,
                                        int step, Pack<T, lanes> gradient,
                                        const Pack<T, lanes>& value) {
  using W = Wide<T>;
#pragma unroll
  for (int i = 0; i < lanes; ++i) {
    const Slopes<W>& s = of[i * step];
    const W d = value.at[i] - s.affine.hi;
    const W result = s.k1 * passed(a, s.affine, W(gradient.at[i]), d);
    gradient.at[i] = T(constant ? result : result + fma(s.k2, d, s.k0));
  }
  return gradient;
}

template <bool constant, class T, int lanes>
MK_INLINE void gradient_of_rows(const NormKernelArgs& a) {
  using W = Wide<T>;
  constexpr int kRows = 4 * sizeof(float) / sizeof(W);
  const RowsPlace rows = rows_place(a);
  const TilePlace at = tile_place<lanes>(a.tiles);
  if (!at.inside) return;
  Slopes<W> of[lanes];
#pragma unroll
  for (int i = 0; i < lanes; ++i) {
    const uint32_t channel = at.column + i;
    of[i] = slopes_of<W>(a, rows.unit * a.groups + a.by_group.quotient(channel), channel);
  }
  const int64_t first = int64_t{rows.unit} * a.pixels * a.c + at.column;
  const T* x = static_cast<const T*>(a.x) + first;
  const T* dy = static_cast<const T*>(a.dy) + first;
  T* dx = static_cast<T*>(a.y) + first;
  const uint32_t down = a.tiles.down;
  const bool reads = !constant || a.relu;
  for_rows<kRows>(
      rows.begin + at.down, down, rows.end,
      [&](uint32_t row) {
        Pack<T, lanes> gradient[kRows], value[kRows] = {};
#pragma unroll
        for (int k = 0; k < kRows; ++k) {
          const int64_t offset = int64_t{row + k * down} * a.c;
          gradient[k] = load_pack<lanes>(dy + offset);
          if (reads) value[k] = load_pack<lanes>(x + offset);
        }
#pragma unroll
        for (int k = 0; k < kRows; ++k) {
          store_pack(dx + int64_t{row + k * down} * a.c,
                     input_gradient<constant>(a, of, 1, gradient[k], value[k]));
        }
      },
      [&](uint32_t row) {
        const int64_t offset = int64_t{row} * a.c;
        Pack<T, lanes> value = {};
        if (reads) value = load_pack<lanes>(x + offset);
        store_pack(dx + offset,
                   input_gradient<constant>(a, of, 1, load_pack<lanes>(dy + offset), value));
      });
}

template <bool constant, class T, int lanes>
MK_INLINE void gradient_of_runs(const NormKernelArgs& a) {
  using W = Wide<T>;
  const FlatPlace at = flat_place(a);
  Pack<T, lanes> gradient[kNormVectors], value[kNormVectors] = {};
#pragma unroll
  for (int k = 0; k < kNormVectors; ++k) {
    const int64_t vector = at.first + k * kNormThreads;
    if (vector >= a.count) continue;
    gradient[k] = load_pack<lanes>(static_cast<const T*>(a.dy) + vector * lanes);
    if (!constant || a.relu) {
      value[k] = load_pack<lanes>(static_cast<const T*>(a.x) + vector * lanes);
    }
  }
  uint32_t known = 0;
  Slopes<W> of;
#pragma unroll
  for (int k = 0; k < kNormVectors; ++k) {
    const int64_t vector = at.first + k * kNormThreads;
    if (vector >= a.count) return;
    const uint32_t plane = at.plane + a.by_plane.quotient(at.rest + k * kNormThreads);
    if (k == 0 || plane != known) {
      const ChannelPlace place = channel_place(a, plane);
      of = slopes_of<W>(a, place.statistic, place.channel);
      known = plane;
    }
    store_pack(static_cast<T*>(a.y) + vector * lanes,
               input_gradient<constant>(a, &of, 0, gradient[k], value[k]));
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(norm_sums_columns_f32x4, NormKernelArgs, 256) { sums_of_columns<float, 4>(args); }
MK_KERNEL(norm_sums_columns_f32, NormKernelArgs, 256) { sums_of_columns<float, 1>(args); }
MK_KERNEL(norm_sums_columns_f64, NormKernelArgs, 256) { sums_of_columns<double, 1>(args); }

MK_KERNEL(norm_sums_runs_f32x4, NormKernelArgs, 256) { sums_of_runs<float, 4, 256>(args); }
MK_KERNEL(norm_sums_runs_f32, NormKernelArgs, 256) { sums_of_runs<float, 1, 256>(args); }
MK_KERNEL(norm_sums_runs_f64, NormKernelArgs, 256) { sums_of_runs<double, 1, 256>(args); }
MK_KERNEL(norm_sums_short_runs_f32x4, NormKernelArgs, 256) { sums_of_runs<float, 4, 32>(args); }
MK_KERNEL(norm_sums_short_runs_f32, NormKernelArgs, 256) { sums_of_runs<float, 1, 32>(args); }
MK_KERNEL(norm_sums_short_runs_f64, NormKernelArgs, 256) { sums_of_runs<double, 1, 32>(args); }

MK_KERNEL(norm_totals_by_block_f32, NormKernelArgs, 256) { totals<float, 256>(args); }
MK_KERNEL(norm_totals_by_block_f64, NormKernelArgs, 256) { totals<double, 256>(args); }
MK_KERNEL(norm_totals_by_warp_f32, NormKernelArgs, 256) { totals<float, 32>(args); }
MK_KERNEL(norm_totals_by_warp_f64, NormKernelArgs, 256) { totals<double, 32>(args); }
MK_KERNEL(norm_gradients_of_samples_f32, NormKernelArgs, 256) { gradients_of_samples<float>(args); }
MK_KERNEL(norm_gradients_of_samples_f64, NormKernelArgs, 256) {
  gradients_of_samples<double>(args);
}

MK_KERNEL(norm_gradient_rows_f32x4, NormKernelArgs, 256) {
  gradient_of_rows<false, float, 4>(args);
}
MK_KERNEL(norm_gradient_rows_f32, NormKernelArgs, 256) { gradient_of_rows<false, float, 1>(args); }
MK_KERNEL(norm_gradient_rows_f64, NormKernelArgs, 256) { gradient_of_rows<false, double, 1>(args); }
MK_KERNEL(norm_gradient_runs_f32x4, NormKernelArgs, 256) {
  gradient_of_runs<false, float, 4>(args);
}
MK_KERNEL(norm_gradient_runs_f32, NormKernelArgs, 256) { gradient_of_runs<false, float, 1>(args); }
MK_KERNEL(norm_gradient_runs_f64, NormKernelArgs, 256) { gradient_of_runs<false, double, 1>(args); }

MK_KERNEL(norm_constant_gradient_rows_f32x4, NormKernelArgs, 256) {
  gradient_of_rows<true, float, 4>(args);
}
MK_KERNEL(norm_constant_gradient_rows_f32, NormKernelArgs, 256) {
  gradient_of_rows<true, float, 1>(args);
}
MK_KERNEL(norm_constant_gradient_rows_f64, NormKernelArgs, 256) {
  gradient_of_rows<true, double, 1>(args);
}
MK_KERNEL(norm_constant_gradient_runs_f32x4, NormKernelArgs, 256) {
  gradient_of_runs<true, float, 4>(args);
}
MK_KERNEL(norm_constant_gradient_runs_f32, NormKernelArgs, 256) {
  gradient_of_runs<true, float, 1>(args);
}
MK_KERNEL(norm_constant_gradient_runs_f64, NormKernelArgs, 256) {
  gradient_of_runs<true, double, 1>(args);
}

// 16-bit images.
MK_KERNEL(norm_sums_columns_bf16x8, NormKernelArgs, 256) { sums_of_columns<bfloat16, 8>(args); }
MK_KERNEL(norm_sums_runs_bf16x8, NormKernelArgs, 256) { sums_of_runs<bfloat16, 8, 256>(args); }
MK_KERNEL(norm_sums_short_runs_bf16x8, NormKernelArgs, 256) { sums_of_runs<bfloat16, 8, 32>(args); }
MK_KERNEL(norm_gradient_rows_bf16x8, NormKernelArgs, 256) {
  gradient_of_rows<false, bfloat16, 8>(args);
}
MK_KERNEL(norm_gradient_runs_bf16x8, NormKernelArgs, 256) {
  gradient_of_runs<false, bfloat16, 8>(args);
}
MK_KERNEL(norm_constant_gradient_rows_bf16x8, NormKernelArgs, 256) {
  gradient_of_rows<true, bfloat16, 8>(args);
}
MK_KERNEL(norm_constant_gradient_runs_bf16x8, NormKernelArgs, 256) {
  gradient_of_runs<true, bfloat16, 8>(args);
}
MK_KERNEL(norm_sums_columns_bf16, NormKernelArgs, 256) { sums_of_columns<bfloat16, 1>(args); }
MK_KERNEL(norm_sums_runs_bf16, NormKernelArgs, 256) { sums_of_runs<bfloat16, 1, 256>(args); }
MK_KERNEL(norm_sums_short_runs_bf16, NormKernelArgs, 256) { sums_of_runs<bfloat16, 1, 32>(args); }
MK_KERNEL(norm_gradient_rows_bf16, NormKernelArgs, 256) {
  gradient_of_rows<false, bfloat16, 1>(args);
}
MK_KERNEL(norm_gradient_runs_bf16, NormKernelArgs, 256) {
  gradient_of_runs<false, bfloat16, 1>(args);
}
MK_KERNEL(norm_constant_gradient_rows_bf16, NormKernelArgs, 256) {
  gradient_of_rows<true, bfloat16, 1>(args);
}
MK_KERNEL(norm_constant_gradient_runs_bf16, NormKernelArgs, 256) {
  gradient_of_runs<true, bfloat16, 1>(args);
}
