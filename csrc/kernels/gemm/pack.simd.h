// Packing matrices into the order in which the micro-kernel reads them.
#pragma once

#include "kernels/gemm/tiles.h"

namespace medkern::MK_ISA {

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

// Vec<T>::kLanes rows of a matrix, transposed.  to[k * to_row + lane] = from[lane * from_row + k]
// for lane < lanes (others become 0), k < count.
template <class T>
MK_INLINE void pack_transposed(const T* from, int64_t from_row, int64_t lanes, int64_t count, T* to,
                               int64_t to_row) {
  // Blocks small enough that the rows read and the rows written stay in the L1 cache.
  constexpr int64_t kBlock = 16;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = begin + kBlock < count ? begin + kBlock : count;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      for (int64_t k = begin; k < end; ++k) to[k * to_row + lane] = from[lane * from_row + k];
    }
    for (int64_t lane = lanes; lane < Vec<T>::kLanes; ++lane) {
      for (int64_t k = begin; k < end; ++k) to[k * to_row + lane] = 0;
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
      pack_transposed(b + j * b_col, b_col, lanes, k, to + j, width);
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
