// Moving lanes between vectors: every second element, and pairs side by side. To be included by
// *.simd.cpp files only, as cpu/vec.h.
#pragma once

#include "cpu/lanes.h"

namespace medkern::MK_ISA {

// Lanes 0, 2, 4, ... of a, then lanes 1, 3, 5, ... of b: with b loaded one element before a's end
// these are p[0], p[2], p[4], ..., and nothing behind the last of them is read.
template <class T>
MK_INLINE Vec<T> even_then_odd(Vec<T> a, Vec<T> b);

// a[0] b[0] a[1] b[1] ... in two vectors.
template <class T>
struct Interleaved {
  Vec<T> low, high;
};
template <class T>
MK_INLINE Interleaved<T> interleave(Vec<T> a, Vec<T> b);

// Lanes 0, 2, 4, ... and 1, 3, 5, ... of a and b, one after the other.
template <class T>
struct Halves {
  Vec<T> even, odd;
};
template <class T>
MK_INLINE Halves<T> deinterleave(Vec<T> a, Vec<T> b);

#if MK_VECTOR_BYTES == 64

template <>
MK_INLINE Vec<float> even_then_odd(Vec<float> a, Vec<float> b) {
  return __builtin_shufflevector(a.v, b.v, 0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29,
                                 31);
}
template <>
MK_INLINE Vec<double> even_then_odd(Vec<double> a, Vec<double> b) {
  return __builtin_shufflevector(a.v, b.v, 0, 2, 4, 6, 9, 11, 13, 15);
}
template <>
MK_INLINE Interleaved<float> interleave(Vec<float> a, Vec<float> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
          __builtin_shufflevector(a.v, b.v, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30,
                                  15, 31)};
}
template <>
MK_INLINE Interleaved<double> interleave(Vec<double> a, Vec<double> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 8, 1, 9, 2, 10, 3, 11),
          __builtin_shufflevector(a.v, b.v, 4, 12, 5, 13, 6, 14, 7, 15)};
}
template <>
MK_INLINE Halves<float> deinterleave(Vec<float> a, Vec<float> b) {
  return {
      __builtin_shufflevector(a.v, b.v, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
      __builtin_shufflevector(a.v, b.v, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)};
}
template <>
MK_INLINE Halves<double> deinterleave(Vec<double> a, Vec<double> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 2, 4, 6, 8, 10, 12, 14),
          __builtin_shufflevector(a.v, b.v, 1, 3, 5, 7, 9, 11, 13, 15)};
}

#elif MK_VECTOR_BYTES == 32

template <>
MK_INLINE Vec<float> even_then_odd(Vec<float> a, Vec<float> b) {
  return __builtin_shufflevector(a.v, b.v, 0, 2, 4, 6, 9, 11, 13, 15);
}
template <>
MK_INLINE Vec<double> even_then_odd(Vec<double> a, Vec<double> b) {
  return __builtin_shufflevector(a.v, b.v, 0, 2, 5, 7);
}
template <>
MK_INLINE Interleaved<float> interleave(Vec<float> a, Vec<float> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 8, 1, 9, 2, 10, 3, 11),
          __builtin_shufflevector(a.v, b.v, 4, 12, 5, 13, 6, 14, 7, 15)};
}
template <>
MK_INLINE Interleaved<double> interleave(Vec<double> a, Vec<double> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 4, 1, 5),
          __builtin_shufflevector(a.v, b.v, 2, 6, 3, 7)};
}
template <>
MK_INLINE Halves<float> deinterleave(Vec<float> a, Vec<float> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 2, 4, 6, 8, 10, 12, 14),
          __builtin_shufflevector(a.v, b.v, 1, 3, 5, 7, 9, 11, 13, 15)};
}
template <>
MK_INLINE Halves<double> deinterleave(Vec<double> a, Vec<double> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 2, 4, 6),
          __builtin_shufflevector(a.v, b.v, 1, 3, 5, 7)};
}

#else

template <>
MK_INLINE Vec<float> even_then_odd(Vec<float> a, Vec<float> b) {
  return __builtin_shufflevector(a.v, b.v, 0, 2, 5, 7);
}
template <>
MK_INLINE Vec<double> even_then_odd(Vec<double> a, Vec<double> b) {
  return __builtin_shufflevector(a.v, b.v, 0, 3);
}
template <>
MK_INLINE Interleaved<float> interleave(Vec<float> a, Vec<float> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 4, 1, 5),
          __builtin_shufflevector(a.v, b.v, 2, 6, 3, 7)};
}
template <>
MK_INLINE Interleaved<double> interleave(Vec<double> a, Vec<double> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 2), __builtin_shufflevector(a.v, b.v, 1, 3)};
}
template <>
MK_INLINE Halves<float> deinterleave(Vec<float> a, Vec<float> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 2, 4, 6),
          __builtin_shufflevector(a.v, b.v, 1, 3, 5, 7)};
}
template <>
MK_INLINE Halves<double> deinterleave(Vec<double> a, Vec<double> b) {
  return {__builtin_shufflevector(a.v, b.v, 0, 2), __builtin_shufflevector(a.v, b.v, 1, 3)};
}

#endif

// Lane i is lane index[i] of a, or of b, which follows it: 0 <= index < 2 kLanes.
template <class T>
MK_INLINE Vec<T> pick(Vec<T> a, Vec<T> b, typename Vec<T>::Mask index) {
#if defined(__AVX512F__)
  const __m512i at = reinterpret_cast<__m512i>(index);
  if constexpr (sizeof(T) == 4) {
    return typename Vec<T>::Native(_mm512_permutex2var_ps(a.v, at, b.v));
  } else {
    return typename Vec<T>::Native(_mm512_permutex2var_pd(a.v, at, b.v));
  }
#else
  T both[2 * Vec<T>::kLanes], picked[Vec<T>::kLanes];
  a.store(both);
  b.store(both + Vec<T>::kLanes);
  for (int i = 0; i < Vec<T>::kLanes; ++i) picked[i] = both[index[i]];
  return Vec<T>::load(picked);
#endif
}

// Lane i is p[index[i]].
template <class T>
MK_INLINE Vec<T> gather(const T* p, const int32_t* index) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    // Masked with all lanes, as sqrt.
    return typename Vec<T>::Native(
        _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, _mm512_loadu_si512(index), p, 4));
  }
#endif
  T lanes[Vec<T>::kLanes];
  for (int i = 0; i < Vec<T>::kLanes; ++i) lanes[i] = p[index[i]];
  return Vec<T>::load(lanes);
}

// kLanes elements `step` apart; reads no others.
template <class T>
MK_INLINE Vec<T> load_every(const T* p, int64_t step) {
  constexpr int kLanes = Vec<T>::kLanes;
  if (step == 1) return Vec<T>::load(p);
  if (step == 2) return even_then_odd<T>(Vec<T>::load(p), Vec<T>::load(p + kLanes - 1));
  T lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = p[i * step];
  return Vec<T>::load(lanes);
}

// Which elements of a row of `width` load_every takes, from `first` on, lie inside it: for the two
// loads of step 1 and 2.
struct LanesInside {
  uint32_t low, high;
};
template <class T>
MK_INLINE LanesInside every_inside(int64_t first, int64_t width) {
  return {lanes_inside<T>(first, width), lanes_inside<T>(first + Vec<T>::kLanes - 1, width)};
}

// load_every of a row of `width` from its element `first` on, where `inside` = every_inside of
// these; `otherwise` stands for the elements outside.
template <class T>
MK_INLINE Vec<T> load_every_inside(const T* row, int64_t first, int64_t step, int64_t width,
                                   LanesInside inside, T otherwise) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  if (step == 1) return load_chosen(row + first, inside.low, otherwise);
  if (step == 2) {
    return even_then_odd<T>(load_chosen(row + first, inside.low, otherwise),
                            load_chosen(row + first + kLanes - 1, inside.high, otherwise));
  }
  T lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) {
    const int64_t at = first + i * step;
    lanes[i] = at >= 0 && at < width ? row[at] : otherwise;
  }
  return Vec<T>::load(lanes);
}

}  // namespace medkern::MK_ISA
