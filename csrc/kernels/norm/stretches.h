// How the channel norms go over x: in stretches whose partial results are merged, and once more to
// write the result. To be included by *.simd.cpp files only.
#pragma once

#include "core/parallel.h"
#include "cpu/integers.h"
#include "kernels/loops.simd.h"
#include "kernels/norm/moments.h"
#include "kernels/norm/norm.h"

namespace medkern::MK_ISA {
namespace {

// Elements of a row that a task of the last pass takes.
constexpr int64_t kApplyChunk = 65536;
// Columns whose partial results one task merges.
constexpr int64_t kMergeColumns = 64;

// Runs body(item) for each of 0 .. items - 1, small ones several to a task.
template <class Body>
MK_INLINE void for_items(int64_t items, int64_t elements_each, Body body) {
  const int64_t each = elements_each > 0 ? elements_each : 1;
  const int64_t per_task = divide_up(task_elements(items * each), each);
  parallel_for(divide_up(items, per_task), items * each, [&](int64_t task, int) {
    const int64_t end = smaller((task + 1) * per_task, items);
    for (int64_t item = task * per_task; item < end; ++item) body(item);
  });
}

// The pair of partial results of a chunk: [which][column].
MK_INLINE double* partial(double* partials, const NormCut& cut, int64_t unit, int64_t chunk) {
  return partials + (unit * cut.chunks + chunk) * 2 * cut.width;
}

// Runs body(unit, chunk, first item, number of items) for each chunk.
template <class Body>
MK_INLINE void for_chunks(const NormCut& cut, Body body) {
  for_items(cut.units * cut.chunks, smaller(cut.chunk, cut.length) * cut.width, [&](int64_t item) {
    const int64_t unit = item / cut.chunks, chunk = item % cut.chunks, first = chunk * cut.chunk;
    body(unit, chunk, unit * cut.length + first, smaller(cut.chunk, cut.length - first));
  });
}

// Folds every chunk of a unit into its first: merge(into, other, columns, covered, added), where
// `covered` items are in `into` and `added` in `other`.
template <class Merge>
MK_INLINE void merge_chunks(const NormCut& cut, double* partials, Merge merge) {
  if (cut.chunks == 1) return;
  const int64_t blocks = divide_up(cut.width, kMergeColumns);
  const int64_t work = cut.units * cut.chunks * cut.width * 4;
  parallel_for(cut.units * blocks, work, [&](int64_t task, int) {
    const int64_t unit = task / blocks, column = task % blocks * kMergeColumns;
    const int64_t columns = smaller(kMergeColumns, cut.width - column);
    double* into = partial(partials, cut, unit, 0) + column;
    for (int64_t chunk = 1; chunk < cut.chunks; ++chunk) {
      const int64_t covered = chunk * cut.chunk;
      merge(into, partial(partials, cut, unit, chunk) + column, columns, covered,
            smaller(cut.chunk, cut.length - covered));
    }
  });
}

// Where the statistics of sample (or, over_batch, 0) and channel lie.
MK_INLINE int64_t statistic_of(const NormShape& s, int64_t sample, int64_t channel) {
  return sample * s.groups + channel / (s.c / s.groups);
}

// Samples that have coefficients of their own.
MK_INLINE int64_t coefficient_rows(const NormShape& s) { return s.over_batch ? 1 : s.n; }

// The coefficient arrays are [which][sample][channel].
template <class T>
MK_INLINE T* coefficient(double* coefficients, const NormShape& s, int which, int64_t sample) {
  return reinterpret_cast<T*>(coefficients) + (which * coefficient_rows(s) + sample) * s.c;
}

// Calls columns(offset, pixels, coefficient row) or run(offset, length, coefficient row, channel)
// over all of x, in parallel, the last first.
template <class Columns, class Run>
MK_INLINE void for_stretches(const NormShape& s, Columns columns, Run run) {
  if (s.channels_last) {
    const int64_t units = coefficient_rows(s), pixels = s.n * s.s / units;
    const int64_t chunk = divide_up(task_elements(s.n * s.c * s.s), s.c);
    const int64_t chunks = divide_up(pixels, chunk);
    parallel_for(units * chunks, s.n * s.c * s.s, [&](int64_t index, int) {
      const int64_t task = units * chunks - 1 - index;
      const int64_t unit = task / chunks, first = task % chunks * chunk;
      columns((unit * pixels + first) * s.c, smaller(chunk, pixels - first), unit);
    });
  } else {
    const int64_t chunks = divide_up(s.s, kApplyChunk);
    for_items(s.n * s.c * chunks, smaller(s.s, kApplyChunk), [&](int64_t index) {
      const int64_t item = s.n * s.c * chunks - 1 - index;
      const int64_t plane = item / chunks, first = item % chunks * kApplyChunk;
      run(plane * s.s + first, smaller(kApplyChunk, s.s - first), s.over_batch ? 0 : plane / s.c,
          plane % s.c);
    });
  }
}

// The coefficients of y = (x - hi) * scale + shift, for every sample (or batch) and channel.
template <class T, class Args>
void forward_coefficients(const Args& a) {
  const NormShape& s = a.shape;
  for (int64_t n = 0; n < coefficient_rows(s); ++n) {
    T* hi = coefficient<T>(a.coefficients, s, 0, n);
    T* scale = coefficient<T>(a.coefficients, s, 1, n);
    T* shift = coefficient<T>(a.coefficients, s, 2, n);
    for (int64_t c = 0; c < s.c; ++c) {
      const int64_t i = statistic_of(s, n, c);
      const double weight = a.weight != nullptr ? static_cast<const T*>(a.weight)[c] : T(1);
      const double bias = a.bias != nullptr ? static_cast<const T*>(a.bias)[c] : T(0);
      hi[c] = static_cast<T>(a.mean[i]);
      const double factor = a.rstd[i] * weight, rest = a.mean[i] - hi[c];
      scale[c] = static_cast<T>(factor);
      shift[c] = static_cast<T>(bias - rest * factor);
    }
  }
}

}  // namespace
}  // namespace medkern::MK_ISA
