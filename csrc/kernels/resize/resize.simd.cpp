// Nearest and linear resizing on the CPU, forward and backward.
//
//   nearest   y[n, c, o] = x[n, c, floor(o * ratio)]
//   linear    y[n, c, o] = sum over the 2 neighbors along each axis of weight * x[n, c, neighbor]
//   backward  dx[n, c, i] = sum of weight * dy[n, c, o] over the outputs o that read i
//
// Channels-last  one task per row of y: pixel by pixel, a vector of channels over the 1 to 8
//                neighbors. Backward one task per row of dx, gathering.
// Contiguous     one task per (n, c) plane; along W in blocks whose neighbors and weights are
//                computed once for all rows. Backward scatters within the plane.
// Work    2 flops per neighbor. Memory  x read once (while a few rows fit the cache), y written
//         once.
// Numerics  coordinates in float64, but for nearest, where they are float32 as everywhere in the
//           field: rounding there decides which element is taken. Neighbors of weight 0 are not
//           read, so their NaN or infinity does not spread. Sums run in row-major order of y.
#include "kernels/resize/resize.h"

#include "core/parallel.h"
#include "cpu/vec.h"

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

// The first output that reads no element before `i` as its first: outputs are ordered.
int64_t first_output(const Axis& axis, int64_t i) {
  int64_t low = 0, high = axis.count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (source_of(axis, middle).first >= i) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
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

// Element offsets and weights of what an output reads.
struct Neighbors {
  int count;
  int64_t offset[8];
  double weight[8];
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

template <class T>
void forward_row(const ResizeArgs& a, int64_t n, int64_t od, int64_t oh) {
  using V = Vec<T>;
  const T* x = plane_of<const T>(a.x, n, 0);
  T* y = plane_of<T>(a.y, n, 0) + offset_of(a.y, od, oh, 0);
  Neighbors rows{1, {0}, {1}};
  add_axis(rows, source_of(axis_of(a, 0), od), a.x.stride[0]);
  add_axis(rows, source_of(axis_of(a, 1), oh), a.x.stride[1]);
  const Axis axis = axis_of(a, 2);
  for (int64_t ow = 0; ow < axis.count; ++ow) {
    Neighbors near = rows;
    add_axis(near, source_of(axis, ow), a.x.stride[2]);
    T* to = y + ow * a.y.stride[2];
    int64_t c = 0;
    for (; c + V::kLanes <= a.x.c; c += V::kLanes) {
      V total = V::load(x + near.offset[0] + c) * V(static_cast<T>(near.weight[0]));
      for (int i = 1; i < near.count; ++i) {
        total = fma(V::load(x + near.offset[i] + c), V(static_cast<T>(near.weight[i])), total);
      }
      total.store(to + c);
    }
    if (c < a.x.c) {
      const int64_t lanes = a.x.c - c;
      V total = V::load(x + near.offset[0] + c, lanes) * V(static_cast<T>(near.weight[0]));
      for (int i = 1; i < near.count; ++i) {
        total =
            fma(V::load(x + near.offset[i] + c, lanes), V(static_cast<T>(near.weight[i])), total);
      }
      total.store(to + c, lanes);
    }
  }
}

// Sources of a block of outputs along W: element offsets of the two neighbors and the second's
// weight.
constexpr int64_t kBlock = 64;
template <class T>
struct SourceBlock {
  int64_t begin, count;
  int64_t first[kBlock], second[kBlock];
  T weight[kBlock];
};

template <class T>
MK_INLINE SourceBlock<T> source_block(const ResizeArgs& a, int64_t begin) {
  const Axis axis = axis_of(a, 2);
  SourceBlock<T> block;
  block.begin = begin;
  block.count = axis.count - begin < kBlock ? axis.count - begin : kBlock;
  for (int64_t i = 0; i < block.count; ++i) {
    const Source source = source_of(axis, begin + i);
    block.weight[i] = static_cast<T>(source.weight);
    block.first[i] = source.first * a.x.stride[2];
    block.second[i] = block.first[i] + (block.weight[i] > 0 ? a.x.stride[2] : 0);
  }
  return block;
}

// Calls visit(offset of a row in x, its weight as T, offset of the row in y, whether it is the
// first of that row) for every row of y and each row of x that it reads.
template <class T, class Visit>
MK_INLINE void for_each_row(const ResizeArgs& a, Visit visit) {
  for (int64_t od = 0; od < a.y.size[0]; ++od) {
    for (int64_t oh = 0; oh < a.y.size[1]; ++oh) {
      Neighbors rows{1, {0}, {1}};
      add_axis(rows, source_of(axis_of(a, 0), od), a.x.stride[0]);
      add_axis(rows, source_of(axis_of(a, 1), oh), a.x.stride[1]);
      for (int i = 0; i < rows.count; ++i) {
        visit(rows.offset[i], static_cast<T>(rows.weight[i]), offset_of(a.y, od, oh, 0), i == 0);
      }
    }
  }
}

template <class T>
void forward_plane(const ResizeArgs& a, int64_t n, int64_t c) {
  const T* x = plane_of<const T>(a.x, n, c);
  T* y = plane_of<T>(a.y, n, c);
  const int64_t step = a.y.stride[2];
  for (int64_t begin = 0; begin < a.y.size[2]; begin += kBlock) {
    const SourceBlock<T> block = source_block<T>(a, begin);
    for_each_row<T>(a, [&](int64_t row, T row_weight, int64_t y_row, bool first) {
      const T* from = x + row;
      T* to = y + y_row + begin * step;
      for (int64_t i = 0; i < block.count; ++i) {
        const T left = from[block.first[i]], right = from[block.second[i]];
        const T weight = block.weight[i];
        const T value = weight > 0 ? left * (1 - weight) + right * weight : left;
        to[i * step] = first ? row_weight * value : to[i * step] + row_weight * value;
      }
    });
  }
}

template <class T>
void forward_of(const ResizeArgs& a) {
  const int64_t* size = a.y.size;
  const int64_t work = a.y.n * a.y.c * size[0] * size[1] * size[2] * 4;
  if (a.x.stride_c == 1 && a.y.stride_c == 1) {
    parallel_for(a.y.n * size[0] * size[1], work, [&](int64_t row, int) {
      forward_row<T>(a, row / (size[0] * size[1]), row / size[1] % size[0], row % size[1]);
    });
  } else {
    parallel_for(a.y.n * a.y.c, work,
                 [&](int64_t plane, int) { forward_plane<T>(a, plane / a.y.c, plane % a.y.c); });
  }
}

template <class T>
void backward_row(const ResizeArgs& a, int64_t n, int64_t d, int64_t h) {
  using V = Vec<T>;
  const T* dy = plane_of<const T>(a.y, n, 0);
  T* row = plane_of<T>(a.x, n, 0) + offset_of(a.x, d, h, 0);
  const Axis axes[3] = {axis_of(a, 0), axis_of(a, 1), axis_of(a, 2)};
  const Readers ds = readers_of(axes[0], d), hs = readers_of(axes[1], h);
  for (int64_t w = 0; w < a.x.size[2]; ++w) {
    const Readers ws = readers_of(axes[2], w);
    T* dx = row + w * a.x.stride[2];
    bool first = true;
    for (int64_t od = ds.begin; od < ds.end; ++od) {
      const double weight_d = weight_on(axes[0], od, d);
      for (int64_t oh = hs.begin; oh < hs.end; ++oh) {
        const double weight_dh = weight_d * weight_on(axes[1], oh, h);
        for (int64_t ow = ws.begin; ow < ws.end; ++ow) {
          const double weight = weight_dh * weight_on(axes[2], ow, w);
          if (weight == 0) continue;
          const V factor = V(static_cast<T>(weight));
          const T* from = dy + offset_of(a.y, od, oh, ow);
          for (int64_t c = 0; c < a.x.c; c += V::kLanes) {
            const int64_t lanes = a.x.c - c < V::kLanes ? a.x.c - c : V::kLanes;
            const V value = V::load(from + c, lanes);
            (first ? value * factor : fma(value, factor, V::load(dx + c, lanes)))
                .store(dx + c, lanes);
          }
          first = false;
        }
      }
    }
    for (int64_t c = 0; first && c < a.x.c; ++c) dx[c] = 0;  // no output reads this element
  }
}

template <class T>
void backward_plane(const ResizeArgs& a, int64_t n, int64_t c) {
  T* dx = plane_of<T>(a.x, n, c);
  const T* dy = plane_of<const T>(a.y, n, c);
  const int64_t step = a.y.stride[2];
  for (int64_t d = 0; d < a.x.size[0]; ++d)
    for (int64_t h = 0; h < a.x.size[1]; ++h)
      for (int64_t w = 0; w < a.x.size[2]; ++w) dx[offset_of(a.x, d, h, w)] = 0;
  for (int64_t begin = 0; begin < a.y.size[2]; begin += kBlock) {
    const SourceBlock<T> block = source_block<T>(a, begin);
    for_each_row<T>(a, [&](int64_t row, T row_weight, int64_t y_row, bool) {
      T* to = dx + row;
      const T* from = dy + y_row + begin * step;
      for (int64_t i = 0; i < block.count; ++i) {
        const T value = from[i * step] * row_weight, weight = block.weight[i];
        to[block.first[i]] += value * (1 - weight);
        if (weight > 0) to[block.second[i]] += value * weight;
      }
    });
  }
}

template <class T>
void backward_of(const ResizeArgs& a) {
  const int64_t* size = a.x.size;
  const int64_t work = a.y.n * a.y.c * a.y.size[0] * a.y.size[1] * a.y.size[2] * 4;
  if (a.x.stride_c == 1 && a.y.stride_c == 1) {
    parallel_for(a.x.n * size[0] * size[1], work, [&](int64_t row, int) {
      backward_row<T>(a, row / (size[0] * size[1]), row / size[1] % size[0], row % size[1]);
    });
  } else {
    parallel_for(a.x.n * a.x.c, work,
                 [&](int64_t plane, int) { backward_plane<T>(a, plane / a.x.c, plane % a.x.c); });
  }
}

void forward(const ResizeArgs& a) {
  a.dtype == Dtype::f32 ? forward_of<float>(a) : forward_of<double>(a);
}

void backward(const ResizeArgs& a) {
  a.dtype == Dtype::f32 ? backward_of<float>(a) : backward_of<double>(a);
}

}  // namespace

extern const ResizeKernels resize_kernels;
constinit const ResizeKernels resize_kernels = {
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::MK_ISA
