// Reductions on the device.
//
//   y[kept] = op over the reduced axes of x[kept, reduced]
//
// Every number is widened to float64. The reduced elements are cut into chunks by shape; a block
// takes one chunk of some results. Neighboring threads have neighboring results where these lie
// side by side in x (channels-last statistics), else neighboring elements of one result; 16 bytes
// at a time where memory allows. A thread sums its own elements in order, then the threads of a
// column merge by halves; a second kernel merges the chunks of every result in the same way.
// Work  one or two float64 operations per element. Memory  x once (twice for the variance).
// Numerics  a float32 sum is rounded once, at the end. Extremes: NaN above all, the first place.
#include "cuda/loops.h"
#include "cuda/reduce.h"
#include "kernels/reduce/reduce.cuda.h"

namespace medkern::cuda {
namespace {

// Accumulators: start, add a value and its flat index, merge. kDepth: steps a thread has on their
// way at once; kSigned: the smallest is the largest of negative values.
struct Total {
  static constexpr int kDepth = 4;
  static constexpr bool kSigned = false;
  double value;
  MK_INLINE void start(double) { value = 0; }
  MK_INLINE void add(double v, int64_t) { value += v; }
  MK_INLINE static Total of(double value, int64_t) { return {value}; }
  MK_INLINE int64_t first() const { return 0; }
  MK_INLINE void merge(const Total& other) { value += other.value; }
};

// Sum of (v - center)^2.
struct Spread {
  static constexpr int kDepth = 4;
  static constexpr bool kSigned = false;
  double value, center;
  MK_INLINE void start(double mean) { value = 0, center = mean; }
  MK_INLINE void add(double v, int64_t) {
    const double d = v - center;
    value = fma(d, d, value);
  }
  MK_INLINE int64_t first() const { return 0; }
  MK_INLINE void merge(const Spread& other) { value += other.value; }
};

// The largest value, NaN above all, and the first place it was met; -1 before the first element.
struct Extreme {
  static constexpr int kDepth = 2;
  static constexpr bool kSigned = true;
  double value;
  int64_t place;
  MK_INLINE void start(double) { value = 0, place = -1; }
  MK_INLINE static Extreme of(double value, int64_t place) { return {value, place}; }
  MK_INLINE int64_t first() const { return place; }
  MK_INLINE void merge(const Extreme& other) { add(other.value, other.place); }
  MK_INLINE void add(double v, int64_t at) {
    if (at < 0) return;
    const bool nan = v != v, is_nan = value != value;
    const bool as_good = v == value || (nan && is_nan);
    if (place < 0 || v > value || (nan && !is_nan) || (as_good && at < place)) {
      value = v;
      place = at;
    }
  }
};

template <class Acc>
struct Merge {
  MK_INLINE Acc operator()(Acc a, const Acc& b) const {
    a.merge(b);
    return a;
  }
};

template <class T, class Acc, class Args>
MK_INLINE void finish(const Args& args, uint32_t output, const Acc& result) {
  const double value = args.sign * result.value / args.divisor;
  if (args.gives_centers) {
    args.centers[output] = value;
    return;
  }
  const uint32_t step[1] = {output};
  int64_t offset[1][3];
  find_steps(args.kept, step, offset);
  static_cast<T*>(args.y)[offset[0][1]] = static_cast<T>(value);
  if (args.indices != nullptr) args.indices[offset[0][2]] = result.first();
}

// Adds the thread's elements of chunk `chunk`; acc[i] has lane i.
template <int lanes, class T, class Acc>
MK_INLINE void add_chunk(const ReduceKernelArgs& args, uint32_t chunk, uint32_t row, const T* x,
                         Acc (&acc)[lanes]) {
  const uint32_t rows = 1u << args.row_bits, group = args.pieces.quotient(chunk);
  const uint32_t in_group = (chunk - group * args.pieces.divisor) * args.piece;
  const uint32_t begin = group * args.group + in_group;
  const uint32_t whole = args.group - in_group < args.piece ? args.group - in_group : args.piece;
  const uint32_t left = args.reduced.count - begin;
  const uint32_t end = begin + (whole < left ? whole : left);
  const int64_t index_step = args.across || lanes == 1 ? 0 : args.reduced.stride[1][0] / lanes;
  const double sign = Acc::kSigned ? args.sign : 1;
  constexpr int kDepth = Acc::kDepth;
  for (uint32_t first = begin + row; first < end; first += kDepth * rows) {
    uint32_t step[kDepth];
    int64_t offset[kDepth][2];
    Pack<T, lanes> value[kDepth];
#pragma unroll
    for (int u = 0; u < kDepth; ++u) step[u] = first + u * rows;
    find_steps(args.reduced, step, offset);
#pragma unroll
    for (int u = 0; u < kDepth; ++u) {
      if (step[u] < end) value[u] = load_pack<lanes>(x + offset[u][0]);
    }
#pragma unroll
    for (int u = 0; u < kDepth; ++u) {
      if (step[u] >= end) continue;
#pragma unroll
      for (int i = 0; i < lanes; ++i) {
        const auto v = static_cast<double>(value[u].at[i]);
        acc[i].add(Acc::kSigned ? sign * v : v, offset[u][1] + i * index_step);
      }
    }
  }
  if (!args.across && args.reduced.tail > 0 && chunk == args.chunks - 1 && row == 0) {
    const int64_t at = int64_t{args.reduced.count} * lanes;
    for (int i = 0; i < args.reduced.tail; ++i) {
      acc[0].add(sign * static_cast<double>(x[at + i]), (at + i) * index_step);
    }
  }
}

// `wide` results of a thread: `lanes` with vectors across, else one.
template <int lanes, int wide, class T, class Acc>
MK_INLINE void reduce_block(const ReduceKernelArgs& args) {
  const uint32_t columns = 1u << args.column_bits, rows = 1u << args.row_bits;
  uint32_t chunk = blockIdx.x;
  const uint32_t block = args.blocks.take(chunk);
  const uint32_t column = args.across ? threadIdx.x & (columns - 1) : threadIdx.x >> args.row_bits;
  const uint32_t row = args.across ? threadIdx.x >> args.column_bits : threadIdx.x & (rows - 1);
  const uint32_t output = (block * columns + column) * wide;
  Acc acc[lanes];
#pragma unroll
  for (int i = 0; i < lanes; ++i) acc[i].start(0);
  if (output < args.kept.count) {
    if (args.centers != nullptr && !args.gives_centers) {
#pragma unroll
      for (int i = 0; i < lanes; ++i) acc[i].start(args.centers[output + (wide > 1 ? i : 0)]);
    }
    const uint32_t step[1] = {output};
    int64_t offset[1][1];
    find_steps(args.kept, step, offset);
    add_chunk<lanes>(args, chunk, row, static_cast<const T*>(args.x) + offset[0][0], acc);
  }
  Acc merged[wide];
#pragma unroll
  for (int i = 0; i < wide; ++i) merged[i] = acc[i];
#pragma unroll
  for (int i = wide; i < lanes; ++i) merged[0].merge(acc[i]);
  merge_rows(merged, shared<Acc>(), static_cast<int>(column), static_cast<int>(columns),
             static_cast<int>(row), static_cast<int>(rows), Merge<Acc>());
  if (row > 0 || output >= args.kept.count) return;
#pragma unroll
  for (int i = 0; i < wide; ++i) {
    if (args.chunks == 1) {
      finish<T>(args, output + i, merged[i]);
    } else {
      const int64_t at = int64_t{chunk} * args.kept.count + output + i;
      args.values[at] = merged[i].value;
      if (args.places != nullptr) args.places[at] = merged[i].first();
    }
  }
}

template <class T, class Acc>
MK_INLINE void reduce(const ReduceKernelArgs& args) {
  constexpr int lanes = vector_lanes(sizeof(T));
  if (args.lanes == 1) {
    reduce_block<1, 1, T, Acc>(args);
  } else if (args.across) {
    reduce_block<lanes, lanes, T, Acc>(args);
  } else {
    reduce_block<lanes, 1, T, Acc>(args);
  }
}

// Merges the chunks of every result in order, over no elements too.
template <class T, class Acc>
MK_INLINE void merge_chunks(const MergeKernelArgs& args) {
  const uint32_t columns = 1u << args.column_bits, rows = kReduceThreads >> args.column_bits;
  const uint32_t column = threadIdx.x & (columns - 1), row = threadIdx.x >> args.column_bits;
  const uint32_t output = blockIdx.x * columns + column;
  Acc acc[1];
  acc[0].start(0);
  if (output < args.kept.count) {
#pragma unroll 4
    for (uint32_t chunk = row; chunk < args.chunks; chunk += rows) {
      const int64_t at = int64_t{chunk} * args.kept.count + output;
      acc[0].merge(Acc::of(args.values[at], args.places != nullptr ? args.places[at] : 0));
    }
  }
  merge_rows(acc, shared<Acc>(), static_cast<int>(column), static_cast<int>(columns),
             static_cast<int>(row), static_cast<int>(rows), Merge<Acc>());
  if (row == 0 && output < args.kept.count) finish<T>(args, output, acc[0]);
}

}  // namespace

MK_KERNEL(reduce_total_f32, ReduceKernelArgs, 256) { reduce<float, Total>(args); }
MK_KERNEL(reduce_total_f64, ReduceKernelArgs, 256) { reduce<double, Total>(args); }
MK_KERNEL(reduce_spread_f32, ReduceKernelArgs, 256) { reduce<float, Spread>(args); }
MK_KERNEL(reduce_spread_f64, ReduceKernelArgs, 256) { reduce<double, Spread>(args); }
MK_KERNEL(reduce_extreme_f32, ReduceKernelArgs, 256) { reduce<float, Extreme>(args); }
MK_KERNEL(reduce_extreme_f64, ReduceKernelArgs, 256) { reduce<double, Extreme>(args); }

MK_KERNEL(reduce_merge_totals_f32, MergeKernelArgs, 256) { merge_chunks<float, Total>(args); }
MK_KERNEL(reduce_merge_totals_f64, MergeKernelArgs, 256) { merge_chunks<double, Total>(args); }
MK_KERNEL(reduce_merge_extremes_f32, MergeKernelArgs, 256) { merge_chunks<float, Extreme>(args); }
MK_KERNEL(reduce_merge_extremes_f64, MergeKernelArgs, 256) { merge_chunks<double, Extreme>(args); }

}  // namespace medkern::cuda
