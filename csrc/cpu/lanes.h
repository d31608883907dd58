// Walking along contiguous memory a vector at a time, the last one perhaps partial. To be included
// by *.simd.cpp files only, as cpu/vec.h.
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

// Of the elements at, at + 1, ... at + kLanes - 1 of a row of `width`, those inside: bit i for the
// i-th.
template <class T>
MK_INLINE uint32_t lanes_inside(int64_t at, int64_t width) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t begin = at >= 0 ? 0 : at > -kLanes ? -at : kLanes;
  const int64_t end = width - at < 0 ? 0 : smaller(width - at, kLanes);
  return end > begin ? ((1u << end) - 1) & ~((1u << begin) - 1) : 0;
}

// The lanes whose bit is set, and `otherwise` in the others; memory under those is not touched.
template <class T>
MK_INLINE Vec<T> load_chosen(const T* p, uint32_t lanes, T otherwise) {
#if defined(__AVX512F__)
  const Vec<T> rest(otherwise);
  if constexpr (sizeof(T) == 4) {
    return typename Vec<T>::Native(_mm512_mask_loadu_ps(rest.v, static_cast<__mmask16>(lanes), p));
  } else {
    return typename Vec<T>::Native(_mm512_mask_loadu_pd(rest.v, static_cast<__mmask8>(lanes), p));
  }
#else
  T chosen[Vec<T>::kLanes];
  for (int i = 0; i < Vec<T>::kLanes; ++i) chosen[i] = (lanes >> i & 1) != 0 ? p[i] : otherwise;
  return Vec<T>::load(chosen);
#endif
}

// Whether a comparison holds in any lane.
template <class T>
MK_INLINE bool any_lane(typename Vec<T>::Mask mask) {
#if defined(__AVX512F__)
  const __m512i bits = reinterpret_cast<__m512i>(mask);
  return _mm512_test_epi32_mask(bits, bits) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_epi8(reinterpret_cast<__m256i>(mask)) != 0;
#else
  typename Vec<T>::Int all = 0;
  for (int i = 0; i < Vec<T>::kLanes; ++i) all |= mask[i];
  return all != 0;
#endif
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
