// Packing matrices into the order in which the micro-kernel reads them.
#pragma once

#include "cpu/parts.h"
#include "kernels/gemm/tiles.h"

namespace medkern::MK_ISA {

// Lanes 0, 1, ... of a vector, to build the index lists of shuffles from.
template <int... kIndex>
struct Indices {};
template <int kLanes>
struct Counting;
template <>
struct Counting<16> {
  using Type = Indices<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
};
template <>
struct Counting<8> {
  using Type = Indices<0, 1, 2, 3, 4, 5, 6, 7>;
};
template <>
struct Counting<4> {
  using Type = Indices<0, 1, 2, 3>;
};
template <>
struct Counting<2> {
  using Type = Indices<0, 1>;
};

// Columns in whole vectors: of all panels of an n-column matrix together.
template <class T>
MK_INLINE int64_t padded_columns(int64_t n) {
  return (n + Vec<T>::kLanes - 1) / Vec<T>::kLanes * Vec<T>::kLanes;
}
// Width of the panel that starts with `rest` columns to go: `panel`, or the vectors they take.
template <class T>
MK_INLINE int64_t panel_width(int64_t rest, int64_t panel = kPanel<T>) {
  return rest < panel ? padded_columns<T>(rest) : panel;
}
template <class T>
MK_INLINE int64_t panels_in(int64_t n, int64_t panel = kPanel<T>) {
  return (n + panel - 1) / panel;
}

// Two kinds of shuffles of two vectors that cost the processor one instruction each, unlike those
// that cross 128-bit parts freely. `i` is a lane of the result; lanes of the second vector count
// from kLanes.
//
// Within each 128-bit part, the lower or upper runs of kRun lanes, interleaved.
constexpr int unpacked_lane(int i, int lanes, int part, int run, bool upper) {
  const int within = i % part, block = within / run;
  const int source = (upper ? part / run / 2 : 0) + block / 2;
  return block % 2 * lanes + i / part * part + source * run + within % run;
}
// The even, or odd, 128-bit parts of the first vector, then those of the second.
constexpr int part_lane(int i, int lanes, int part, bool odd) {
  const int at = i / part, parts = lanes / part;
  const int half = parts > 1 ? parts / 2 : 1;
  return at / half * lanes + (2 * (at % half) + odd) * part + i % part;
}

template <int kRun, bool kUpper, class T, int... kIndex>
MK_INLINE Vec<T> unpack(Vec<T> a, Vec<T> b, Indices<kIndex...>) {
  constexpr int kPart = kPartLanes<T>;
  return __builtin_shufflevector(a.v, b.v,
                                 unpacked_lane(kIndex, sizeof...(kIndex), kPart, kRun, kUpper)...);
}
template <bool kOdd, class T, int... kIndex>
MK_INLINE Vec<T> parts_of(Vec<T> a, Vec<T> b, Indices<kIndex...>) {
  constexpr int kPart = kPartLanes<T>;
  return __builtin_shufflevector(a.v, b.v, part_lane(kIndex, sizeof...(kIndex), kPart, kOdd)...);
}

// Transposes each kPart x kPart square of kPart vectors, one in every 128-bit part.
template <class T>
MK_INLINE void transpose_squares(Vec<T>* rows) {
  constexpr typename Counting<Vec<T>::kLanes>::Type kAll{};
  if constexpr (kPartLanes<T> == 4) {
    const Vec<T> a = unpack<1, false>(rows[0], rows[1], kAll);
    const Vec<T> b = unpack<1, true>(rows[0], rows[1], kAll);
    const Vec<T> c = unpack<1, false>(rows[2], rows[3], kAll);
    const Vec<T> d = unpack<1, true>(rows[2], rows[3], kAll);
    rows[0] = unpack<2, false>(a, c, kAll);
    rows[1] = unpack<2, true>(a, c, kAll);
    rows[2] = unpack<2, false>(b, d, kAll);
    rows[3] = unpack<2, true>(b, d, kAll);
  } else {
    const Vec<T> a = rows[0], b = rows[1];
    rows[0] = unpack<1, false>(a, b, kAll);
    rows[1] = unpack<1, true>(a, b, kAll);
  }
}

// rows[i] = column i of kLanes rows of a matrix: its squares are put side by side as they are
// loaded.
template <class T>
MK_INLINE void load_transposed(const T* from, int64_t from_row, Vec<T>* rows) {
  constexpr int kPart = kPartLanes<T>;
#pragma GCC unroll 4
  for (int p = 0; p < kParts<T>; ++p) {
#pragma GCC unroll 4
    for (int i = 0; i < kPart; ++i) {
      rows[p * kPart + i] = load_parts(from + i * from_row + p * kPart, kPart * from_row);
    }
    transpose_squares(rows + p * kPart);
  }
}

// Transposes kLanes vectors: afterwards rows[i] holds lane i of each. First the squares, then the
// parts.
template <class T>
MK_INLINE void transpose(Vec<T>* rows) {
  constexpr int kPart = kPartLanes<T>;
  constexpr typename Counting<Vec<T>::kLanes>::Type kAll{};
#pragma GCC unroll 8
  for (int q = 0; q < Vec<T>::kLanes; q += kPart) transpose_squares(rows + q);
  // Now part p of rows[q kPart + e] holds column p kPart + e of rows q kPart ...
#pragma GCC unroll 4
  for (int e = 0; e < kPart && kParts<T> > 1; ++e) {
    if constexpr (kParts<T> == 2) {
      const Vec<T> a = rows[e], b = rows[kPart + e];
      rows[e] = parts_of<false>(a, b, kAll);
      rows[kPart + e] = parts_of<true>(a, b, kAll);
    } else if constexpr (kParts<T> == 4) {
      const Vec<T> a = rows[e], b = rows[kPart + e];
      const Vec<T> c = rows[2 * kPart + e], d = rows[3 * kPart + e];
      const Vec<T> even_ab = parts_of<false>(a, b, kAll), odd_ab = parts_of<true>(a, b, kAll);
      const Vec<T> even_cd = parts_of<false>(c, d, kAll), odd_cd = parts_of<true>(c, d, kAll);
      rows[e] = parts_of<false>(even_ab, even_cd, kAll);
      rows[kPart + e] = parts_of<false>(odd_ab, odd_cd, kAll);
      rows[2 * kPart + e] = parts_of<true>(even_ab, even_cd, kAll);
      rows[3 * kPart + e] = parts_of<true>(odd_ab, odd_cd, kAll);
    }
  }
}

constexpr int kVectorsAhead = 8;

// Copies up to kLanes rows of a matrix as columns: column k, with rows >= `rows` as 0, goes to
// store(k, vector).
template <class T, class Store>
MK_INLINE void for_each_column(const T* from, int64_t from_row, int64_t rows, int64_t columns,
                               Store store) {
  constexpr int kLanes = Vec<T>::kLanes;
  for (int64_t k = 0; k < columns; k += kLanes) {
    const int64_t rest = columns - k < kLanes ? columns - k : kLanes;
    Vec<T> block[kLanes];
    if (rows == kLanes && rest == kLanes) {
      // Each row is a stream of its own, too many of them for the processor to foresee.
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        __builtin_prefetch(from + i * from_row + k + kVectorsAhead * kLanes);
      }
      load_transposed(from + k, from_row, block);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        block[i] = i < rows ? Vec<T>::load(from + i * from_row + k, rest) : Vec<T>::zero();
      }
      transpose(block);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i < rest) store(k + i, block[i]);
    }
  }
}

// One panel: to[k * width + j] = b[k * b_row + j * b_col] for j < columns, 0 for the rest of its
// last vector.
template <class T>
MK_INLINE void pack_panel(const T* b, int64_t b_row, int64_t b_col, int64_t k, int64_t columns,
                          T* to) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t width = padded_columns<T>(columns);
  for (int64_t j = 0; j < width; j += kLanes) {
    const int64_t rest = columns - j < kLanes ? columns - j : kLanes;
    const int64_t lanes = rest > 0 ? rest : 0;
    if (b_col == 1) {
      for (int64_t i = 0; i < k; ++i) {
        const T* from = b + i * b_row + j;
        const Vec<T> row = lanes == kLanes ? Vec<T>::load(from) : Vec<T>::load(from, lanes);
        row.store(to + i * width + j);
      }
    } else if (b_row == 1) {
      for_each_column(b + j * b_col, b_col, lanes, k,
                      [&](int64_t i, Vec<T> row) { row.store(to + i * width + j); });
    } else {
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          to[i * width + j + lane] = lane < lanes ? b[i * b_row + (j + lane) * b_col] : T(0);
        }
      }
    }
  }
}

}  // namespace medkern::MK_ISA
