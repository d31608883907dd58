// How softmax and cross-entropy go over [outer][axis][inner] memory on CUDA.
//
// other short axes      tiles of elements in shared memory, copied there and written in the order
// of
//                       memory; a thread takes an element
// rows of vectors       (inner 1) a thread, a group of kRowGroup threads, a warp or a block takes a
//                       row, which its registers hold if it isn't too long
// other long rows       a warp or a block takes a row, in memory
// long axis, inner > 1  a thread takes an element, in memory
#pragma once

#include "cuda/device.h"
#include "cuda/loops.h"
#include "cuda/reduce.h"
#include "kernels/softmax/softmax.cuda.h"

namespace medkern::cuda {

// ---- elements ----

// The numbers of an element.
template <class T>
struct Line {
  const T* first;
  int64_t step;
  uint32_t axis;
  MK_INLINE T operator()(uint32_t a) const { return first[a * step]; }
};

// NaN if there is one.
template <class T>
MK_INLINE T line_max(const Line<T>& x) {
  T m = x(0);
#pragma unroll 8
  for (uint32_t a = 1; a < x.axis; ++a) m = Largest()(m, x(a));
  return m;
}

// The sum of value(a) over the axis: of a few in T, of those in float64.
template <class T, class Value>
MK_INLINE double line_sum(uint32_t axis, Value value) {
  constexpr uint32_t kFew = 64;
  double total = 0;
  for (uint32_t first = 0; first < axis; first += kFew) {
    const uint32_t end = min(first + kFew, axis);
    T part = 0;
#pragma unroll 4
    for (uint32_t a = first; a < end; ++a) part += value(a);
    total += part;
  }
  return total;
}

// The place in memory of an element.
MK_INLINE int64_t line_offset(const SoftmaxKernelArgs& s, int64_t element) {
  if (s.inner == 1) return element * s.axis;
  const int64_t outer = element / s.inner;
  return outer * s.axis * s.inner + (element - outer * s.inner);
}

// ---- tiles ----

struct SoftmaxTile {
  int64_t element, offset;  // of the first
  uint32_t count;           // of elements
};

MK_INLINE SoftmaxTile softmax_tile(const SoftmaxKernelArgs& s) {
  const int64_t run = s.inner > 1 ? s.inner : s.elements;
  uint32_t outer = blockIdx.x;
  const int64_t first = int64_t{s.by_tiles.take(outer)} * s.tile;
  SoftmaxTile t;
  t.element = outer * run + first;
  t.offset = s.inner > 1 ? outer * run * s.axis + first : t.element * s.axis;
  t.count = static_cast<uint32_t>(min(int64_t{s.tile}, run - first));
  return t;
}

// Numbers of a tile in shared memory.
MK_INLINE uint32_t tile_numbers(const SoftmaxKernelArgs& s) {
  return s.inner > 1 ? s.tile * s.axis : s.tile * s.pitch;
}

// Calls visit(place in the tile, element, a, place in memory from the tile's first) for numbers of
// a tile in the order of memory: for all of them, or, with s.vectors, for every fourth.
template <class Visit>
MK_INLINE void for_tile(const SoftmaxKernelArgs& s, const SoftmaxTile& t, Visit visit) {
  const uint32_t width = s.vectors ? 4 : 1;
  if (s.inner == 1) {
    for (uint32_t i = threadIdx.x * width; i < t.count * s.axis; i += kSoftmaxThreads * width) {
      const uint32_t element = s.by_axis.quotient(i), a = i - element * s.axis;
      visit(element * s.pitch + a, element, a, int64_t{i});
    }
    return;
  }
  for (uint32_t i = threadIdx.x; i < s.axis * s.by_tile.divisor; i += kSoftmaxThreads) {
    const uint32_t a = s.by_tile.quotient(i), element = (i - a * s.by_tile.divisor) * width;
    if (element < t.count) visit(a * s.tile + element, element, a, a * s.inner + element);
  }
}

template <class T>
MK_INLINE void copy_number(T* to, const T* from) {
  if constexpr (sizeof(T) == 4) {
    cp_async4(to, from, true);
  } else {
    cp_async8(to, from, true);
  }
}

// Numbers of a tile that whole vectors don't take: of rows at the end of memory.
MK_INLINE uint32_t tile_rest(const SoftmaxKernelArgs& s, const SoftmaxTile& t) {
  return s.inner == 1 ? t.count * s.axis % 4 : 0;
}

// Begins to copy; tile_arrived() waits for all copies.
template <class T>
MK_INLINE void load_tile(const SoftmaxKernelArgs& s, const SoftmaxTile& t, const void* memory,
                         T* tile) {
  const T* from = static_cast<const T*>(memory) + t.offset;
  if (s.vectors) {
    const uint32_t rest = tile_rest(s, t), whole = t.count * s.axis - rest;
    for_tile(s, t, [&](uint32_t at, uint32_t, uint32_t, int64_t offset) {
      if (rest == 0 || offset < whole) cp_async16(tile + at, from + offset, true);
    });
    if (threadIdx.x < rest) copy_number(tile + whole + threadIdx.x, from + whole + threadIdx.x);
  } else {
    for_tile(s, t, [&](uint32_t at, uint32_t, uint32_t, int64_t offset) {
      copy_number(tile + at, from + offset);
    });
  }
}
MK_INLINE void tile_arrived() {
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
}

// Writes value(place in the tile, element, a) for every number of the tile.
template <class T, class Value>
MK_INLINE void write_tile(const SoftmaxKernelArgs& s, const SoftmaxTile& t, void* memory,
                          Value value) {
  T* to = static_cast<T*>(memory) + t.offset;
  if (s.vectors) {
    constexpr int lanes = 4;
    const uint32_t rest = tile_rest(s, t), whole = t.count * s.axis - rest;
    for_tile(s, t, [&](uint32_t at, uint32_t element, uint32_t a, int64_t offset) {
      const bool full = rest == 0 || offset < whole;
      Pack<T, lanes> pack = {};
#pragma unroll
      for (int i = 0; i < lanes; ++i) {
        if (full || i < static_cast<int>(rest)) pack.at[i] = value(at + i, element, a);
        if (s.inner > 1) {
          ++element;
        } else if (++a == s.axis) {
          a = 0;
          ++element;
        }
      }
      if (full) {
        store_pack(to + offset, pack);
      } else {
        for (uint32_t i = 0; i < rest; ++i) to[offset + i] = pack.at[i];
      }
    });
  } else {
    for_tile(s, t, [&](uint32_t at, uint32_t element, uint32_t a, int64_t offset) {
      to[offset] = value(at, element, a);
    });
  }
}

template <class T>
MK_INLINE Line<T> tile_line(const SoftmaxKernelArgs& s, const T* tile, uint32_t element) {
  return {tile + element * s.pitch, s.step, s.axis};
}

// ---- rows ----

// What a thread has of a row that a team takes, which is the thread itself, a group, a warp or the
// block: here vectors in registers.
template <class T, int lanes, int threads>
struct RegisterRow {
  static constexpr int kThreads = threads;
  static constexpr int kNumbers = threads == 1           ? kNumbersAlone
                                  : threads == kRowGroup ? kNumbersOfGroup
                                                         : kRowNumbers;
  static constexpr int kVectors = kNumbers / lanes;
  static constexpr uint32_t kStep = threads * lanes;
  Pack<T, lanes> value[kVectors];

  MK_INLINE RegisterRow(const T* row, uint32_t axis) {
    const uint32_t first = threadIdx.x % threads * lanes;
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      if (first + k * kStep < axis) value[k] = load_pack<lanes>(row + first + k * kStep);
    }
  }
  MK_INLINE T at(int slot) const { return value[slot / lanes].at[slot % lanes]; }
  // Calls visit(slot, place in the row) for the numbers of the thread, whose values at() gives.
  template <class Visit>
  MK_INLINE void for_each(uint32_t axis, Visit visit) const {
    const uint32_t first = threadIdx.x % threads * lanes;
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      if (first + k * kStep >= axis) continue;
#pragma unroll
      for (int i = 0; i < lanes; ++i) visit(k * lanes + i, first + k * kStep + i);
    }
  }
  template <class Value>
  MK_INLINE void write(T* to, uint32_t axis, Value result) const {
    const uint32_t first = threadIdx.x % threads * lanes;
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      if (first + k * kStep >= axis) continue;
      Pack<T, lanes> pack;
#pragma unroll
      for (int i = 0; i < lanes; ++i) pack.at[i] = result(k * lanes + i, first + k * kStep + i);
      store_pack(to + first + k * kStep, pack);
    }
  }
};

// The same for any row: its numbers are read again each time.
template <class T, int threads>
struct MemoryRow {
  static constexpr int kThreads = threads;
  static constexpr int kTurns = sizeof(T) == 4 ? 4 : 1;
  const T* row;

  MK_INLINE MemoryRow(const T* memory, uint32_t) : row(memory) {}
  MK_INLINE T at(uint32_t slot) const { return row[slot]; }
  template <class Visit>
  MK_INLINE void for_each(uint32_t axis, Visit visit) const {
#pragma unroll kTurns
    for (uint32_t i = threadIdx.x % threads; i < axis; i += threads) visit(i, i);
  }
  template <class Value>
  MK_INLINE void write(T* to, uint32_t axis, Value result) const {
#pragma unroll kTurns
    for (uint32_t i = threadIdx.x % threads; i < axis; i += threads) to[i] = result(i, i);
  }
};

// The row of a team, and as many numbers of it as are to be written: none if there are not as many
// rows as teams. Then the last row is read: all threads of a warp merge their values.
struct TeamRow {
  int64_t row;
  uint32_t written;
};
template <int threads>
MK_INLINE TeamRow team_row(const SoftmaxKernelArgs& s) {
  const int64_t row = int64_t{blockIdx.x} * (kSoftmaxThreads / threads) + threadIdx.x / threads;
  return {min(row, s.elements - 1), row < s.elements ? s.axis : 0};
}

// Merges the values of a team.
template <int threads, int count, class T, class Merge>
MK_INLINE void merge_team(T (&values)[count], Merge merge) {
  if constexpr (threads > kWarp) {
    merge_block<threads>(values, shared<T>(), merge);
  } else {
#pragma unroll
    for (int step = threads / 2; step > 0; step /= 2) {
#pragma unroll
      for (int i = 0; i < count; ++i) {
        values[i] = merge(values[i], __shfl_xor_sync(kAllLanes, values[i], step));
      }
    }
  }
}

// NaN if there is one.
template <class Row, class T>
MK_INLINE T row_max(const Row& row, uint32_t axis) {
  T m[1] = {-T(INFINITY)};
  row.for_each(axis, [&](auto slot, uint32_t) { m[0] = Largest()(m[0], row.at(slot)); });
  merge_team<Row::kThreads>(m, Largest());
  return m[0];
}

}  // namespace medkern::cuda
