// The arithmetic of resizing along one axis, in both directions: what an output reads, and who
// reads an element of x. For *.simd.cpp files.
#pragma once

#include "core/parallel.h"
#include "cpu/lanes.h"
#include "kernels/resize/resize.h"

namespace medkern::MK_ISA {
namespace {

// One axis of x and y.
struct Axis {
  int64_t size, count;  // of x and of y
  double ratio;
  bool linear, align_corners;
};

// What an output reads: x[first] and, if weight > 0, x[first + 1] with that weight.
struct Source {
  int64_t first;
  double weight;
};

MK_INLINE Axis axis_of(const ResizeArgs& a, int axis) {
  return {a.x.size[axis], a.y.size[axis], a.ratio[axis], a.linear, a.align_corners};
}

MK_INLINE Source source_of(const Axis& axis, int64_t o) {
  const int64_t last = axis.size - 1;
  if (!axis.linear) {
    const float at = static_cast<float>(o) * static_cast<float>(axis.ratio);
    const int64_t first = static_cast<int64_t>(at);
    return {first < last ? first : last, 0};
  }
  const auto position = static_cast<double>(o);
  double at = axis.align_corners ? position * axis.ratio : (position + 0.5) * axis.ratio - 0.5;
  if (at < 0) at = 0;
  const int64_t first = static_cast<int64_t>(at);
  if (first >= last) return {last, 0};
  return {first, at - static_cast<double>(first)};
}

// The first output that reads no element before `i` as its first: outputs are ordered. A guess by
// the formula, put right by a step or two.
MK_INLINE int64_t first_output(const Axis& axis, int64_t i) {
  int64_t o = 0;
  if (axis.ratio > 0 && i > 0) {
    const double half = axis.linear && !axis.align_corners ? 0.5 : 0;
    const double guess = (static_cast<double>(i) + half) / axis.ratio - half;
    o = guess >= static_cast<double>(axis.count) ? axis.count : static_cast<int64_t>(guess);
  }
  while (o > 0 && source_of(axis, o - 1).first >= i) --o;
  while (o < axis.count && source_of(axis, o).first < i) ++o;
  return o;
}

// Outputs [begin, end) that may read element i.
struct Readers {
  int64_t begin, end;
};

MK_INLINE Readers readers_of(const Axis& axis, int64_t i) {
  return {first_output(axis, axis.linear ? i - 1 : i), first_output(axis, i + 1)};
}

// The weight output `o` gives to element i, one of the two it may read.
MK_INLINE double weight_on(const Axis& axis, int64_t o, int64_t i) {
  const Source source = source_of(axis, o);
  return source.first == i ? 1 - source.weight : source.weight;
}

MK_INLINE int64_t offset_of(const Image& x, int64_t d, int64_t h, int64_t w) {
  return d * x.stride[0] + h * x.stride[1] + w * x.stride[2];
}

template <class T>
MK_INLINE T* plane_of(const Image& x, int64_t n, int64_t c) {
  return static_cast<T*>(x.data) + n * x.stride_n + c * x.stride_c;
}

// Rows of x that a row of y reads: element offsets and weights.
struct Neighbors {
  int count;
  int64_t offset[4];
  double weight[4];
};

MK_INLINE void add_axis(Neighbors& list, const Source& source, int64_t stride) {
  const int count = list.count;
  for (int i = 0; i < count; ++i) {
    list.offset[i] += source.first * stride;
    if (source.weight == 0) continue;
    list.offset[list.count] = list.offset[i] + stride;
    list.weight[list.count++] = list.weight[i] * source.weight;
    list.weight[i] *= 1 - source.weight;
  }
}

MK_INLINE Neighbors rows_under(const ResizeArgs& a, int64_t od, int64_t oh) {
  Neighbors rows{1, {0}, {1}};
  add_axis(rows, source_of(axis_of(a, 0), od), a.x.stride[0]);
  add_axis(rows, source_of(axis_of(a, 1), oh), a.x.stride[1]);
  return rows;
}

// Calls visit(offset of a row of y, weight) for every row of y that reads row (d, h) of x, in
// order.
template <class Visit>
MK_INLINE void for_each_reader(const ResizeArgs& a, int64_t d, int64_t h, Visit visit) {
  const Axis axis_d = axis_of(a, 0), axis_h = axis_of(a, 1);
  const Readers ds = readers_of(axis_d, d), hs = readers_of(axis_h, h);
  for (int64_t od = ds.begin; od < ds.end; ++od) {
    const double weight_d = weight_on(axis_d, od, d);
    for (int64_t oh = hs.begin; oh < hs.end; ++oh) {
      const double weight = weight_d * weight_on(axis_h, oh, h);
      if (weight != 0) visit(offset_of(a.y, od, oh, 0), weight);
    }
  }
}

// Calls body(plane, first row, past the last row) so that tasks take about kTaskElements elements
// of `planes` planes of `rows` rows: what is found out about columns is found out once per task.
constexpr int64_t kTaskElements = 65536;
template <class Body>
MK_INLINE void for_row_groups(int64_t planes, int64_t rows, int64_t elements_per_row, int64_t work,
                              Body body) {
  const int64_t most = elements_per_row < kTaskElements ? kTaskElements / elements_per_row : 1;
  const int64_t each = most < rows ? most : rows, groups = (rows + each - 1) / each;
  parallel_for(planes * groups, work, [&](int64_t task, int) {
    const int64_t first = task % groups * each;
    body(task / groups, first, smaller(first + each, rows));
  });
}

}  // namespace
}  // namespace medkern::MK_ISA
