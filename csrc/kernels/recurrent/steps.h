// What the passes over a sequence share, for *.simd.cpp files: how a layer is cut into tasks, where
// rows lie, and the product of a few rows with a packed block of weights.
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
#include "kernels/gemm/gemm.simd.h"
#include "kernels/gemm/pack.simd.h"
#include "kernels/gemm/tile.simd.h"
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

// A few rows and what they are multiplied with: c[i, j] (+)= sum over k of a[i, k] b[k, j] (+
// bias).
template <class T>
struct BlockProduct {
  int64_t rows, k;
  const T* a;
  int64_t a_row;
  const T* b;  // [k, columns], packed as by pack_b; columns are at most two panels
  int64_t columns;
  T* c;
  int64_t c_row;
  bool accumulate;
  const T* bias;  // may be nullptr
};

// Chains over kGemmBlockK of k, as in gemm().
template <class T>
MK_INLINE void multiply_block(const BlockProduct<T>& p) {
  const int64_t blocks = p.k > 0 ? divide_up(p.k, kGemmBlockK) : 1;
  const bool three = p.columns > kPanel<T> && p.columns <= 3 * Vec<T>::kLanes;
  const bool wide = p.rows <= kWideRows || three;
  const int64_t together = wide ? 2 * kPanel<T> : kPanel<T>;
  const int64_t tiles = tiles_in(p.rows, three ? kThreeRows : kTileRows);
  for (int64_t kb = 0; kb < blocks; ++kb) {
    const int64_t k = kb * kGemmBlockK;
    for (int64_t j = 0; j < p.columns; j += together) {
      const int64_t columns = smaller(p.columns - j, together);
      const int64_t b_row = panel_width<T>(columns);
      const int64_t next_row = panel_width<T>(columns - kPanel<T>);
      const bool last = kb == blocks - 1;
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t row = tile_start(i, tiles, p.rows);
        run_tile(Tile<T>{.a = p.a + row * p.a_row + k,
                         .a_row = p.a_row,
                         .a_col = 1,
                         .b = p.b + j * p.k + k * b_row,
                         .b_row = b_row,
                         .b_next = p.b + (j + kPanel<T>)*p.k + k * next_row,
                         .b_next_row = next_row,
                         .c = p.c + row * p.c_row + j,
                         .c_row = p.c_row,
                         .k = smaller(p.k - k, kGemmBlockK),
                         .rows = tile_start(i + 1, tiles, p.rows) - row,
                         .columns = columns,
                         .accumulate = p.accumulate || kb > 0,
                         .bias = last && p.bias != nullptr ? p.bias + j : nullptr});
      }
    }
  }
}

}  // namespace
}  // namespace medkern::MK_ISA
