// Elementary functions of vectors, lane by lane.
//
// float   own reductions and polynomials (fitted to float64 values by weighted least squares, the
//         weights raised where the error was largest); largest errors in units in the last place,
//         measured with fused multiply-add and without (tests/kernels/test_unary.py):
//           exp 1.1   expm1 1.7   log 0.9   log1p 1.3   tanh 2.4   sigmoid 2.5   erf 1.3
// double  the C library, a lane at a time.
// Kernels run with denormals flushed: a denormal argument counts as 0, a denormal result is 0.
// NaN and infinity give what the C library gives.
//
// To be included by *.simd.cpp files only, as cpu/vec.h.
#pragma once

#include "cpu/vec.h"

namespace medkern::MK_ISA {

// c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule.
template <int n>
MK_INLINE Vec<float> polynomial(Vec<float> x, const float (&c)[n]) {
  Vec<float> y = c[n - 1];
  for (int i = n - 2; i >= 0; --i) y = fma<float>(y, x, c[i]);
  return y;
}

// The bits of a float as an integer and back.
MK_INLINE Vec<float>::Mask bits_of(Vec<float> x) { return Vec<float>::Mask(x.v); }
MK_INLINE Vec<float> from_bits(Vec<float>::Mask bits) { return Vec<float>::Native(bits); }

template <class T>
MK_INLINE Vec<T> abs(Vec<T> x) {
  return select<T>(x.v < 0, -x, x) + Vec<T>::zero();  // + 0 turns -0 into 0
}
MK_INLINE Vec<float> abs(Vec<float> x) { return from_bits(bits_of(x) & 0x7fffffff); }

// |x| with the sign of `sign`; x is not negative.
MK_INLINE Vec<float> with_sign(Vec<float> x, Vec<float> sign) {
  return from_bits(bits_of(x) | (bits_of(sign) & (-0x7fffffff - 1)));
}

namespace detail {

// x = n log(2) + r with |r| <= log(2) / 2, and expm1(r). |x| < 2^21.
struct Exponent {
  Vec<float> shifted;  // 1.5 * 2^23 + n: n in its low bits
  Vec<float> expm1_r;
};
constexpr float kShift = 0x1.8p23f;

MK_INLINE Exponent split_exponent(Vec<float> x) {
  // Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the sum.
  const Vec<float> shifted = fma<float>(x, 0x1.715476p0f, kShift);
  const Vec<float> n = shifted - Vec<float>(kShift);
  // log(2) in two parts, the first so short that n times it is exact.
  Vec<float> r = fma<float>(n, -0x1.63p-1f, x);
  r = fma<float>(n, 0x1.bd0106p-13f, r);
  constexpr float c[] = {0.5f, 0.16666537523f, 0.041666265578f, 0.0083672469482f, 0.0013947595144f};
  return {shifted, fma(polynomial(r, c), r * r, r)};
}
MK_INLINE Vec<float>::Mask integer_of(Exponent e) {
  return bits_of(e.shifted) - bits_of(Vec<float>(kShift));
}

// 2^n for -126 <= n <= 127.
MK_INLINE Vec<float> power_of_two(Vec<float>::Mask n) { return from_bits((n + 127) << 23); }

// x between two bounds that are not NaN; NaN as it is: the processor's own minimum gives its second
// operand where one is NaN.
MK_INLINE Vec<float> at_most(Vec<float> x, Vec<float> bound) {
#if defined(__AVX512F__)
  return Vec<float>::Native(_mm512_maskz_min_ps(0xffff, bound.v, x.v));
#elif defined(__AVX2__)
  return Vec<float>::Native(_mm256_min_ps(bound.v, x.v));
#else
  return select<float>(bound < x, bound, x);
#endif
}
MK_INLINE Vec<float> at_least(Vec<float> x, Vec<float> bound) {
#if defined(__AVX512F__)
  return Vec<float>::Native(_mm512_maskz_max_ps(0xffff, bound.v, x.v));
#elif defined(__AVX2__)
  return Vec<float>::Native(_mm256_max_ps(bound.v, x.v));
#else
  return select<float>(bound > x, bound, x);
#endif
}

// 2^(n + more), for -126 <= n + more <= 127: of the sum's bits only those of n stay.
MK_INLINE Vec<float> power_of(Exponent e, int more = 0) {
  return from_bits((bits_of(e.shifted) + (127 + more)) << 23);
}

// expm1(x) for -20 <= x <= 89, and NaN.
MK_INLINE Vec<float> expm1_within(Vec<float> x) {
  const Exponent e = split_exponent(x);
  // 2^n expm1(r) + (2^n - 1), at half its size so that n = 128 does not overflow too early.
  const Vec<float> half_power = power_of(e, -1);
  const Vec<float> half = fma(half_power, e.expm1_r, half_power - Vec<float>(0.5f));
  return half + half;
}

}  // namespace detail

MK_INLINE Vec<float> exp(Vec<float> x) {
  // Beyond these the result is 0 or infinity; the power of two comes in two factors, for n may be
  // 128.
  x = detail::at_least(detail::at_most(x, 89.0f), -104.0f);
  const detail::Exponent e = detail::split_exponent(x);
  const Vec<float>::Mask n = detail::integer_of(e), half = n >> 1;
  return (e.expm1_r + Vec<float>(1.0f)) * detail::power_of_two(half) *
         detail::power_of_two(n - half);
}

MK_INLINE Vec<float> expm1(Vec<float> x) {
  const Vec<float> y = detail::expm1_within(detail::at_least(detail::at_most(x, 89.0f), -20.0f));
  return select<float>(x == Vec<float>::zero(), x, y);
}

MK_INLINE Vec<float> log(Vec<float> x) {
  // x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2).
  constexpr int32_t kRootHalf = 0x3f3504f3;
  const Vec<float>::Mask bits = bits_of(x) & 0x7fffffff;
  const Vec<float>::Mask e = (bits - kRootHalf) >> 23;
  const Vec<float> f = from_bits(bits - (e << 23)) - Vec<float>(1.0f);
  const Vec<float> n = __builtin_convertvector(e, Vec<float>::Native);
  constexpr float c[] = {0.33333316445f, -0.25000810623f, 0.20002286136f, -0.16624553502f,
                         0.14181196690f, -0.13128767908f, 0.12881621718f, -0.078595459461f};
  // log(1 + f) = f - f^2 / 2 + f^3 p(f)
  const Vec<float> square = f * f;
  Vec<float> tail = polynomial(f, c) * f * square;
  tail = fma<float>(n, -0x1.bd0106p-13f, tail);
  tail = fma<float>(square, -0.5f, tail);
  Vec<float> y = fma<float>(n, 0x1.63p-1f, tail + f);
  y = select<float>(x == Vec<float>(__builtin_inff()), x, y);
  y = select<float>(x == Vec<float>::zero(), -__builtin_inff(), y);
  return select<float>((x < Vec<float>::zero()) | (x != x), __builtin_nanf(""), y);
}

MK_INLINE Vec<float> log1p(Vec<float> x) {
  // log(u) for the rounded u = 1 + x, and what the rounding lost.
  const Vec<float> u = x + Vec<float>(1.0f);
  const Vec<float> lost = x - (u - Vec<float>(1.0f));
  const Vec<float> y = log(u);
  return select<float>((u > Vec<float>::zero()) & (u < Vec<float>(__builtin_inff())),
                       select<float>(u == Vec<float>(1.0f), x, y + lost / u), y);
}

MK_INLINE Vec<float> tanh(Vec<float> x) {
  // t / (t + 2) with t = expm1(2 |x|): in this form errors of expm1 shrink.
  const detail::Exponent e =
      detail::split_exponent(detail::at_most(abs(x) * Vec<float>(2.0f), 20.0f));
  const Vec<float> power = detail::power_of(e);
  const Vec<float> t = fma(power, e.expm1_r, power - Vec<float>(1.0f));
  return with_sign(t / (t + Vec<float>(2.0f)), x);
}

MK_INLINE Vec<float> sigmoid(Vec<float> x) {
  // 1 / (1 + exp(-x)), which is 0 (a flushed denormal) and 1 beyond these bounds.
  const detail::Exponent e =
      detail::split_exponent(detail::at_least(detail::at_most(-x, 88.0f), -87.0f));
  const Vec<float> power = detail::power_of(e);
  return Vec<float>(1.0f) / (fma(power, e.expm1_r, power) + Vec<float>(1.0f));
}

MK_INLINE Vec<float> erf(Vec<float> x) {
  const Vec<float> a = min<float>(abs(x), 4.0f), square = a * a;
  constexpr float near[] = {0.12837916613f,    -0.37612631917f,  0.11283686757f,
                            -0.026858853176f,  0.0051996046677f, -0.00081258499995f,
                            0.000082967635535f};
  const Vec<float> inner = fma(polynomial(square, near), a, a);
  // log(erfc(a)) from 0.9375 to 4
  constexpr float far[] = {-0.00023506736034f, -1.1275126934f,    -0.63745701313f,  -0.10369013995f,
                           0.022110389546f,    -0.0030139521696f, 0.00019295104721f};
  const Vec<float> outer = Vec<float>(1.0f) - exp(polynomial(a, far));
  return with_sign(select<float>(a < Vec<float>(0.9375f), inner, outer), x);
}

namespace detail {

template <class F>
MK_INLINE Vec<double> each_lane(Vec<double> x, F f) {
  for (int i = 0; i < Vec<double>::kLanes; ++i) x.v[i] = f(x.v[i]);
  return x;
}

}  // namespace detail

MK_INLINE Vec<double> exp(Vec<double> x) {
  return detail::each_lane(x, [](double v) { return __builtin_exp(v); });
}
MK_INLINE Vec<double> expm1(Vec<double> x) {
  return detail::each_lane(x, [](double v) { return __builtin_expm1(v); });
}
MK_INLINE Vec<double> log(Vec<double> x) {
  return detail::each_lane(x, [](double v) { return __builtin_log(v); });
}
MK_INLINE Vec<double> log1p(Vec<double> x) {
  return detail::each_lane(x, [](double v) { return __builtin_log1p(v); });
}
MK_INLINE Vec<double> tanh(Vec<double> x) {
  return detail::each_lane(x, [](double v) { return __builtin_tanh(v); });
}
MK_INLINE Vec<double> sigmoid(Vec<double> x) {
  return Vec<double>(1.0) / (Vec<double>(1.0) + exp(-x));
}
MK_INLINE Vec<double> erf(Vec<double> x) {
  return detail::each_lane(x, [](double v) { return __builtin_erf(v); });
}

}  // namespace medkern::MK_ISA
