// Reductions on the CPU.
//
//   y[kept] = op over the reduced axes of x[kept, reduced]
//
// Every number is widened to float64 and accumulated in vector lanes of float64, in one of two
// ways:
//   across  where results lie side by side in x: each lane holds a result, the loop runs over the
//           reduced elements (channels-last statistics);
//   along   otherwise: each result's elements are spread over the lanes of four registers, which
//           are merged at the end.
// The reduced elements are cut into chunks of about 4096 by shape; tasks are (chunk, group of
// results); the chunks' partial results are merged in order.
// Work  one or two operations per element. Memory  x once (twice for the variance).
// Numerics  float64 throughout: a float32 sum is rounded once, at the end.
#include "kernels/reduce/reduce.h"

#include "core/parallel.h"
#include "cpu/vec.h"

namespace medkern::MK_ISA {
namespace {

using Wide = Vec<double>;
using Places = Vec<double>::Mask;  // int64 lanes
constexpr int kLanes = Wide::kLanes;
constexpr int kUnroll = 4;
constexpr int kAcross = 32;           // vectors of results side by side that are summed at once
constexpr int64_t kTaskWork = 32768;  // elements of a task

// kLanes elements as float64.
MK_INLINE Wide load_wide(const double* p) { return Wide::load(p); }
MK_INLINE Wide load_wide(const float* p) {
  typedef float Half __attribute__((vector_size(MK_VECTOR_BYTES / 2)));
  typedef float Unaligned __attribute__((vector_size(MK_VECTOR_BYTES / 2), aligned(4), may_alias));
  return __builtin_convertvector(Half(*reinterpret_cast<const Unaligned*>(p)), Wide::Native);
}

// The first n of kLanes elements `stride` apart; the rest of the lanes repeat the first.
template <class T>
MK_INLINE Wide load_wide(const T* p, int64_t stride, int64_t n) {
  if (stride == 1 && n == kLanes) return load_wide(p);
  double lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = p[i < n ? i * stride : 0];
  return Wide::load(lanes);
}

// 0, 1, 2, ... times step; lanes from n on are 0.
MK_INLINE Places ramp(int64_t step, int64_t n) {
  Places places{};
  for (int i = 0; i < kLanes; ++i) places[i] = i < n ? i * step : 0;
  return places;
}

struct Partial {
  double value;
  int64_t place;
};

// Accumulators: start, add a vector (of which the first n lanes count), give the lanes, merge two
// partial results.
struct SumLanes {
  Wide total;
  MK_INLINE void start(Wide) { total = Wide::zero(); }
  MK_INLINE void add(Wide v, Places) { total += v; }
  MK_INLINE void add_first(Wide v, Places, int64_t n) {
    for (int i = 0; i < kLanes; ++i) total.v[i] += i < n ? v.v[i] : 0;
  }
  MK_INLINE Partial lane(int i) const { return {total.v[i], 0}; }
  MK_INLINE static Partial merge(Partial a, Partial b) { return {a.value + b.value, 0}; }
  MK_INLINE static Partial merge_all(const SumLanes (&lanes)[kUnroll]) {
    return {sum((lanes[0].total + lanes[1].total) + (lanes[2].total + lanes[3].total)), 0};
  }
};

// Sum of (v - center)^2.
struct SpreadLanes {
  Wide center, total;
  MK_INLINE void start(Wide mean) {
    center = mean;
    total = Wide::zero();
  }
  MK_INLINE void add(Wide v, Places) {
    const Wide d = v - center;
    total = fma(d, d, total);
  }
  MK_INLINE void add_first(Wide v, Places places, int64_t n) {
    const Wide before = total;
    add(v, places);
    for (int i = static_cast<int>(n); i < kLanes; ++i) total.v[i] = before.v[i];
  }
  MK_INLINE Partial lane(int i) const { return {total.v[i], 0}; }
  MK_INLINE static Partial merge(Partial a, Partial b) { return {a.value + b.value, 0}; }
  MK_INLINE static Partial merge_all(const SpreadLanes (&lanes)[kUnroll]) {
    return {sum((lanes[0].total + lanes[1].total) + (lanes[2].total + lanes[3].total)), 0};
  }
};

// The largest value (the smallest, by its sign), NaN above all, and the first place it was met.
template <int sign>
struct ExtremeLanes {
  Wide best;
  Places place;  // -1 before the first element
  MK_INLINE void start(Wide) {
    best = Wide::zero();
    place = Places{} - 1;
  }
  MK_INLINE void add(Wide v, Places at) {
    if constexpr (sign < 0) v = -v;
    const Places better = (v > best) | ((v != v) & (best == best)) | (place < 0);
    const Places as_good = ((v == best) | ((v != v) & (best != best))) & (at < place);
    const Places take = better | as_good;
    best = select<double>(take, v, best);
    place = take ? at : place;
  }
  // Lanes past n repeat the first one, place and all: they change nothing in the end.
  MK_INLINE void add_first(Wide v, Places at, int64_t) { add(v, at); }
  MK_INLINE Partial lane(int i) const { return {sign * best.v[i], place[i]}; }
  MK_INLINE static Partial merge(Partial a, Partial b) {
    if (a.place < 0 || b.place < 0) return a.place < 0 ? b : a;
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan != b_nan) return a_nan ? a : b;
    if (!a_nan && a.value != b.value) {
      return (sign > 0 ? a.value > b.value : a.value < b.value) ? a : b;
    }
    return a.place < b.place ? a : b;
  }
  MK_INLINE static Partial merge_all(const ExtremeLanes (&lanes)[kUnroll]) {
    Partial result = lanes[0].lane(0);
    for (int i = 1; i < kUnroll * kLanes; ++i) {
      result = merge(result, lanes[i / kLanes].lane(i % kLanes));
    }
    return result;
  }
};

// Runs over the rows of a chunk: visit(offset in x, flat index, elements) for each.
template <class Visit>
MK_INLINE void for_each_row(const ReduceArgs& a, int64_t chunk, Visit visit) {
  const Loops& loops = a.reduced;
  const Chunks& c = a.chunks;
  const int inner = loops.rank - 1;
  const int64_t begin = chunk % c.pieces * c.elements;
  const int64_t n = c.pieces == 1                   ? c.length
                    : begin + c.elements < c.length ? c.elements
                                                    : c.length - begin;
  const int64_t first = chunk / c.pieces * c.rows_per_chunk;
  const int64_t last = first + c.rows_per_chunk < c.rows ? first + c.rows_per_chunk : c.rows;
  for (int64_t row = first; row < last; ++row) {
    int64_t offset = begin * loops.stride[0][inner], index = begin * loops.stride[1][inner];
    int64_t rest = row;
    for (int i = inner - 1; i >= 0; --i) {
      offset += rest % loops.size[i] * loops.stride[0][i];
      index += rest % loops.size[i] * loops.stride[1][i];
      rest /= loops.size[i];
    }
    visit(offset, index, n);
  }
}

// The offset of result `output` in operand k of the kept axes.
MK_INLINE int64_t kept_offset(const Loops& kept, int k, int64_t output) {
  int64_t offset = 0;
  for (int i = kept.rank - 1; i >= 0; --i) {
    offset += output % kept.size[i] * kept.stride[k][i];
    output /= kept.size[i];
  }
  return offset;
}

template <class Lanes>
MK_INLINE void keep(const ReduceArgs& a, int64_t chunk, int64_t output, Partial partial) {
  a.values[chunk * a.outputs + output] = partial.value;
  if (a.op == MK_MAX || a.op == MK_MIN) a.places[chunk * a.outputs + output] = partial.place;
}

// One result over one chunk, its elements spread over lanes.
template <class Lanes, class T>
MK_INLINE void along(const ReduceArgs& a, int64_t chunk, int64_t output) {
  const int inner = a.reduced.rank - 1;
  const int64_t stride = a.reduced.stride[0][inner], step = a.reduced.stride[1][inner];
  const Places steps = ramp(step, kLanes);
  Lanes lanes[kUnroll];
  for (int u = 0; u < kUnroll; ++u) {
    lanes[u].start(a.op == MK_VAR ? Wide(a.centers[output]) : Wide::zero());
  }
  const T* x = static_cast<const T*>(a.x) + kept_offset(a.kept, 0, output);
  for_each_row(a, chunk, [&](int64_t offset, int64_t index, int64_t n) {
    const T* row = x + offset;
    int64_t i = 0;
    if (stride == 1) {
      for (; i + kUnroll * kLanes <= n; i += kUnroll * kLanes) {
        for (int u = 0; u < kUnroll; ++u) {
          const int64_t at = i + u * kLanes;
          lanes[u].add(load_wide(row + at), steps + (index + at * step));
        }
      }
    }
    for (; i + kLanes <= n; i += kLanes) {
      lanes[0].add(load_wide(row + i * stride, stride, kLanes), steps + (index + i * step));
    }
    if (i < n) {
      lanes[0].add_first(load_wide(row + i * stride, stride, n - i),
                         ramp(step, n - i) + (index + i * step), n - i);
    }
  });
  keep<Lanes>(a, chunk, output, Lanes::merge_all(lanes));
}

// `count` results side by side over one chunk, a lane each; count <= kAcross * kLanes.
template <class Lanes, class T>
MK_INLINE void across(const ReduceArgs& a, int64_t chunk, int64_t output, int64_t count) {
  const int inner = a.reduced.rank - 1;
  const int64_t stride = a.reduced.stride[0][inner], step = a.reduced.stride[1][inner];
  const int vectors = static_cast<int>((count + kLanes - 1) / kLanes);
  const int whole = static_cast<int>(count / kLanes);
  const int64_t rest = count - whole * kLanes;
  Lanes lanes[kAcross];
  for (int u = 0; u < vectors; ++u) {
    const int64_t here = count - u * kLanes < kLanes ? count - u * kLanes : kLanes;
    lanes[u].start(a.op == MK_VAR ? load_wide(a.centers + output + u * kLanes, 1, here)
                                  : Wide::zero());
  }
  const T* x = static_cast<const T*>(a.x) + kept_offset(a.kept, 0, output);
  for_each_row(a, chunk, [&](int64_t offset, int64_t index, int64_t n) {
    const T* row = x + offset;
    for (int64_t i = 0; i < n; ++i) {
      const Places place = Places{} + (index + i * step);
      const T* from = row + i * stride;
      for (int u = 0; u < whole; ++u) lanes[u].add(load_wide(from + u * kLanes), place);
      if (rest > 0) lanes[whole].add(load_wide(from + whole * kLanes, 1, rest), place);
    }
  });
  for (int64_t i = 0; i < count; ++i) {
    keep<Lanes>(a, chunk, output + i, lanes[i / kLanes].lane(i % kLanes));
  }
}

template <class Lanes, class T>
void partials_of(const ReduceArgs& a) {
  if (a.chunks.count == 0) return;  // over no elements
  const int64_t width = a.kept.size[a.kept.rank - 1];
  const int64_t work = a.outputs * a.elements;
  if (a.kept.stride[0][a.kept.rank - 1] == 1 && width > 1) {
    const int64_t block = kAcross * kLanes, blocks = (width + block - 1) / block;
    const int64_t rows = a.outputs / width;
    parallel_for(a.chunks.count * rows * blocks, work, [&](int64_t task, int) {
      const int64_t first = task % blocks * block;
      across<Lanes, T>(a, task / blocks / rows, task / blocks % rows * width + first,
                       width - first < block ? width - first : block);
    });
    return;
  }
  // The chunks of a result follow each other, so that tasks run along memory.
  const int64_t chunk_elements = a.elements / a.chunks.count + 1,
                items = a.outputs * a.chunks.count;
  const int64_t group = chunk_elements < kTaskWork ? kTaskWork / chunk_elements : 1;
  parallel_for((items + group - 1) / group, work, [&](int64_t task, int) {
    const int64_t end = (task + 1) * group < items ? (task + 1) * group : items;
    for (int64_t item = task * group; item < end; ++item) {
      along<Lanes, T>(a, item % a.chunks.count, item / a.chunks.count);
    }
  });
}

// Merges the chunks of every result in order and hands (result, partial) to `give`.
template <class Lanes, class Give>
MK_INLINE void merge_chunks(const ReduceArgs& a, Give give) {
  const bool extreme = a.op == MK_MAX || a.op == MK_MIN;
  const int64_t group = 1024, groups = (a.outputs + group - 1) / group;
  parallel_for(groups, a.outputs * (a.chunks.count + 4), [&](int64_t task, int) {
    const int64_t first = task * group;
    const int64_t last = first + group < a.outputs ? first + group : a.outputs;
    for (int64_t output = first; output < last; ++output) {
      Partial result{0, -1};
      for (int64_t chunk = 0; chunk < a.chunks.count; ++chunk) {
        const int64_t at = chunk * a.outputs + output;
        const Partial partial{a.values[at], extreme ? a.places[at] : 0};
        result = chunk == 0 ? partial : Lanes::merge(result, partial);
      }
      give(output, result);
    }
  });
}

template <class Lanes, class T>
void reduce_with(const ReduceArgs& a) {
  partials_of<Lanes, T>(a);
  // Over no elements the sum is 0, the mean and the variance 0 / 0.
  const double left = a.elements - a.correction;
  const double divisor = a.op == MK_MEAN  ? static_cast<double>(a.elements)
                         : a.op == MK_VAR ? (left > 0 ? left : 0)
                                          : 1;
  merge_chunks<Lanes>(a, [&](int64_t output, Partial result) {
    const double value = a.op == MK_MEAN || a.op == MK_VAR ? result.value / divisor : result.value;
    static_cast<T*>(a.y)[kept_offset(a.kept, 1, output)] = static_cast<T>(value);
    if (a.indices != nullptr) a.indices[kept_offset(a.kept, 2, output)] = result.place;
  });
}

template <class T>
void reduce_of(const ReduceArgs& a) {
  switch (a.op) {
    case MK_SUM:
    case MK_MEAN:
      return reduce_with<SumLanes, T>(a);
    case MK_VAR: {
      if (a.chunks.count > 0) {
        ReduceArgs means = a;
        means.op = MK_MEAN;
        partials_of<SumLanes, T>(means);
        merge_chunks<SumLanes>(means, [&](int64_t output, Partial total) {
          a.centers[output] = total.value / static_cast<double>(a.elements);
        });
      }
      return reduce_with<SpreadLanes, T>(a);
    }
    case MK_MAX:
      return reduce_with<ExtremeLanes<1>, T>(a);
    case MK_MIN:
      return reduce_with<ExtremeLanes<-1>, T>(a);
  }
}

// The offset in the full tensor of a flat index over the reduced axes.
MK_INLINE int64_t place_offset(const PickArgs& a, int64_t index) {
  int64_t offset = 0;
  for (int i = a.rank - 1; i >= 0; --i) {
    offset += index % a.size[i] * a.stride[i];
    index /= a.size[i];
  }
  return offset;
}

template <class T>
void take_of(const PickArgs& a) {
  const int64_t group = 1024;
  parallel_for((a.outputs + group - 1) / group, a.outputs * 8, [&](int64_t task, int) {
    const int64_t first = task * group;
    const int64_t last = first + group < a.outputs ? first + group : a.outputs;
    for (int64_t output = first; output < last; ++output) {
      const int64_t index = a.indices[kept_offset(a.kept, 2, output)];
      static_cast<T*>(a.small)[kept_offset(a.kept, 1, output)] =
          static_cast<const T*>(a.full)[kept_offset(a.kept, 0, output) + place_offset(a, index)];
    }
  });
}

template <class T>
void put_of(const PickArgs& a) {
  const int inner = a.reduced.rank - 1;
  const int64_t length = a.reduced.size[inner], stride = a.reduced.stride[0][inner];
  const int64_t group = a.elements < kTaskWork ? kTaskWork / a.elements : 1;
  parallel_for((a.outputs + group - 1) / group, a.outputs * a.elements, [&](int64_t task, int) {
    const int64_t first = task * group;
    const int64_t last = first + group < a.outputs ? first + group : a.outputs;
    for (int64_t output = first; output < last; ++output) {
      T* dx = static_cast<T*>(a.full) + kept_offset(a.kept, 0, output);
      for (int64_t row = 0; row < a.elements / length; ++row) {
        int64_t offset = 0, rest = row;
        for (int i = inner - 1; i >= 0; --i) {
          offset += rest % a.reduced.size[i] * a.reduced.stride[0][i];
          rest /= a.reduced.size[i];
        }
        for (int64_t i = 0; i < length; ++i) dx[offset + i * stride] = 0;
      }
      const int64_t index = a.indices[kept_offset(a.kept, 2, output)];
      dx[place_offset(a, index)] = static_cast<const T*>(a.small)[kept_offset(a.kept, 1, output)];
    }
  });
}

// Whether all of a contiguous array is within [low, high]: the order doesn't matter until something
// is wrong, so this is one pass over the memory, which the compiler turns into vectors.
template <class T>
bool inside_of(const TensorView& x, int64_t low, int64_t high) {
  const T* values = x.as<const T>();
  bool inside = true;
  parallel_for((x.count + kTaskWork - 1) / kTaskWork, x.count, [&](int64_t task, int) {
    const int64_t begin = task * kTaskWork;
    const int64_t end = begin + kTaskWork < x.count ? begin + kTaskWork : x.count;
    T least = values[begin], most = values[begin];
    for (int64_t i = begin; i < end; ++i) {
      least = values[i] < least ? values[i] : least;
      most = values[i] > most ? values[i] : most;
    }
    if (least < low || most > high) __atomic_store_n(&inside, false, __ATOMIC_RELAXED);
  });
  return inside;
}

// False also where it would take a walk along strides to know.
bool inside(const char*, const TensorView& x, int64_t low, int64_t high) {
  if (!is_contiguous(x) && !is_channels_last(x)) return false;
  switch (x.dtype) {
    case Dtype::u8:
      return (low <= 0 && high >= UINT8_MAX) || inside_of<uint8_t>(x, low, high);
    case Dtype::i32:
      return inside_of<int32_t>(x, low, high);
    default:
      return inside_of<int64_t>(x, low, high);
  }
}

int64_t chunk_elements(bool, int64_t, int64_t) { return 4096; }

void reduce(const ReduceArgs& a) {
  a.dtype == Dtype::f32 ? reduce_of<float>(a) : reduce_of<double>(a);
}
void take(const PickArgs& a) { a.dtype == Dtype::f32 ? take_of<float>(a) : take_of<double>(a); }
void put(const PickArgs& a) { a.dtype == Dtype::f32 ? put_of<float>(a) : put_of<double>(a); }

}  // namespace

extern const ReduceKernels reduce_kernels;
constinit const ReduceKernels reduce_kernels = {
    .chunk_elements = chunk_elements,
    .reduce = reduce,
    .take = take,
    .put = put,
    .inside = inside,
};

}  // namespace medkern::MK_ISA
