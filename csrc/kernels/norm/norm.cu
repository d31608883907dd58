// Batch, group and instance normalization on CUDA. The backward pass: norm_backward.cu.
//
//   y = (x - mean) * rstd * weight + bias,   rstd = 1 / sqrt(var + eps)
//
// With ReLU y is max(y, 0).
//
// Order     moments of short stretches (of columns in channels-last memory, of runs else), a block
//           or a warp each; then those of each statistic merged; then y = (x - hi) * scale + shift,
//           from the end to the beginning, since the end is what the cache still holds.
//           Moments that are given, by the convolution that made x, are merged at once.
// Memory    x twice (once, if its moments are given), y once; the moments are 16 bytes per stretch
// of 128 numbers or more. Numerics  sums of x - k and (x - k)^2 in float64, k being a value of the
// stretch: nothing is lost
//           where the mean is far larger than the spread. The order of sums depends on the shape of
//           a sample (of the batch, over_batch) alone. bfloat16 images have float32 parameters; the
//           result is computed in float32 and rounded once.
#include "kernels/norm/norm.cuh"

namespace medkern::cuda {

// Sums of x - origin and of its squares.
struct Deviations {
  double sum, squares;
  MK_INLINE void add(double d) {
    sum += d;
    squares = fma(d, d, squares);
  }
};

MK_INLINE void store_moments(double origin, double sum, double squares, double count, double* mean,
                             double* m2) {
  const double rest = squares - sum * sum / count;
  *mean = origin + sum / count;
  *m2 = rest < 0 ? 0 : rest;
}

// A block (of columns.down rows of threads) takes the columns of a tile over a chunk of rows.
template <class T, int lanes>
MK_INLINE void moments_of_columns(const NormKernelArgs& a) {
  const ChunkPlace chunk = chunk_place(a, blockIdx.x);
  const TilePlace at = tile_place<lanes>(a.tiles);
  Deviations of[lanes] = {};
  double origin[lanes] = {};
  if (at.inside) {
    const T* x = static_cast<const T*>(a.x) + chunk.first * a.c + at.column;
    const Pack<T, lanes> first = load_pack<lanes>(x);
#pragma unroll
    for (int i = 0; i < lanes; ++i) origin[i] = first.at[i];
    const auto add = [&](const Pack<T, lanes>& value) {
#pragma unroll
      for (int i = 0; i < lanes; ++i) of[i].add(value.at[i] - origin[i]);
    };
    const uint32_t down = a.tiles.down;
    for_rows<kNormRows>(
        at.down, down, chunk.items,
        [&](uint32_t row) {
          Pack<T, lanes> value[kNormRows];
#pragma unroll
          for (int k = 0; k < kNormRows; ++k) {
            value[k] = load_pack<lanes>(x + int64_t{row + k * down} * a.c);
          }
#pragma unroll
          for (int k = 0; k < kNormRows; ++k) add(value[k]);
        },
        [&](uint32_t row) { add(load_pack<lanes>(x + int64_t{row} * a.c)); });
  }
  merge_rows(of, shared<Deviations>(), at.across, a.tiles.across, at.down, a.tiles.down,
             [](const Deviations& p, const Deviations& q) {
               return Deviations{p.sum + q.sum, p.squares + q.squares};
             });
  if (!at.inside || at.down > 0) return;
  double* mean = partial(a, chunk, a.c) + at.column;
#pragma unroll
  for (int i = 0; i < lanes; ++i) {
    store_moments(origin[i], of[i].sum, of[i].squares, chunk.items, mean + i, mean + a.c + i);
  }
}

// A team of `threads` threads takes a chunk of a run.
template <class T, int lanes, int threads>
MK_INLINE void moments_of_runs(const NormKernelArgs& a) {
  const uint32_t item = team_number<threads>();
  if (item >= a.units * a.chunks) return;
  const ChunkPlace chunk = chunk_place(a, item);
  const T* x = static_cast<const T*>(a.x) + chunk.first;
  const double origin = x[0];
  Deviations of = {};
  constexpr uint32_t step = threads * lanes;
  for (uint32_t base = threadIdx.x % threads * lanes; base < chunk.items;
       base += kNormVectors * step) {
    Pack<T, lanes> value[kNormVectors];
#pragma unroll
    for (int k = 0; k < kNormVectors; ++k) {
      if (base + k * step < chunk.items) value[k] = load_pack<lanes>(x + base + k * step);
    }
#pragma unroll
    for (int k = 0; k < kNormVectors; ++k) {
      if (base + k * step >= chunk.items) continue;
#pragma unroll
      for (int i = 0; i < lanes; ++i) of.add(value[k].at[i] - origin);
    }
  }
  double sums[2] = {of.sum, of.squares};
  sum_team<threads>(sums);
  if (threadIdx.x % threads > 0) return;
  double* to = partial(a, chunk, 1);
  store_moments(origin, sums[0], sums[1], chunk.items, to, to + 1);
}

// Merges the given moments of a column that make a chunk: a thread each.
MK_INLINE void fold(const NormKernelArgs& a) {
  uint32_t item = blockIdx.x * kNormThreads + threadIdx.x;
  if (item >= a.units * a.chunks * a.c) return;
  const uint32_t column = a.by_channels.take(item);
  const ChunkPlace chunk = chunk_place(a, item);
  const uint32_t first = chunk.chunk * a.fold, end = min(first + a.fold, a.given_chunks);
  const double* from = a.given + (int64_t{chunk.unit} * a.given_chunks + first) * 2 * a.c + column;
  const double origin = from[0];
  double sum = 0, squares = 0;
#pragma unroll 8
  for (uint32_t k = first; k < end; ++k, from += 2 * a.c) {
    const double count = min(int64_t{a.given_rows}, a.length - int64_t{k} * a.given_rows);
    const double d = from[0] - origin;
    sum = fma(count, d, sum);
    squares += fma(count * d, d, from[a.c]);
  }
  double* to = partial(a, chunk, a.c) + column;
  store_moments(origin, sum, squares, chunk.items, to, to + a.c);
}

// The partial results that make a statistic, in the order in which they are summed.
struct Members {
  uint32_t statistic, count;

  MK_INLINE Members(const NormKernelArgs& a, uint32_t i) : statistic(i), count(a.chunks) {
    if (a.over_batch && !a.channels_last) count *= static_cast<uint32_t>(a.n);
    if (!a.over_batch && a.channels_last) count *= a.per_group;
  }
  // Offset of the mean of member k, and its chunk.
  MK_INLINE int64_t at(const NormKernelArgs& a, uint32_t k, uint32_t& chunk) const {
    if (!a.channels_last) {
      uint32_t sample = k;
      chunk = a.by_chunks.take(sample);
      const int64_t unit = a.over_batch ? int64_t{sample} * a.c + statistic : statistic;
      return (unit * a.chunks + chunk) * 2;
    }
    if (a.over_batch) {
      chunk = k;
      return int64_t{k} * 2 * a.c + statistic;
    }
    chunk = k;
    const uint32_t member = a.by_group.take(chunk);
    const uint32_t unit = statistic / a.groups, group = statistic - unit * a.groups;
    return (int64_t{unit} * a.chunks + chunk) * 2 * a.c + group * a.per_group + member;
  }
};

template <class T, int threads>
MK_INLINE void statistics(const NormKernelArgs& a) {
  const uint32_t i = team_number<threads>();
  if (i >= (a.over_batch ? 1 : a.n) * a.groups) return;
  T* running_mean = static_cast<T*>(a.running_mean);
  T* running_var = static_cast<T*>(a.running_var);
  const bool writes = threadIdx.x % threads == 0;
  if (!a.training) {
    if (!writes) return;
    a.mean[i] = running_mean[i];
    a.rstd[i] = 1 / sqrt(running_var[i] + a.eps);
    return;
  }
  const double values =
      static_cast<double>(a.n) * a.c * a.s / ((a.over_batch ? 1 : a.n) * a.groups);
  const uint32_t width = a.channels_last ? a.c : 1;
  const Members members(a, i);
  uint32_t chunk;
  const double origin = members.count > 0 ? a.partials[members.at(a, 0, chunk)] : 0;
  double sums[2] = {0, 0};
#pragma unroll 4
  for (uint32_t k = threadIdx.x % threads; k < members.count; k += threads) {
    const double* from = a.partials + members.at(a, k, chunk);
    const double count = min(int64_t{a.chunk}, a.length - int64_t{chunk} * a.chunk);
    const double d = from[0] - origin;
    sums[0] = fma(count, d, sums[0]);
    sums[1] += fma(count * d, d, from[width]);
  }
  sum_team<threads>(sums);
  if (!writes) return;
  double mean = 0, m2 = 0;
  if (members.count > 0) store_moments(origin, sums[0], sums[1], values, &mean, &m2);
  a.mean[i] = mean;
  a.rstd[i] = 1 / sqrt((members.count > 0 ? m2 / values : 0) + a.eps);
  if (running_mean == nullptr || values < 2) return;
  const double unbiased = m2 / (values - 1);
  running_mean[i] = static_cast<T>((1 - a.momentum) * running_mean[i] + a.momentum * mean);
  running_var[i] = static_cast<T>((1 - a.momentum) * running_var[i] + a.momentum * unbiased);
}

// NaN stays.
template <class T>
MK_INLINE T activated(bool relu, T value) {
  return relu && value < 0 ? T(0) : value;
}

template <class T, int lanes>
MK_INLINE void apply_to_rows(const NormKernelArgs& a) {
  using W = Wide<T>;
  constexpr int kRows = kNormRows * sizeof(float) / sizeof(W);
  const RowsPlace rows = rows_place(a);
  const TilePlace at = tile_place<lanes>(a.tiles);
  if (!at.inside) return;
  Affine<W> affine[lanes];
#pragma unroll
  for (int i = 0; i < lanes; ++i) {
    const uint32_t channel = at.column + i;
    const uint32_t statistic = rows.unit * a.groups + a.by_group.quotient(channel);
    affine[i] = affine_of<W>(a, statistic, channel);
  }
  const int64_t first = int64_t{rows.unit} * a.pixels * a.c + at.column;
  const T* x = static_cast<const T*>(a.x) + first;
  T* y = static_cast<T*>(a.y) + first;
  const auto put = [&](Pack<T, lanes> value, uint32_t row) {
#pragma unroll
    for (int i = 0; i < lanes; ++i) {
      value.at[i] = T(activated(a.relu, normalized(affine[i], value.at[i] - affine[i].hi)));
    }
    store_pack<lanes>(y + int64_t{row} * a.c, value);
  };
  const uint32_t down = a.tiles.down;
  for_rows<kRows>(
      rows.begin + at.down, down, rows.end,
      [&](uint32_t row) {
        Pack<T, lanes> value[kRows];
#pragma unroll
        for (int k = 0; k < kRows; ++k) {
          value[k] = load_pack<lanes>(x + int64_t{row + k * down} * a.c);
        }
#pragma unroll
        for (int k = 0; k < kRows; ++k) put(value[k], row + k * down);
      },
      [&](uint32_t row) { put(load_pack<lanes>(x + int64_t{row} * a.c), row); });
}

template <class T, int lanes>
MK_INLINE void apply_to_runs(const NormKernelArgs& a) {
  using W = Wide<T>;
  const FlatPlace at = flat_place(a);
  Pack<T, lanes> value[kNormVectors];
#pragma unroll
  for (int k = 0; k < kNormVectors; ++k) {
    const int64_t vector = at.first + k * kNormThreads;
    if (vector < a.count) value[k] = load_pack<lanes>(static_cast<const T*>(a.x) + vector * lanes);
  }
  uint32_t known = 0;
  Affine<W> affine;
#pragma unroll
  for (int k = 0; k < kNormVectors; ++k) {
    const int64_t vector = at.first + k * kNormThreads;
    if (vector >= a.count) return;
    const uint32_t plane = at.plane + a.by_plane.quotient(at.rest + k * kNormThreads);
    if (k == 0 || plane != known) {
      const ChannelPlace place = channel_place(a, plane);
      affine = affine_of<W>(a, place.statistic, place.channel);
      known = plane;
    }
#pragma unroll
    for (int i = 0; i < lanes; ++i) {
      value[k].at[i] = T(activated(a.relu, normalized(affine, value[k].at[i] - affine.hi)));
    }
    store_pack<lanes>(static_cast<T*>(a.y) + vector * lanes, value[k]);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(norm_moments_columns_f32x4, NormKernelArgs, 256) { moments_of_columns<float, 4>(args); }
MK_KERNEL(norm_moments_columns_f32, NormKernelArgs, 256) { moments_of_columns<float, 1>(args); }
MK_KERNEL(norm_moments_columns_f64, NormKernelArgs, 256) { moments_of_columns<double, 1>(args); }

MK_KERNEL(norm_moments_runs_f32x4, NormKernelArgs, 256) { moments_of_runs<float, 4, 256>(args); }
MK_KERNEL(norm_moments_runs_f32, NormKernelArgs, 256) { moments_of_runs<float, 1, 256>(args); }
MK_KERNEL(norm_moments_runs_f64, NormKernelArgs, 256) { moments_of_runs<double, 1, 256>(args); }
MK_KERNEL(norm_moments_short_runs_f32x4, NormKernelArgs, 256) {
  moments_of_runs<float, 4, 32>(args);
}
MK_KERNEL(norm_moments_short_runs_f32, NormKernelArgs, 256) { moments_of_runs<float, 1, 32>(args); }
MK_KERNEL(norm_moments_short_runs_f64, NormKernelArgs, 256) {
  moments_of_runs<double, 1, 32>(args);
}

MK_KERNEL(norm_fold_moments, NormKernelArgs, 256) { fold(args); }
MK_KERNEL(norm_statistics_by_block_f32, NormKernelArgs, 256) { statistics<float, 256>(args); }
MK_KERNEL(norm_statistics_by_block_f64, NormKernelArgs, 256) { statistics<double, 256>(args); }
MK_KERNEL(norm_statistics_by_warp_f32, NormKernelArgs, 256) { statistics<float, 32>(args); }
MK_KERNEL(norm_statistics_by_warp_f64, NormKernelArgs, 256) { statistics<double, 32>(args); }

MK_KERNEL(norm_apply_rows_f32x4, NormKernelArgs, 256) { apply_to_rows<float, 4>(args); }
MK_KERNEL(norm_apply_rows_f32, NormKernelArgs, 256) { apply_to_rows<float, 1>(args); }
MK_KERNEL(norm_apply_rows_f64, NormKernelArgs, 256) { apply_to_rows<double, 1>(args); }
MK_KERNEL(norm_apply_runs_f32x4, NormKernelArgs, 256) { apply_to_runs<float, 4>(args); }
MK_KERNEL(norm_apply_runs_f32, NormKernelArgs, 256) { apply_to_runs<float, 1>(args); }
MK_KERNEL(norm_apply_runs_f64, NormKernelArgs, 256) { apply_to_runs<double, 1>(args); }

// 16-bit images.
MK_KERNEL(norm_moments_columns_bf16x8, NormKernelArgs, 256) {
  moments_of_columns<bfloat16, 8>(args);
}
MK_KERNEL(norm_moments_runs_bf16x8, NormKernelArgs, 256) {
  moments_of_runs<bfloat16, 8, 256>(args);
}
MK_KERNEL(norm_moments_short_runs_bf16x8, NormKernelArgs, 256) {
  moments_of_runs<bfloat16, 8, 32>(args);
}
MK_KERNEL(norm_apply_rows_bf16x8, NormKernelArgs, 256) { apply_to_rows<bfloat16, 8>(args); }
MK_KERNEL(norm_apply_runs_bf16x8, NormKernelArgs, 256) { apply_to_runs<bfloat16, 8>(args); }
MK_KERNEL(norm_moments_columns_bf16, NormKernelArgs, 256) { moments_of_columns<bfloat16, 1>(args); }
MK_KERNEL(norm_moments_runs_bf16, NormKernelArgs, 256) { moments_of_runs<bfloat16, 1, 256>(args); }
MK_KERNEL(norm_moments_short_runs_bf16, NormKernelArgs, 256) {
  moments_of_runs<bfloat16, 1, 32>(args);
}
MK_KERNEL(norm_apply_rows_bf16, NormKernelArgs, 256) { apply_to_rows<bfloat16, 1>(args); }
MK_KERNEL(norm_apply_runs_bf16, NormKernelArgs, 256) { apply_to_runs<bfloat16, 1>(args); }
