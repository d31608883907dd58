// Packing matrices into the order in which the micro-kernel reads them.
#pragma once

#include "kernels/gemm/tiles.h"

namespace medkern::MK_ISA {

template <int... kIndex>
struct Indices {};
// The first, or second, halves of two vectors, interleaved: lanes of the second count from kLanes.
template <int kLanes>
struct Zip;
template <>
struct Zip<16> {
  using Low = Indices<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>;
  using High = Indices<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>;
};
template <>
struct Zip<8> {
  using Low = Indices<0, 8, 1, 9, 2, 10, 3, 11>;
  using High = Indices<4, 12, 5, 13, 6, 14, 7, 15>;
};
template <>
struct Zip<4> {
  using Low = Indices<0, 4, 1, 5>;
  using High = Indices<2, 6, 3, 7>;
};
template <>
struct Zip<2> {
  using Low = Indices<0, 2>;
  using High = Indices<1, 3>;
};

// Width of the panel that starts with `rest` columns to go: kPanel, or one vector if that is
// enough.
template <class T>
MK_INLINE int64_t panel_width(int64_t rest) {
  return rest <= Vec<T>::kLanes ? Vec<T>::kLanes : kPanel<T>;
}
template <class T>
MK_INLINE int64_t panels_in(int64_t n) {
  return (n + kPanel<T> - 1) / kPanel<T>;
}
// Columns of all panels of an n-column matrix together.
template <class T>
MK_INLINE int64_t padded_columns(int64_t n) {
  return (n + Vec<T>::kLanes - 1) / Vec<T>::kLanes * Vec<T>::kLanes;
}

template <class T, int... kIndex>
MK_INLINE Vec<T> zip(Vec<T> a, Vec<T> b, Indices<kIndex...>) {
  return __builtin_shufflevector(a.v, b.v, kIndex...);
}

// Transposes kLanes vectors: afterwards rows[i] holds lane i of each. Zipping the first half of the
// rows with the second, log2(kLanes) times, does it.
template <class T>
MK_INLINE void transpose(Vec<T>* rows) {
  constexpr int kLanes = Vec<T>::kLanes;
#pragma GCC unroll 4
  for (int stage = 1; stage < kLanes; stage *= 2) {
    Vec<T> zipped[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      zipped[2 * i] = zip(rows[i], rows[i + kLanes / 2], typename Zip<kLanes>::Low());
      zipped[2 * i + 1] = zip(rows[i], rows[i + kLanes / 2], typename Zip<kLanes>::High());
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = zipped[i];
  }
}

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
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) block[i] = Vec<T>::load(from + i * from_row + k);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        block[i] = i < rows ? Vec<T>::load(from + i * from_row + k, rest) : Vec<T>::zero();
      }
    }
    transpose(block);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i < rest) store(k + i, block[i]);
    }
  }
}

// One panel: to[k * width + j] = b[k * b_row + j * b_col] for j < columns, 0 for the rest.
template <class T>
MK_INLINE void pack_panel(const T* b, int64_t b_row, int64_t b_col, int64_t k, int64_t columns,
                          T* to) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t width = panel_width<T>(columns);
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
