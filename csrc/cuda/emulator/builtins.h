// CUDA's built-in types and functions that concern one thread alone: vectors, bits, arithmetic,
// mathematics, and atomics, which need no more than a plain read and write while threads take
// turns.
//
// Overloads are as CUDA has them, for 64-bit integers under both of their C++ names.
#pragma once

#include <math.h>
#include <stdlib.h>

#include <bit>
#include <concepts>
#include <cstdint>
#include <type_traits>

#define __device__
#define __host__
#define __constant__ __attribute__((unused))
#define __forceinline__ inline __attribute__((always_inline))

// ---------------------------------------------------------------- vectors

#define MK_VECTOR2(type, element, bytes) \
  struct alignas(bytes) type {           \
    element x, y;                        \
  };                                     \
  inline type make_##type(element x, element y) { return {x, y}; }
#define MK_VECTOR4(type, element, bytes) \
  struct alignas(bytes) type {           \
    element x, y, z, w;                  \
  };                                     \
  inline type make_##type(element x, element y, element z, element w) { return {x, y, z, w}; }
MK_VECTOR2(float2, float, 8)
MK_VECTOR2(double2, double, 16)
MK_VECTOR2(int2, int, 8)
MK_VECTOR2(uint2, unsigned, 8)
MK_VECTOR2(short2, short, 4)
MK_VECTOR2(ushort2, unsigned short, 4)
MK_VECTOR2(char2, signed char, 2)
MK_VECTOR2(uchar2, unsigned char, 2)
MK_VECTOR2(longlong2, long long, 16)
MK_VECTOR2(ulonglong2, unsigned long long, 16)
MK_VECTOR4(float4, float, 16)
MK_VECTOR4(int4, int, 16)
MK_VECTOR4(uint4, unsigned, 16)
MK_VECTOR4(short4, short, 8)
MK_VECTOR4(ushort4, unsigned short, 8)
MK_VECTOR4(char4, signed char, 4)
MK_VECTOR4(uchar4, unsigned char, 4)
#undef MK_VECTOR2
#undef MK_VECTOR4

struct float3 {
  float x, y, z;
};
struct int3 {
  int x, y, z;
};
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }

// ---------------------------------------------------------------- bits

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= ((x >> i) & 1u) << (31 - i);
  return reversed;
}
// Byte i of the result is the one of the eight bytes of high:low that nibble i names.
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const uint64_t all = (uint64_t{high} << 32) | low;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> (4 * i);
    unsigned byte = static_cast<unsigned>(all >> (8 * (nibble & 7))) & 0xff;
    if (nibble & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((uint64_t{high} << 32) | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((uint64_t{high} << 32) | low) >> (shift & 31));
}
inline int __mulhi(int a, int b) { return static_cast<int>((int64_t{a} * b) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((uint64_t{a} * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}

// ---------------------------------------------------------------- memory

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, std::type_identity_t<T> value) {
  *p = value;
}
template <class T>
void __stcg(T* p, std::type_identity_t<T> value) {
  *p = value;
}

template <class T>
concept AtomicInteger = std::integral<T> && (sizeof(T) == 4 || sizeof(T) == 8);

#define MK_ATOMIC(name, result)                 \
  template <AtomicInteger T>                    \
  T name(T* p, std::type_identity_t<T> value) { \
    const T old = *p;                           \
    *p = static_cast<T>(result);                \
    return old;                                 \
  }                                             \
  template <std::floating_point T>              \
  T name(T*, std::type_identity_t<T>) = delete; /* sums have one order */
MK_ATOMIC(atomicAdd, old + value)
MK_ATOMIC(atomicSub, old - value)
MK_ATOMIC(atomicMax, old < value ? value : old)
MK_ATOMIC(atomicMin, value < old ? value : old)
MK_ATOMIC(atomicOr, old | value)
MK_ATOMIC(atomicAnd, old& value)
MK_ATOMIC(atomicXor, old ^ value)
MK_ATOMIC(atomicExch, value)
MK_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
#undef MK_ATOMIC
template <AtomicInteger T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T old = *p;
  if (old == expected) *p = value;
  return old;
}

// ---------------------------------------------------------------- arithmetic

// Of integers of two types as CUDA's: in their common type.
template <std::integral A, std::integral B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(a) : static_cast<T>(b);
}
template <std::integral A, std::integral B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
// Of floating-point numbers: a NaN yields to a number.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / ::sqrt(double{x})); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double x) { return ::sqrt(x); }
inline double __fma_rn(double a, double b, double c) { return ::fma(a, b, c); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x >= 0 ? (x <= 1 ? x : 1.0f) : 0.0f; }

inline int __float2int_rn(float x) { return static_cast<int>(lrintf(x)); }
inline int __float2int_rd(float x) { return static_cast<int>(floorf(x)); }
inline int __float2int_ru(float x) { return static_cast<int>(ceilf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline int __double2int_rn(double x) { return static_cast<int>(lrint(x)); }
inline int __double2int_rd(double x) { return static_cast<int>(::floor(x)); }
inline long long __double2ll_rn(double x) { return llrint(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline double __uint2double_rn(unsigned x) { return x; }
inline double __ull2double_rn(unsigned long long x) { return static_cast<double>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

// ---------------------------------------------------------------- mathematics
// math.h has the rest, for float and double under one name.

inline float rsqrtf(float x) { return __frsqrt_rn(x); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __tanhf(float x) { return tanhf(x); }
inline float cospif(float x) { return static_cast<float>(::cos(M_PI * double{x})); }
inline float sinpif(float x) { return static_cast<float>(::sin(M_PI * double{x})); }
inline double cospi(double x) { return ::cos(M_PI * x); }
inline double sinpi(double x) { return ::sin(M_PI * x); }
inline float cospi(float x) { return cospif(x); }
inline float sinpi(float x) { return sinpif(x); }
inline void sincos(float x, float* sine, float* cosine) { sincosf(x, sine, cosine); }
inline void sincospif(float x, float* sine, float* cosine) {
  *sine = sinpif(x), *cosine = cospif(x);
}
inline void sincospi(double x, double* sine, double* cosine) {
  *sine = sinpi(x), *cosine = cospi(x);
}
