// Vec<T>: a register of T, as wide as the instruction set this file is being built for. Arithmetic
// is the compiler's own vector extension; only what it lacks (fused multiply-add, partial loads and
// stores, square root) names instructions.
//
// To be included by *.simd.cpp files only. Everything here lives in the namespace MK_ISA and is
// inlined, so that the linker can never give code of one instruction set to another.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define MK_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define MK_VECTOR_BYTES 32
#else
#define MK_VECTOR_BYTES 16
#endif

#define MK_INLINE __attribute__((always_inline)) inline

namespace medkern::MK_ISA {

// The compiler's vector types. (Spelt out per T: GCC ignores vector_size on a dependent type when
// it compares signatures.)
template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  using Int = int32_t;
  typedef float Native __attribute__((vector_size(MK_VECTOR_BYTES)));
  typedef float Unaligned __attribute__((vector_size(MK_VECTOR_BYTES), aligned(4), may_alias));
  typedef Int Mask __attribute__((vector_size(MK_VECTOR_BYTES)));
};
template <>
struct Lanes<double> {
  using Int = int64_t;
  typedef double Native __attribute__((vector_size(MK_VECTOR_BYTES)));
  typedef double Unaligned __attribute__((vector_size(MK_VECTOR_BYTES), aligned(8), may_alias));
  typedef Int Mask __attribute__((vector_size(MK_VECTOR_BYTES)));
};

template <class T>
struct Vec {
  static constexpr int kLanes = MK_VECTOR_BYTES / sizeof(T);
  using Native = typename Lanes<T>::Native;
  using Unaligned = typename Lanes<T>::Unaligned;
  using Int = typename Lanes<T>::Int;
  // The result of a comparison, and integer lanes: -1 is true, 0 is false.
  using Mask = typename Lanes<T>::Mask;

  Native v;

  MK_INLINE Vec() = default;
  MK_INLINE Vec(Native native) : v(native) {}
  // (Subtracting zero keeps every value, -0 too, so the compiler drops it; adding zero would not.)
  MK_INLINE Vec(T value) : v(value - Native{}) {}

  MK_INLINE static Vec zero() { return Native{}; }
  MK_INLINE static Vec load(const T* p) { return Native(*reinterpret_cast<const Unaligned*>(p)); }
  MK_INLINE void store(T* p) const { *reinterpret_cast<Unaligned*>(p) = v; }
  // The first n lanes (0 <= n <= kLanes); the others are 0, and memory behind them is not touched.
  static Vec load(const T* p, int64_t n);
  void store(T* p, int64_t n) const;

  MK_INLINE T operator[](int i) const { return v[i]; }
  MK_INLINE Vec& operator+=(Vec b) { return v += b.v, *this; }
  MK_INLINE Vec& operator*=(Vec b) { return v *= b.v, *this; }
};

template <class T>
MK_INLINE Vec<T> operator+(Vec<T> a, Vec<T> b) {
  return a.v + b.v;
}
template <class T>
MK_INLINE Vec<T> operator-(Vec<T> a, Vec<T> b) {
  return a.v - b.v;
}
template <class T>
MK_INLINE Vec<T> operator*(Vec<T> a, Vec<T> b) {
  return a.v * b.v;
}
template <class T>
MK_INLINE Vec<T> operator/(Vec<T> a, Vec<T> b) {
  return a.v / b.v;
}
template <class T>
MK_INLINE Vec<T> operator-(Vec<T> a) {
  return -a.v;
}

template <class T>
MK_INLINE typename Vec<T>::Mask operator<(Vec<T> a, Vec<T> b) {
  return a.v < b.v;
}
template <class T>
MK_INLINE typename Vec<T>::Mask operator>(Vec<T> a, Vec<T> b) {
  return a.v > b.v;
}
template <class T>
MK_INLINE typename Vec<T>::Mask operator==(Vec<T> a, Vec<T> b) {
  return a.v == b.v;
}
template <class T>
MK_INLINE typename Vec<T>::Mask operator!=(Vec<T> a, Vec<T> b) {
  return a.v != b.v;
}

// Lane by lane: mask ? a : b.
template <class T>
MK_INLINE Vec<T> select(typename Vec<T>::Mask mask, Vec<T> a, Vec<T> b) {
  return mask ? a.v : b.v;
}

// NaN if either is NaN, as NumPy's maximum and minimum.
template <class T>
MK_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return select<T>((a.v > b.v) | (a.v != a.v), a, b);
}
template <class T>
MK_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
  return select<T>((a.v < b.v) | (a.v != a.v), a, b);
}

// a * b + c, rounded once where the instruction set can.
template <class T>
MK_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c);
template <class T>
MK_INLINE Vec<T> sqrt(Vec<T> a);

// The sum of all lanes, halves first: the same order whatever produced them.
template <class T>
MK_INLINE T sum(Vec<T> a) {
  T lanes[Vec<T>::kLanes];
  a.store(lanes);
  for (int half = Vec<T>::kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

#if defined(__AVX512F__)

template <>
MK_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return Vec<float>::Native(_mm512_fmadd_ps(a.v, b.v, c.v));
}
template <>
MK_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return Vec<double>::Native(_mm512_fmadd_pd(a.v, b.v, c.v));
}
template <>
MK_INLINE Vec<float> sqrt(Vec<float> a) {
  // Masked with all lanes: GCC 12 warns about the plain form's undefined register.
  return Vec<float>::Native(_mm512_maskz_sqrt_ps(0xffff, a.v));
}
template <>
MK_INLINE Vec<double> sqrt(Vec<double> a) {
  return Vec<double>::Native(_mm512_maskz_sqrt_pd(0xff, a.v));
}
template <>
MK_INLINE Vec<float> Vec<float>::load(const float* p, int64_t n) {
  return Native(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p));
}
template <>
MK_INLINE Vec<double> Vec<double>::load(const double* p, int64_t n) {
  return Native(_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p));
}
template <>
MK_INLINE void Vec<float>::store(float* p, int64_t n) const {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
}
template <>
MK_INLINE void Vec<double>::store(double* p, int64_t n) const {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), v);
}

#elif defined(__AVX2__)

MK_INLINE __m256i first_lanes(int64_t n, float) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
MK_INLINE __m256i first_lanes(int64_t n, double) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}

template <>
MK_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return Vec<float>::Native(_mm256_fmadd_ps(a.v, b.v, c.v));
}
template <>
MK_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return Vec<double>::Native(_mm256_fmadd_pd(a.v, b.v, c.v));
}
template <>
MK_INLINE Vec<float> sqrt(Vec<float> a) {
  return Vec<float>::Native(_mm256_sqrt_ps(a.v));
}
template <>
MK_INLINE Vec<double> sqrt(Vec<double> a) {
  return Vec<double>::Native(_mm256_sqrt_pd(a.v));
}
template <>
MK_INLINE Vec<float> Vec<float>::load(const float* p, int64_t n) {
  return Native(_mm256_maskload_ps(p, first_lanes(n, float())));
}
template <>
MK_INLINE Vec<double> Vec<double>::load(const double* p, int64_t n) {
  return Native(_mm256_maskload_pd(p, first_lanes(n, double())));
}
template <>
MK_INLINE void Vec<float>::store(float* p, int64_t n) const {
  _mm256_maskstore_ps(p, first_lanes(n, float()), v);
}
template <>
MK_INLINE void Vec<double>::store(double* p, int64_t n) const {
  _mm256_maskstore_pd(p, first_lanes(n, double()), v);
}

#else

template <class T>
MK_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return a * b + c;
}
template <class T>
MK_INLINE Vec<T> sqrt(Vec<T> a) {
  for (int i = 0; i < Vec<T>::kLanes; ++i) a.v[i] = __builtin_sqrt(a.v[i]);
  return a;
}
template <class T>
MK_INLINE Vec<T> Vec<T>::load(const T* p, int64_t n) {
  Native v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
template <class T>
MK_INLINE void Vec<T>::store(T* p, int64_t n) const {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}

#endif

}  // namespace medkern::MK_ISA
