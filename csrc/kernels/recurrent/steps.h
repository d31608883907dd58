// What the passes over a sequence share, for *.simd.cpp files: how a layer is cut into tasks, and
// where rows lie.
//
// A layer is cut in one of two ways, by its sizes alone:
//   by samples  chunks of samples take all their steps independently of each other, a task each;
//               every step reads all weights. For batches of at least two chunks.
//   by units    a team of threads takes the steps together, each thread a share of the hidden
//               units, whose weights then stay in its own cache; a barrier after every step. For
//               small batches, and for a single step, where no thread waits for another.
// A sum has the same order in both: the same bits however a layer is cut.
#pragma once

#include "core/parallel.h"
#include "cpu/integers.h"
#include "cpu/vec.h"
#include "kernels/recurrent/recurrent.h"

namespace medkern::MK_ISA {
namespace {

// Samples of a chunk: at least kFewestRows, so that a weight read from the L2 cache serves enough
// products; more where the weights come from further away.
constexpr int64_t kFewestRows = 12;
constexpr int64_t kChunkRows = 16;
constexpr int64_t kMostRows = 32;
constexpr int64_t kNearBytes = 1 << 20;

// Loads and stores of a whole vector, or of the first `lanes` of one.
struct WholeVector {
  template <class T>
  MK_INLINE Vec<T> load(const T* p) const {
    return Vec<T>::load(p);
  }
  template <class T>
  MK_INLINE void store(Vec<T> v, T* p) const {
    v.store(p);
  }
};
struct PartVector {
  int64_t lanes;
  template <class T>
  MK_INLINE Vec<T> load(const T* p) const {
    return Vec<T>::load(p, lanes);
  }
  template <class T>
  MK_INLINE void store(Vec<T> v, T* p) const {
    v.store(p, lanes);
  }
};

// Calls body(j, access) for the vectors that cover [begin, end).
template <class T, class Body>
MK_INLINE void for_vectors(int64_t begin, int64_t end, Body body) {
  int64_t j = begin;
  for (; j + Vec<T>::kLanes <= end; j += Vec<T>::kLanes) body(j, WholeVector{});
  if (j < end) body(j, PartVector{end - j});
}

// Workspace, measured (base is nullptr) or handed out in pieces of 64 bytes.
struct Arena {
  char* base;
  size_t used = 0;

  template <class T>
  T* take(size_t count) {
    T* piece = base != nullptr ? reinterpret_cast<T*>(base + used) : nullptr;
    used += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
};

MK_INLINE int64_t length_of(const RecurrentArgs& a, int64_t n) {
  return a.lengths != nullptr ? a.lengths[n] : a.steps;
}
MK_INLINE int64_t longest(const RecurrentArgs& a, int64_t first, int64_t rows) {
  int64_t most = 0;
  for (int64_t n = first; n < first + rows; ++n) {
    most = length_of(a, n) > most ? length_of(a, n) : most;
  }
  return most;
}
// The time at which a sample of this length takes its step s. Steps from its length on are idle,
// and stand for the times from its length on in both directions.
MK_INLINE int64_t time_of(const RecurrentArgs& a, int64_t s, int64_t length) {
  return a.reverse && s < length ? length - 1 - s : s;
}
MK_INLINE int64_t row_of(const RecurrentArgs& a, int64_t n, int64_t t) {
  return n * a.row_n + t * a.row_t;
}
template <class T>
MK_INLINE T* step_row(const StepRows& rows, int64_t n, int64_t t) {
  return rows.data != nullptr ? static_cast<T*>(rows.data) + n * rows.n_stride + t * rows.t_stride
                              : nullptr;
}

template <class T>
MK_INLINE void fill_zero(T* to, int64_t count) {
  for (int64_t j = 0; j < count; ++j) to[j] = 0;
}
template <class T>
MK_INLINE void copy_or_zero(T* to, const T* from, int64_t count) {
  for (int64_t j = 0; j < count; ++j) to[j] = from != nullptr ? from[j] : T(0);
}

// Elements from one row of scratch memory to the next: an odd number of vectors, so that rows of a
// tile never meet in one set of the cache.
template <class T>
MK_INLINE int64_t scratch_row(int64_t columns) {
  return (divide_up(columns, Vec<T>::kLanes) | 1) * Vec<T>::kLanes;
}

struct Cut {
  bool by_units;
  int64_t chunks;  // of samples, in each direction
};
MK_INLINE Cut cut_of(const RecurrentArgs& a, int directions, int64_t weight_bytes) {
  if (a.steps <= 1 || directions * a.batch < 2 * kFewestRows) return {true, 1};
  int64_t chunks = divide_up(a.batch, weight_bytes <= kNearBytes ? kChunkRows : kMostRows);
  if (directions == 1) chunks += chunks % 2;  // two threads get as much each
  return {false, chunks};
}
MK_INLINE int64_t chunk_start(const RecurrentArgs& a, const Cut& cut, int64_t chunk) {
  return a.batch / cut.chunks * chunk + smaller(chunk, a.batch % cut.chunks);
}

// The share of `parts` that falls to a worker of a team.
MK_INLINE int64_t share_start(const Team& team, int64_t parts, int worker) {
  return parts * worker / team.size();
}

}  // namespace
}  // namespace medkern::MK_ISA
