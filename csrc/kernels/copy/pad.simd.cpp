// Padding on the CPU, forward and backward.
//
//   y[i] = x[source(i)], or the value where source(i) lies outside of x
//
// with source(i) per dimension. Rows of y along the dimension that is contiguous in memory (the
// last of a contiguous tensor, the channels of a channels-last one) are copied as they are where
// they come from the inside of x; tasks are several of them. Backward is cut along the leading
// dimensions that aren't padded, so that all places an element was copied to belong to one task,
// and sums in row-major order. Exact forward; backward one addition per element of dy.
#include "core/parallel.h"
#include "cpu/lanes.h"
#include "kernels/copy/copy.h"

namespace medkern::MK_ISA {
namespace {

// Where position i of y comes from along a dimension of x of this size; -1 for the constant.
MK_INLINE int64_t source(mk_pad_mode mode, int64_t i, int64_t before, int64_t size) {
  int64_t at = i - before;
  switch (mode) {
    case MK_PAD_CONSTANT:
      return at < 0 || at >= size ? -1 : at;
    case MK_PAD_REFLECT:
      return at < 0 ? -at : at >= size ? 2 * (size - 1) - at : at;
    case MK_PAD_REPLICATE:
      return at < 0 ? 0 : at >= size ? size - 1 : at;
    case MK_PAD_CIRCULAR:
      return at < 0 ? at + size : at >= size ? at - size : at;
  }
  return -1;
}

// The offset in x of the row (all dimensions but the last) that row `row` of y comes from, -1 if it
// is all constant; *y_offset gets the row's own offset.
MK_INLINE int64_t source_row(const PadArgs& a, int64_t row, int64_t* y_offset) {
  int64_t x_offset = 0;
  bool inside = true;
  *y_offset = 0;
  for (int i = a.rank - 2; i >= 0; --i) {
    const int64_t at = row % a.y_size[i], from = source(a.mode, at, a.before[i], a.x_size[i]);
    row /= a.y_size[i];
    *y_offset += at * a.y_stride[i];
    x_offset += from * a.x_stride[i];
    inside &= from >= 0;
  }
  return inside ? x_offset : -1;
}

// The dimensions in the order of y's memory: the last is the one with the smallest step.
PadArgs in_memory_order(const PadArgs& a) {
  PadArgs sorted = a;
  for (int i = 1; i < a.rank; ++i) {
    for (int j = i; j > 0 && sorted.y_stride[j] > sorted.y_stride[j - 1]; --j) {
      for (int64_t* of :
           {sorted.before, sorted.x_size, sorted.x_stride, sorted.y_size, sorted.y_stride}) {
        const int64_t kept = of[j];
        of[j] = of[j - 1];
        of[j - 1] = kept;
      }
    }
  }
  return sorted;
}

template <class T>
void pad_of(const PadArgs& given) {
  if (given.rank == 0) {
    *static_cast<T*>(given.y) = *static_cast<const T*>(given.x);
    return;
  }
  const PadArgs a = in_memory_order(given);
  const int last = a.rank - 1;
  const int64_t columns = a.y_size[last], before = a.before[last];
  const int64_t x_step = a.x_stride[last], y_step = a.y_stride[last];
  // Columns [inner, inner_end) of y come from inside of x.
  const int64_t inner = before > 0 ? before : 0;
  const int64_t most = before + a.x_size[last];
  const int64_t inner_end = most < columns ? (most > inner ? most : inner) : columns;
  int64_t rows = 1;
  for (int i = 0; i < last; ++i) rows *= a.y_size[i];
  constexpr int64_t kTaskElements = 16384;
  const int64_t each = columns < kTaskElements ? kTaskElements / columns : 1;
  parallel_for((rows + each - 1) / each, rows * columns, [&](int64_t task, int) {
    const int64_t end = (task + 1) * each < rows ? (task + 1) * each : rows;
    for (int64_t row = task * each; row < end; ++row) {
      int64_t y_offset;
      const int64_t x_offset = source_row(a, row, &y_offset);
      T* y = static_cast<T*>(a.y) + y_offset;
      const T* x = static_cast<const T*>(a.x) + x_offset;
      const auto edge = [&](int64_t j) {
        const int64_t from = x_offset < 0 ? -1 : source(a.mode, j, before, a.x_size[last]);
        y[j * y_step] = from < 0 ? static_cast<T>(a.value) : x[from * x_step];
      };
      if (x_offset < 0) {
        for (int64_t j = 0; j < columns; ++j) y[j * y_step] = static_cast<T>(a.value);
        continue;
      }
      for (int64_t j = 0; j < smaller(inner, columns); ++j) edge(j);
      if (x_step == 1 && y_step == 1) {
        for_each_vector<T>(inner_end - inner, [&](int64_t j, int64_t lanes) {
          store_lanes(load_lanes(x + inner - before + j, lanes), y + inner + j, lanes);
        });
      } else {
        for (int64_t j = inner; j < inner_end; ++j) y[j * y_step] = x[(j - before) * x_step];
      }
      for (int64_t j = inner_end; j < columns; ++j) edge(j);
    }
  });
}

// Adds rows [row_begin, row_end) of dy to where they came from.
template <class T>
void gather_gradient(const PadArgs& a, int64_t row_begin, int64_t row_end) {
  const int last = a.rank - 1;
  for (int64_t row = row_begin; row < row_end; ++row) {
    int64_t y_offset;
    const int64_t x_offset = source_row(a, row, &y_offset);
    if (x_offset < 0) continue;
    const T* dy = static_cast<const T*>(a.y) + y_offset;
    T* dx = static_cast<T*>(a.x) + x_offset;
    for (int64_t j = 0; j < a.y_size[last]; ++j) {
      const int64_t from = source(a.mode, j, a.before[last], a.x_size[last]);
      if (from >= 0) dx[from * a.x_stride[last]] += dy[j * a.y_stride[last]];
    }
  }
}

template <class T>
void clear(const PadArgs& a) {
  int64_t count = 1;
  for (int i = 0; i < a.rank; ++i) count *= a.x_size[i];
  for (int64_t flat = 0; flat < count; ++flat) {
    int64_t offset = 0, rest = flat;
    for (int i = a.rank - 1; i >= 0; --i) {
      offset += rest % a.x_size[i] * a.x_stride[i];
      rest /= a.x_size[i];
    }
    static_cast<T*>(a.x)[offset] = 0;
  }
}

template <class T>
void pad_backward_of(const PadArgs& a) {
  if (a.rank == 0) {
    *static_cast<T*>(a.x) = *static_cast<const T*>(a.y);
    return;
  }
  clear<T>(a);
  int64_t rows = 1, count = 1;
  for (int i = 0; i < a.rank; ++i) {
    if (i < a.rank - 1) rows *= a.y_size[i];
    count *= a.y_size[i];
  }
  // Leading dimensions that aren't padded: their tasks write to different parts of dx.
  int64_t tasks = 1;
  for (int i = 0; i < a.rank - 1 && a.before[i] == 0 && a.x_size[i] == a.y_size[i]; ++i) {
    tasks *= a.y_size[i];
  }
  if (tasks == 0) return;
  const int64_t each = rows / tasks;
  parallel_for(tasks, count,
               [&](int64_t task, int) { gather_gradient<T>(a, task * each, (task + 1) * each); });
}

}  // namespace

void pad(const PadArgs& a) { a.dtype == Dtype::f32 ? pad_of<float>(a) : pad_of<double>(a); }

void pad_backward(const PadArgs& a) {
  a.dtype == Dtype::f32 ? pad_backward_of<float>(a) : pad_backward_of<double>(a);
}

}  // namespace medkern::MK_ISA
