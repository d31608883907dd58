// Elements side by side at places all over an image. For *.simd.cpp files only.
#pragma once

#include "cpu/shuffle.h"

namespace medkern::MK_ISA {
namespace {

// p[offset[i]] and p[offset[i] + 1] in lane i.
template <class T>
struct Pairs {
  Vec<T> left, right;
};

// Two floats as one number of 8 bytes: a plain load each, where gathering takes several times as
// long.
MK_INLINE double two_at(const float* p, int32_t offset) {
  double both;
  __builtin_memcpy(&both, p + offset, sizeof both);
  return both;
}

template <class T>
MK_INLINE Pairs<T> load_pairs(const T* p, const typename Vec<T>::Int* o) {
  if constexpr (sizeof(T) == 4) {
    using Two = typename Vec<double>::Native;
    Vec<float> half[2];
    for (int i = 0; i < 2; ++i) {
      const int32_t* at = o + i * (Vec<float>::kLanes / 2);
      Two two;
#if MK_VECTOR_BYTES == 64
      two = Two{two_at(p, at[0]), two_at(p, at[1]), two_at(p, at[2]), two_at(p, at[3]),
                two_at(p, at[4]), two_at(p, at[5]), two_at(p, at[6]), two_at(p, at[7])};
#elif MK_VECTOR_BYTES == 32
      two = Two{two_at(p, at[0]), two_at(p, at[1]), two_at(p, at[2]), two_at(p, at[3])};
#else
      two = Two{two_at(p, at[0]), two_at(p, at[1])};
#endif
      half[i] = reinterpret_cast<Vec<float>::Native>(two);
    }
    const Halves<float> halves = deinterleave(half[0], half[1]);
    return {halves.even, halves.odd};
  } else {
    T left[Vec<T>::kLanes], right[Vec<T>::kLanes];
    for (int i = 0; i < Vec<T>::kLanes; ++i) {
      left[i] = p[o[i]];
      right[i] = p[o[i] + 1];
    }
    return {Vec<T>::load(left), Vec<T>::load(right)};
  }
}

}  // namespace
}  // namespace medkern::MK_ISA
