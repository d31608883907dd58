// Vectors put together from 128-bit parts of memory. Where the load units do that alone, it spares
// shuffles, of which the processor may do only one per cycle.
//
// To be included by *.simd.cpp files only, as cpu/vec.h.
#pragma once

#include "cpu/vec.h"

namespace medkern::MK_ISA {

template <class T>
constexpr int kPartLanes = 16 / sizeof(T);
template <class T>
constexpr int kParts = Vec<T>::kLanes / kPartLanes<T>;

// The parts at p, p + step, p + 2 step, ...
template <class T>
MK_INLINE Vec<T> load_parts(const T* p, int64_t step) {
  T lanes[Vec<T>::kLanes];
  for (int i = 0; i < Vec<T>::kLanes; ++i) {
    lanes[i] = p[i / kPartLanes<T> * step + i % kPartLanes<T>];
  }
  return Vec<T>::load(lanes);
}

#if defined(__AVX512F__)

template <>
MK_INLINE Vec<float> load_parts(const float* p, int64_t step) {
  __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
  v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(p + step));
  v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(p + 2 * step));
  v = _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(p + 3 * step));
  return Vec<float>::Native(v);
}
template <>
MK_INLINE Vec<double> load_parts(const double* p, int64_t step) {
  __m512d v = _mm512_castpd128_pd512(_mm_loadu_pd(p));
  v = _mm512_mask_broadcast_f64x2(v, 0x0c, _mm_loadu_pd(p + step));
  v = _mm512_mask_broadcast_f64x2(v, 0x30, _mm_loadu_pd(p + 2 * step));
  v = _mm512_mask_broadcast_f64x2(v, 0xc0, _mm_loadu_pd(p + 3 * step));
  return Vec<double>::Native(v);
}

#elif defined(__AVX2__)

template <>
MK_INLINE Vec<float> load_parts(const float* p, int64_t step) {
  return Vec<float>::Native(_mm256_loadu2_m128(p + step, p));
}
template <>
MK_INLINE Vec<double> load_parts(const double* p, int64_t step) {
  return Vec<double>::Native(_mm256_loadu2_m128d(p + step, p));
}

#else

template <>
MK_INLINE Vec<float> load_parts(const float* p, int64_t) {
  return Vec<float>::load(p);
}
template <>
MK_INLINE Vec<double> load_parts(const double* p, int64_t) {
  return Vec<double>::load(p);
}

#endif

}  // namespace medkern::MK_ISA
