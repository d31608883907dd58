// Unpooling where every index points into the tile of its own element: what max pooling with
// windows side by side gives. Then no element of `large` has two sources, and rows are moved in
// vectors, each element touched once.
//
//   spread   large[tile of i][t] = (indices[i] == t) ? small[i] : 0, and 0 in no tile
//   collect  small[i] = large[indices[i]], 0 where the index is -1
//
// The tile of an element of small is large's size over small's, rounded down, along each axis; what
// is left over at the ends lies in no tile. Tasks are rows of small. Vectors of channels, or, where
// memory is contiguous and tiles are two wide, of elements side by side along W.
// Work    a comparison per element of large; the same before, to find that indices are as above.
// Memory  the indices twice, small and large once; large results are streamed. Exact: the same bits
//         as scatter.simd.cpp gives.
#include "cpu/shuffle.h"
#include "kernels/pool/winners.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kMostTaps = 64;

// The positions of a tile: flat spatial offsets in large from its first element, as indices count
// them and in memory.
struct Tile {
  int64_t size[3];
  int count;
  int64_t number[kMostTaps], offset[kMostTaps];
};

// The count is 0 if there are no tiles to speak of.
MK_INLINE Tile tile_of(const ScatterArgs& a) {
  Tile tile;
  tile.count = 0;
  int64_t count = 1;
  for (int i = 0; i < 3; ++i) {
    tile.size[i] = a.small.size[i] > 0 ? a.large.size[i] / a.small.size[i] : 0;
    count = tile.size[i] > kMostTaps ? 0 : count * tile.size[i];
  }
  if (count == 0 || count > kMostTaps || a.small.n * a.small.c == 0) return tile;
  for (int64_t d = 0; d < tile.size[0]; ++d) {
    for (int64_t h = 0; h < tile.size[1]; ++h) {
      for (int64_t w = 0; w < tile.size[2]; ++w) {
        tile.number[tile.count] = (d * a.large.size[1] + h) * a.large.size[2] + w;
        tile.offset[tile.count++] = spatial_offset(a.large, d, h, w);
      }
    }
  }
  return tile;
}

enum class Along { kChannels, kWidth, kNeither };

MK_INLINE Along vectors_along(const ScatterArgs& a, const Tile& tile) {
  if (has_channel_vectors(a.large) && has_channel_vectors(a.small) &&
      has_channel_vectors(a.indices)) {
    return Along::kChannels;
  }
  const bool lines = has_lines(a.large) && has_lines(a.small) && has_lines(a.indices);
  return lines && tile.size[2] == 2 ? Along::kWidth : Along::kNeither;
}

template <class T>
using Numbers = typename Vec<T>::Mask;
template <class T>
using Longs = typename IndexLanes<T>::Longs;
typedef uint64_t UnsignedLanes __attribute__((vector_size(MK_VECTOR_BYTES)));

// Indices; past `lanes` -1. (Wider than a register: GCC would rather not return them.)
template <class T>
MK_INLINE void load_indices(const int64_t* indices, int64_t lanes, Longs<T>& loaded) {
  if (lanes == Vec<T>::kLanes) {
    loaded = *reinterpret_cast<const Longs<T>*>(indices);
  } else {
    loaded = Longs<T>{} - 1;
    for (int64_t i = 0; i < lanes; ++i) loaded[i] = indices[i];
  }
}

// The flat offsets of the first elements of the tiles of a vector: all the same along channels, two
// apart along W.
template <class T, Along along>
MK_INLINE void tile_starts(int64_t first, Longs<T>& starts) {
  for (int64_t i = 0; i < Vec<T>::kLanes; ++i) starts[i] = along == Along::kWidth ? 2 * i : 0;
  starts += first;
}

// Calls body(c, w, lanes, flat offset of the first tile) for the vectors of a row of small; along W
// the row is of channel c.
template <class T, Along along, class Body>
MK_INLINE void for_row(const ScatterArgs& a, const Tile& tile, int64_t c, int64_t d, int64_t h,
                       Body body) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t row = (d * tile.size[0] * a.large.size[1] + h * tile.size[1]) * a.large.size[2];
  for (int64_t w = 0; w < a.small.size[2]; w += along == Along::kWidth ? kLanes : 1) {
    const int64_t first = row + w * tile.size[2];
    if (along == Along::kWidth) {
      body(c, w, least(kLanes, a.small.size[2] - w), first);
    } else {
      for_each_vector<T>(a.small.c, [&](int64_t at, int64_t lanes) { body(at, w, lanes, first); });
    }
  }
}

// Whether a row's indices, of any value, lie in their tiles or are -1.
template <Along along>
bool is_row_in_tiles(const ScatterArgs& a, const Tile& tile, int64_t n, int64_t c, int64_t d,
                     int64_t h) {
  constexpr int64_t kLanes = Vec<double>::kLanes;
  const uint64_t width = tile.size[2];
  UnsignedLanes ramp, strays{};
  for (int64_t i = 0; i < kLanes; ++i) ramp[i] = along == Along::kWidth ? width * i : 0;
  const int64_t row = spatial_offset(a.indices, d, h, 0);
  for_row<double, along>(
      a, tile, c, d, h, [&](int64_t at, int64_t w, int64_t lanes, int64_t first) {
        const int64_t* from =
            plane_of<const int64_t>(a.indices, n, at) + row + w * a.indices.stride[2];
        UnsignedLanes index = UnsignedLanes{} - 1;
        if (lanes == kLanes) {
          __builtin_memcpy(&index, from, sizeof index);
        } else {
          for (int64_t i = 0; i < lanes; ++i) index[i] = static_cast<uint64_t>(from[i]);
        }
        const UnsignedLanes number = index - (ramp + static_cast<uint64_t>(first));
        auto inside = index == UnsignedLanes{} - 1;
        for (int t = 0; t < tile.count; t += tile.size[2]) {
          inside |= number - static_cast<uint64_t>(tile.number[t]) < width;
        }
        strays |= (UnsignedLanes)~inside;
      });
  return !any_lane<double>((Vec<double>::Mask)strays);
}

// The numbers in their tiles of checked indices; -1 becomes a number that is in none.
template <class T, Along along>
MK_INLINE Numbers<T> load_tile_numbers(const int64_t* indices, int64_t first, int64_t lanes) {
  Longs<T> index, start;
  load_indices<T>(indices, lanes, index);
  tile_starts<T, along>(first, start);
  return __builtin_convertvector(index - start, Numbers<T>);
}

// The rows of large in the tiles of a row of small; the last row of an axis also takes what lies in
// no tile.
template <class T, Along along>
void spread_row(const ScatterArgs& a, const Tile& tile, bool streams, int64_t n, int64_t c,
                int64_t d, int64_t h) {
  using V = Vec<T>;
  const int64_t *size = a.large.size, *count = a.small.size;
  const int64_t d0 = d * tile.size[0], h0 = h * tile.size[1];
  const int64_t small_row = spatial_offset(a.small, d, h, 0);
  const int64_t index_row = spatial_offset(a.indices, d, h, 0);
  for_row<T, along>(a, tile, c, d, h, [&](int64_t at, int64_t w, int64_t lanes, int64_t first) {
    const T* from = plane_of<const T>(a.small, n, at) + small_row + w * a.small.stride[2];
    const int64_t* indices =
        plane_of<const int64_t>(a.indices, n, at) + index_row + w * a.indices.stride[2];
    const V value = load_lanes(from, lanes);
    const Numbers<T> number = load_tile_numbers<T, along>(indices, first, lanes);
    T* to = plane_of<T>(a.large, n, at) + spatial_offset(a.large, d0, h0, w * tile.size[2]);
    if (along == Along::kChannels) {
      for (int t = 0; t < tile.count; ++t) {
        put(where_number_is<T>(number, tile.number[t], value), to + tile.offset[t], lanes, streams);
      }
      return;
    }
    for (int t = 0; t < tile.count; t += 2) {
      const Interleaved<T> pairs =
          interleave<T>(where_number_is<T>(number, tile.number[t], value),
                        where_number_is<T>(number, tile.number[t + 1], value));
      put(pairs.low, to + tile.offset[t], least(2 * lanes, V::kLanes), streams);
      if (2 * lanes > V::kLanes) {
        put(pairs.high, to + tile.offset[t] + V::kLanes, 2 * lanes - V::kLanes, streams);
      }
    }
  });
  const int64_t d_end = d + 1 == count[0] ? size[0] : d0 + tile.size[0];
  const int64_t h_end = h + 1 == count[1] ? size[1] : h0 + tile.size[1];
  for (int64_t i = d0; i < d_end; ++i) {
    for (int64_t j = h0; j < h_end; ++j) {
      const bool covered = i < d0 + tile.size[0] && j < h0 + tile.size[1];
      const int64_t begin = covered ? count[2] * tile.size[2] : 0;
      T* rest = plane_of<T>(a.large, n, c) + spatial_offset(a.large, i, j, begin);
      if (along == Along::kWidth) {
        fill_zero(rest, size[2] - begin);
      } else {
        for (int64_t w = begin; w < size[2]; ++w, rest += a.large.stride[2]) {
          fill_zero(rest, a.large.c);
        }
      }
    }
  }
  if (streams) end_stream();
}

template <class T, Along along>
void collect_row(const ScatterArgs& a, const Tile& tile, bool streams, int64_t n, int64_t c,
                 int64_t d, int64_t h) {
  using V = Vec<T>;
  const int64_t small_row = spatial_offset(a.small, d, h, 0);
  const int64_t index_row = spatial_offset(a.indices, d, h, 0);
  const int64_t large_row = spatial_offset(a.large, d * tile.size[0], h * tile.size[1], 0);
  for_row<T, along>(a, tile, c, d, h, [&](int64_t at, int64_t w, int64_t lanes, int64_t first) {
    const T* from =
        plane_of<const T>(a.large, n, at) + large_row + w * tile.size[2] * a.large.stride[2];
    const int64_t* indices =
        plane_of<const int64_t>(a.indices, n, at) + index_row + w * a.indices.stride[2];
    const Numbers<T> number = load_tile_numbers<T, along>(indices, first, lanes);
    V value = V::zero();
    const auto take = [&](int t, V candidate) {
      value = select<T>(number == static_cast<typename V::Int>(tile.number[t]), candidate, value);
    };
    for (int t = 0; t < tile.count; t += along == Along::kWidth ? 2 : 1) {
      const T* there = from + tile.offset[t];
      if (along == Along::kChannels) {
        __builtin_prefetch(there + kFetchAhead<T>);
        take(t, in_register(load_lanes(there, lanes)));
      } else {
        const V low = load_lanes(there, least(2 * lanes, V::kLanes));
        const V high = 2 * lanes > V::kLanes ? load_lanes(there + V::kLanes, 2 * lanes - V::kLanes)
                                             : V::zero();
        const Halves<T> halves = deinterleave<T>(low, high);
        take(t, halves.even);
        take(t + 1, halves.odd);
      }
    }
    T* to = plane_of<T>(a.small, n, at) + small_row + w * a.small.stride[2];
    put(value, to, lanes, streams);
  });
  if (streams) end_stream();
}

// Calls body(n, c, d, h) for every row of small; of all channels at once along channels.
template <class Body>
MK_INLINE void for_rows(const ScatterArgs& a, const Tile& tile, Along along, Body body) {
  const int64_t elements = a.small.size[2] * (tile.count + 1);
  if (along == Along::kChannels) {
    for_each_row(a.small, a.small.c * elements,
                 [&](int64_t n, int64_t d, int64_t h) { body(n, 0, d, h); });
  } else {
    for_each_line(a.small, elements, a.large.n * a.large.c * spatial_count(a.large), body);
  }
}

// Whether to stream to `x`, one of the two: where its rows are whole vectors.
template <class T>
MK_INLINE bool streams_to(const ScatterArgs& a, const Image& x, Along along) {
  const int64_t row = along == Along::kChannels ? x.c : x.size[2];
  return row % Vec<T>::kLanes == 0 &&
         may_stream(static_cast<const T*>(x.data),
                    bytes_of<T>(a.large) + bytes_of<T>(a.small) + bytes_of<int64_t>(a.indices));
}

bool are_in_tiles(const ScatterArgs& a) {
  const Tile tile = tile_of(a);
  if (tile.count == 0) return false;
  // Numbers are kept in lanes of T's size.
  if (a.dtype == Dtype::f32 && spatial_count(a.large) > INT32_MAX) return false;
  const Along along = vectors_along(a, tile);
  if (along == Along::kNeither) return false;
  bool strays = false;  // only ever set
  const auto row = along == Along::kChannels ? is_row_in_tiles<Along::kChannels>
                                             : is_row_in_tiles<Along::kWidth>;
  for_rows(a, tile, along, [&](int64_t n, int64_t c, int64_t d, int64_t h) {
    if (!__atomic_load_n(&strays, __ATOMIC_RELAXED) && !row(a, tile, n, c, d, h)) {
      __atomic_store_n(&strays, true, __ATOMIC_RELAXED);
    }
  });
  return !strays;
}

template <class T>
void spread_of(const ScatterArgs& a) {
  const Tile tile = tile_of(a);
  const Along along = vectors_along(a, tile);
  const bool streams = streams_to<T>(a, a.large, along);
  const auto row =
      along == Along::kChannels ? spread_row<T, Along::kChannels> : spread_row<T, Along::kWidth>;
  for_rows(a, tile, along,
           [&](int64_t n, int64_t c, int64_t d, int64_t h) { row(a, tile, streams, n, c, d, h); });
}

template <class T>
void collect_of(const ScatterArgs& a) {
  const Tile tile = tile_of(a);
  const Along along = vectors_along(a, tile);
  const bool streams = streams_to<T>(a, a.small, along);
  const auto row =
      along == Along::kChannels ? collect_row<T, Along::kChannels> : collect_row<T, Along::kWidth>;
  for_rows(a, tile, along,
           [&](int64_t n, int64_t c, int64_t d, int64_t h) { row(a, tile, streams, n, c, d, h); });
}

}  // namespace

bool in_tiles(const ScatterArgs& a) { return are_in_tiles(a); }

void spread(const ScatterArgs& a) {
  a.dtype == Dtype::f32 ? spread_of<float>(a) : spread_of<double>(a);
}

void collect(const ScatterArgs& a) {
  a.dtype == Dtype::f32 ? collect_of<float>(a) : collect_of<double>(a);
}

}  // namespace medkern::MK_ISA
