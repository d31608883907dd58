// Walking along contiguous memory a vector at a time, the last one perhaps partial. To be included
// by
// *.simd.cpp files only, as cpu/vec.h.
#pragma once

#include "cpu/integers.h"

namespace medkern::MK_ISA {

// Vec's partial load and store where lanes is less than all, its plain ones otherwise.
template <class T>
MK_INLINE Vec<T> load_lanes(const T* p, int64_t lanes) {
  return lanes == Vec<T>::kLanes ? Vec<T>::load(p) : Vec<T>::load(p, lanes);
}

template <class T>
MK_INLINE void store_lanes(Vec<T> value, T* p, int64_t lanes) {
  lanes == Vec<T>::kLanes ? value.store(p) : value.store(p, lanes);
}

// Calls visit(offset, lanes) for 0 .. n - 1, a vector at a time.
template <class T, class Visit>
MK_INLINE void for_each_vector(int64_t n, Visit visit) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) visit(i, kLanes);
  if (i < n) visit(i, n - i);
}

}  // namespace medkern::MK_ISA
