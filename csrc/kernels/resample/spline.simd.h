// Places of an affine map and a smooth displacement. For *.simd.cpp files only.
//
//   place[i] = sum of matrix[i, j] o[j] + matrix[i, rank] + sum over control points of
//              B(d) B(h) B(w) point[i]
//
// B is the linear or the uniform cubic B-spline. For a row of y the control points are first
// blended along D and H; what is left is a sum over the few of them near each column, whose weights
// stand in a table [control point][column] that all rows share.
// Numerics  maps in float64 at the start of each row's stretch, steps along it in T.
#pragma once

#include "kernels/resample/places.simd.h"

namespace medkern::MK_ISA {
namespace {

// The control points that element o of an axis of y reads, and their weights.
struct Knots {
  int64_t first;
  double weight[4];  // linear has two
};

MK_INLINE Knots knots_at(int64_t o, int64_t size, int64_t controls, bool cubic) {
  const int64_t spans = controls - (cubic ? 3 : 1);
  const double at =
      size > 1 ? static_cast<double>(o) * static_cast<double>(spans) / static_cast<double>(size - 1)
               : 0;
  const int64_t first = smaller(static_cast<int64_t>(at), spans - 1);
  const double f = at - static_cast<double>(first), g = 1 - f;
  if (!cubic) return {first, {g, f, 0, 0}};
  return {first,
          {g * g * g / 6, (3 * f * f * f - 6 * f * f + 4) / 6, (3 * g * g * g - 6 * g * g + 4) / 6,
           f * f * f / 6}};
}

// Room for whole vectors at the end of every row of the table.
MK_INLINE int64_t table_columns(const ResampleArgs& a) {
  return divide_up(a.y.size[2], kBlock) * kBlock + kBlock;
}

template <class T>
void fill_table(const ResampleArgs& a, T* table) {
  const int64_t columns = table_columns(a);
  for (int64_t i = 0; i < a.control[2] * columns; ++i) table[i] = 0;
  for (int64_t w = 0; w < a.y.size[2]; ++w) {
    const Knots knots = knots_at(w, a.y.size[2], a.control[2], a.cubic);
    for (int k = 0; k < (a.cubic ? 4 : 2); ++k) {
      table[(knots.first + k) * columns + w] = static_cast<T>(knots.weight[k]);
    }
  }
}

// The displacement along all axes for columns [w, w + count) of row (d, h), added to `at`.
template <class T>
MK_INLINE void add_spline(const ResampleArgs& a, const T* table, int64_t n, int64_t d, int64_t h,
                          int64_t w, int64_t count, T* const (&at)[3]) {
  const int taps = a.cubic ? 4 : 2;
  const int64_t *control = a.control, columns = table_columns(a);
  const int64_t points = control[0] * control[1] * control[2];
  const bool deep = a.rank == 3;
  const Knots of_d = deep ? knots_at(d, a.y.size[0], control[0], a.cubic) : Knots{0, {1, 0, 0, 0}};
  const Knots of_h = knots_at(h, a.y.size[1], control[1], a.cubic);
  const int64_t from = knots_at(w, a.y.size[2], control[2], a.cubic).first;
  const int64_t to = knots_at(w + count - 1, a.y.size[2], control[2], a.cubic).first + taps;
  T row[3][kMostControls];
  for (int axis = 3 - a.rank; axis < 3; ++axis) {
    const T* point =
        static_cast<const T*>(a.displacement) + (n * a.rank + axis - (3 - a.rank)) * points;
    for (int64_t k = from; k < to; ++k) row[axis][k] = 0;
    for (int i = 0; i < (deep ? taps : 1); ++i) {
      for (int j = 0; j < taps; ++j) {
        const T weight = static_cast<T>(of_d.weight[i] * of_h.weight[j]);
        const T* line = point + ((of_d.first + i) * control[1] + of_h.first + j) * control[2];
        for (int64_t k = from; k < to; ++k) row[axis][k] += weight * line[k];
      }
    }
  }
  for (int64_t i = 0; i < count; i += Vec<T>::kLanes) {
    const int64_t last = smaller(i + Vec<T>::kLanes, count) - 1;
    const int64_t begin = knots_at(w + i, a.y.size[2], control[2], a.cubic).first;
    const int64_t end = knots_at(w + last, a.y.size[2], control[2], a.cubic).first + taps;
    Vec<T> sum[3] = {Vec<T>::zero(), Vec<T>::zero(), Vec<T>::zero()};
    for (int64_t k = begin; k < end; ++k) {
      const Vec<T> weight = Vec<T>::load(table + k * columns + w + i);
      for (int axis = 3 - a.rank; axis < 3; ++axis) {
        sum[axis] = fma(weight, Vec<T>(row[axis][k]), sum[axis]);
      }
    }
    const int64_t lanes = last + 1 - i;
    for (int axis = 3 - a.rank; axis < 3; ++axis) {
      store_lanes(load_lanes(at[axis] + i, lanes) + sum[axis], at[axis] + i, lanes);
    }
  }
}

// Coordinates of a block from the affine map, row by row.
template <class T>
MK_INLINE void follow_map(const ResampleArgs& a, const T* table, const Block& block,
                          Places<T>& places) {
  const int rank = a.rank, missing = 3 - rank;
  const double* matrix = a.matrix + block.n * rank * (rank + 1);
  const int64_t width = a.y.size[2];
  for (int axis = missing; axis < 3; ++axis) {
    for (int64_t i = block.count; i % Vec<T>::kLanes != 0; ++i) places.at[axis][i] = 0;
  }
  for (int64_t done = 0; done < block.count;) {
    const int64_t pixel = block.begin + done, w = pixel % width, row = pixel / width;
    const int64_t h = row % a.y.size[1], d = row / a.y.size[1];
    const int64_t count = smaller(width - w, block.count - done);
    T* const at[3] = {places.at[0] + done, places.at[1] + done, places.at[2] + done};
    for (int axis = missing; axis < 3; ++axis) {
      const double* m = matrix + (axis - missing) * (rank + 1);
      double start = m[rank] + m[rank - 1] * static_cast<double>(w);
      start += m[rank - 2] * static_cast<double>(h);
      if (rank == 3) start += m[0] * static_cast<double>(d);
      const T step = static_cast<T>(m[rank - 1]), base = static_cast<T>(start);
      for (int64_t i = 0; i < count; ++i) at[axis][i] = base + step * static_cast<T>(i);
    }
    if (a.displacement != nullptr) add_spline(a, table, block.n, d, h, w, count, at);
    done += count;
  }
}

}  // namespace
}  // namespace medkern::MK_ISA
