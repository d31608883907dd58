// What the kernels of normalization share.
#pragma once

#include "cuda/half.h"
#include "cuda/loops.h"
#include "cuda/reduce.h"
#include "kernels/norm/norm.cuda.h"

namespace medkern::cuda {

// y = (x - hi) * scale + shift. hi is the mean rounded to T; what it lacks goes into shift, so that
// nothing is lost where the mean is far larger than the spread.
template <class T>
struct Affine {
  T hi, scale, shift;
};

template <class T>
MK_INLINE Affine<T> affine_of(const NormKernelArgs& a, uint32_t statistic, uint32_t channel) {
  const double mean = a.mean[statistic], rstd = a.rstd[statistic];
  const double weight = a.weight != nullptr ? static_cast<const T*>(a.weight)[channel] : T(1);
  const double bias = a.bias != nullptr ? static_cast<const T*>(a.bias)[channel] : T(0);
  const T hi = static_cast<T>(mean);
  const double factor = rstd * weight;
  return {hi, static_cast<T>(factor), static_cast<T>(bias - (mean - hi) * factor)};
}

template <class T>
MK_INLINE T normalized(const Affine<T>& affine, T d) {
  return fma(d, affine.scale, affine.shift);
}

// A thread's place in a block that goes over rows: `lanes` columns from `column` on, and the first
// of its rows.
struct TilePlace {
  bool inside;
  uint32_t across, down, column;
};
template <int lanes>
MK_INLINE TilePlace tile_place(const NormTiles& tiles) {
  const uint32_t row = tiles.by_across.quotient(threadIdx.x);
  const uint32_t across = threadIdx.x - row * tiles.across;
  const uint32_t vector = blockIdx.y * tiles.across + across;
  return {vector < tiles.vectors, across, row, vector * lanes};
}

// A stretch of x that is summed at once.
struct ChunkPlace {
  uint32_t unit, chunk, items;
  int64_t first;  // item
};
MK_INLINE ChunkPlace chunk_place(const NormKernelArgs& a, uint32_t index) {
  ChunkPlace at;
  at.unit = index;
  at.chunk = a.by_chunks.take(at.unit);
  const int64_t begin = int64_t{at.chunk} * a.chunk;
  at.items = static_cast<uint32_t>(min(int64_t{a.chunk}, a.length - begin));
  at.first = at.unit * a.length + begin;
  return at;
}
MK_INLINE double* partial(const NormKernelArgs& a, const ChunkPlace& at, uint32_t width) {
  return a.partials + (int64_t{at.unit} * a.chunks + at.chunk) * 2 * width;
}

// Merges `values` of `threads` threads, a warp or the block. Every thread gets the results.
template <int threads>
MK_INLINE void sum_team(double (&values)[2]) {
  if constexpr (threads == kWarp) {
    values[0] = sum_warp(values[0]);
    values[1] = sum_warp(values[1]);
  } else {
    merge_block<threads>(values, shared<double>(), Sum());
  }
}

// Blocks of kNormThreads threads make kNormThreads / threads teams.
template <int threads>
MK_INLINE uint32_t team_number() {
  return blockIdx.x * (kNormThreads / threads) + threadIdx.x / threads;
}

// A number of rows that the compiler knows.
template <int rows>
struct Rows {
  static constexpr int count = rows;
};

// Calls many(row) for as many rows as there are `rows` of them, `down` apart, and one(row) for each
// of the rest, up to `end`.
template <int rows, class Many, class One>
MK_INLINE void for_rows(uint32_t first, uint32_t down, uint32_t end, Many many, One one) {
  uint32_t row = first;
  for (; row + (rows - 1) * down < end; row += rows * down) many(row);
  for (; row < end; row += down) one(row);
}

// Where the coefficients of a channel of a plane, (sample, channel) as one number, lie.
struct ChannelPlace {
  uint32_t statistic, channel;
};
MK_INLINE ChannelPlace channel_place(const NormKernelArgs& a, uint32_t plane) {
  uint32_t sample = plane;
  const uint32_t channel = a.by_channels.take(sample);
  if (a.over_batch) return {channel, channel};
  return {sample * a.groups + a.by_group.quotient(channel), channel};
}

// The last pass over contiguous memory: the first vector of a thread, which takes every
// kNormThreads-th of its block, the plane where the block begins and the vector's number from that
// plane's first on. The end of memory comes first: what the passes before have left in the cache.
struct FlatPlace {
  int64_t first;
  uint32_t plane, rest;
};
MK_INLINE FlatPlace flat_place(const NormKernelArgs& a) {
  const int64_t first = int64_t{gridDim.x - 1 - blockIdx.x} * (kNormThreads * kNormVectors);
  const int64_t plane = first / a.by_plane.divisor;
  return {first + threadIdx.x, static_cast<uint32_t>(plane),
          static_cast<uint32_t>(first - plane * a.by_plane.divisor) + threadIdx.x};
}

// The same over rows: of the rows that share coefficients the block's.
struct RowsPlace {
  uint32_t unit, begin, end;
};
MK_INLINE RowsPlace rows_place(const NormKernelArgs& a) {
  RowsPlace at;
  at.unit = gridDim.x - 1 - blockIdx.x;
  at.begin = a.by_blocks.take(at.unit) * a.rows;
  at.end = min(at.begin + a.rows, a.pixels);
  return at;
}

}  // namespace medkern::cuda
