// Nearest and linear resizing on the CPU, forward and backward.
//
//   nearest   y[n, c, o] = x[n, c, floor(o * ratio)]
//   linear    y[n, c, o] = sum over the 2 neighbors along each axis of weight * x[n, c, neighbor]
//   backward  dx[n, c, i] = sum of weight * dy[n, c, o] over the outputs o that read i
//
// Channels-last  tasks of rows of y: pixel by pixel, vectors of channels over the 1 to 8 neighbors.
//                Backward rows of dx, gathering.
// Contiguous     tasks of rows of a plane, vectors of elements along W (lines.simd.h): rows of x
//                are blended, then their columns picked by shuffles; backward the rows of dy are
//                added up, then each column of dx gathers. Mixed formats and steps of more than 64
//                outputs per element by a plane, scalar.
// What is computed of an axis is computed once for the rows of a task.
// Work    2 flops per neighbor. Memory  x read once (while a few rows fit the cache), y written
//         once.
// Numerics  coordinates in float64, but for nearest, where they are float32 as everywhere in the
//           field: rounding there decides which element is taken. Neighbors of weight 0 are not
//           read, so their NaN or infinity does not spread. Sums run in row-major order of y.
#include "kernels/resize/lines.simd.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kBlock = 512;  // columns whose sources are computed once for many rows

// Rows [first, last) of an image of y, all channels.
template <class T>
void forward_rows(const ResizeArgs& a, int64_t n, int64_t first, int64_t last) {
  using V = Vec<T>;
  const T* x = plane_of<const T>(a.x, n, 0);
  T* y = plane_of<T>(a.y, n, 0);
  const Axis axis = axis_of(a, 2);
  const int64_t next = a.x.stride[2];
  int64_t offset[kBlock];
  T weight[kBlock];
  for (int64_t begin = 0; begin < axis.count; begin += kBlock) {
    const int64_t count = smaller(kBlock, axis.count - begin);
    for (int64_t i = 0; i < count; ++i) {
      const Source source = source_of(axis, begin + i);
      offset[i] = source.first * next;
      weight[i] = static_cast<T>(source.weight);
    }
    for (int64_t row = first; row < last; ++row) {
      const int64_t od = row / a.y.size[1], oh = row % a.y.size[1];
      const Neighbors rows = rows_under(a, od, oh);
      T* to = y + offset_of(a.y, od, oh, begin);
      for (int64_t i = 0; i < count; ++i, to += a.y.stride[2]) {
        const T* from = x + offset[i];
        const V right(weight[i]), left(1 - weight[i]);
        const bool two = weight[i] > 0;
        for_each_vector<T>(a.x.c, [&](int64_t c, int64_t lanes) {
          V total = V::zero();
          for (int r = 0; r < rows.count; ++r) {
            const T* p = from + rows.offset[r] + c;
            V value = load_lanes(p, lanes);
            if (two) value = fma(load_lanes(p + next, lanes), right, value * left);
            const V row_weight(static_cast<T>(rows.weight[r]));
            total = r == 0 ? value * row_weight : fma(value, row_weight, total);
          }
          store_lanes(total, to + c, lanes);
        });
      }
    }
  }
}

// Sources of a block of outputs along W: element offsets of the two neighbors and the second's
// weight.
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
      const Neighbors rows = rows_under(a, od, oh);
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

// Columns of dx and weights of their readers. A column with too many is taken in several turns.
constexpr int64_t kMostWeights = 2048;
template <class T>
struct Columns {
  int count;
  struct {
    int64_t column, begin, readers, at;
    bool again;  // adds to what an earlier turn left
  } turn[kBlock];
  T weight[kMostWeights];
};

// Fills the list from reader `reader` of column `column` on, and moves both past it.
template <class T>
void fill_columns(const Axis& axis, int64_t& column, int64_t& reader, Columns<T>& list) {
  int64_t used = 0;
  list.count = 0;
  while (column < axis.size && list.count < kBlock && used < kMostWeights) {
    Readers readers = readers_of(axis, column);
    while (readers.begin < readers.end && weight_on(axis, readers.begin, column) == 0) {
      ++readers.begin;  // where the reader lies on the element before
    }
    const int64_t begin = readers.begin + reader, left = readers.end - begin;
    const int64_t taken = smaller(left, kMostWeights - used);
    list.turn[list.count++] = {column, begin, taken, used, reader > 0};
    for (int64_t k = 0; k < taken; ++k) {
      list.weight[used++] = static_cast<T>(weight_on(axis, begin + k, column));
    }
    reader = taken < left ? reader + taken : 0;
    if (reader == 0) ++column;
  }
}

// Rows [first, last) of an image of dx, all channels.
template <class T>
void backward_rows(const ResizeArgs& a, int64_t n, int64_t first, int64_t last) {
  using V = Vec<T>;
  constexpr int kMostRows = 64;
  const T* dy = plane_of<const T>(a.y, n, 0);
  T* dx = plane_of<T>(a.x, n, 0);
  const Axis axis = axis_of(a, 2);
  Columns<T> list;
  int64_t offset[kMostRows];
  T weight[kMostRows];
  for (int64_t column = 0, reader = 0; column < axis.size;) {
    fill_columns(axis, column, reader, list);
    for (int64_t row = first; row < last; ++row) {
      const int64_t d = row / a.x.size[1], h = row % a.x.size[1];
      T* row_dx = dx + offset_of(a.x, d, h, 0);
      int rows = 0;
      bool again = false;
      // Adds the rows listed to all columns of the list.
      const auto add_rows = [&] {
        for (int t = 0; t < list.count; ++t) {
          const auto& turn = list.turn[t];
          T* to = row_dx + turn.column * a.x.stride[2];
          const T* from = dy + turn.begin * a.y.stride[2];
          for_each_vector<T>(a.x.c, [&](int64_t c, int64_t lanes) {
            V total = again || turn.again ? load_lanes(to + c, lanes) : V::zero();
            for (int r = 0; r < rows; ++r) {
              V part = V::zero();
              for (int64_t k = 0; k < turn.readers; ++k) {
                part = fma(load_lanes(from + offset[r] + k * a.y.stride[2] + c, lanes),
                           V(list.weight[turn.at + k]), part);
              }
              total = fma(part, V(weight[r]), total);
            }
            store_lanes(total, to + c, lanes);
          });
        }
        again = true;
        rows = 0;
      };
      for_each_reader(a, d, h, [&](int64_t row_offset, double row_weight) {
        offset[rows] = row_offset;
        weight[rows++] = static_cast<T>(row_weight);
        if (rows == kMostRows) add_rows();
      });
      if (rows > 0 || !again) add_rows();
    }
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
void forward_of(const ResizeArgs& a) {
  const int64_t* size = a.y.size;
  const int64_t work = a.y.n * a.y.c * size[0] * size[1] * size[2] * 4;
  if (a.x.stride_c == 1 && a.y.stride_c == 1) {
    for_row_groups(
        a.y.n, size[0] * size[1], size[2] * a.y.c, work,
        [&](int64_t n, int64_t first, int64_t last) { forward_rows<T>(a, n, first, last); });
  } else if (has_lines(a.x) && has_lines(a.y)) {
    for_row_groups(a.y.n * a.y.c, size[0] * size[1], size[2], work,
                   [&](int64_t plane, int64_t first, int64_t last) {
                     forward_lines<T>(a, plane, first, last);
                   });
  } else {
    parallel_for(a.y.n * a.y.c, work,
                 [&](int64_t plane, int) { forward_plane<T>(a, plane / a.y.c, plane % a.y.c); });
  }
}

template <class T>
void backward_of(const ResizeArgs& a) {
  const int64_t* size = a.x.size;
  const int64_t work = a.y.n * a.y.c * a.y.size[0] * a.y.size[1] * a.y.size[2] * 4;
  if (a.x.stride_c == 1 && a.y.stride_c == 1) {
    for_row_groups(
        a.x.n, size[0] * size[1], size[2] * a.x.c, work,
        [&](int64_t n, int64_t first, int64_t last) { backward_rows<T>(a, n, first, last); });
  } else if (has_lines(a.x) && has_lines(a.y) && columns_fit<T>(axis_of(a, 2))) {
    for_row_groups(a.x.n * a.x.c, size[0] * size[1], size[2], work,
                   [&](int64_t plane, int64_t first, int64_t last) {
                     backward_lines<T>(a, plane, first, last);
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
