// Random numbers and dropout on the device: the bits of the CPU's.
//
//   words    Philox 4x32-10: counter b, key seed -> 4 words
//   uniform  y = shift + scale * u, u = (word >> 8) / 2^24 or (two words >> 11) / 2^53
//   normal   pairs u, v -> sqrt(-2 ln(1 - u)) times cos(2 pi v), sin(2 pi v)
//   dropout  y = x * scale where word >= threshold, else x * 0
//
// A thread takes a block of words at a time: 4 float32 or 2 float64 numbers, 16 bytes.
// Work    about 20 multiplications and 60 other integer operations per 4 words.
// Memory  y written once; for dropout x read and the mask written.
// Numerics  the CPU's operations in the CPU's order, each rounded once (Exact), with its series for
//           the logarithm, sine and cosine: errors stay below 4 units in the last place.
#include "cuda/loops.h"
#include "kernels/random/random.cuda.h"

namespace medkern::cuda {
namespace {

// A number whose products and sums are never contracted to a fused multiply-add.
template <class T>
struct Exact {
  T value;
  MK_INLINE explicit Exact(T v) : value(v) {}
};
MK_INLINE Exact<float> operator+(Exact<float> a, Exact<float> b) {
  return Exact<float>(__fadd_rn(a.value, b.value));
}
MK_INLINE Exact<float> operator-(Exact<float> a, Exact<float> b) {
  return Exact<float>(__fsub_rn(a.value, b.value));
}
MK_INLINE Exact<float> operator*(Exact<float> a, Exact<float> b) {
  return Exact<float>(__fmul_rn(a.value, b.value));
}
MK_INLINE Exact<float> operator/(Exact<float> a, Exact<float> b) {
  return Exact<float>(__fdiv_rn(a.value, b.value));
}
MK_INLINE Exact<double> operator+(Exact<double> a, Exact<double> b) {
  return Exact<double>(__dadd_rn(a.value, b.value));
}
MK_INLINE Exact<double> operator-(Exact<double> a, Exact<double> b) {
  return Exact<double>(__dsub_rn(a.value, b.value));
}
MK_INLINE Exact<double> operator*(Exact<double> a, Exact<double> b) {
  return Exact<double>(__dmul_rn(a.value, b.value));
}
MK_INLINE Exact<double> operator/(Exact<double> a, Exact<double> b) {
  return Exact<double>(__ddiv_rn(a.value, b.value));
}

struct Words {
  uint32_t word[4];
};

MK_INLINE Words random_words(uint64_t seed, uint64_t block) {
  constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  uint32_t w0 = static_cast<uint32_t>(block), w1 = static_cast<uint32_t>(block >> 32), w2 = 0,
           w3 = 0;
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * w0, product1 = uint64_t{kMultiplier1} * w2;
    w0 = static_cast<uint32_t>(product1 >> 32) ^ w1 ^ key0;
    w1 = static_cast<uint32_t>(product1);
    w2 = static_cast<uint32_t>(product0 >> 32) ^ w3 ^ key1;
    w3 = static_cast<uint32_t>(product0);
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return {{w0, w1, w2, w3}};
}

// What the logarithm, sine and cosine need of a type. kTerms: of their series, until the rest is
// below half a unit in the last place.
template <class T>
struct Real;
template <>
struct Real<float> {
  using Int = int32_t;
  static constexpr int kTerms = 6, kMantissaBits = 23, kBias = 127;
  MK_INLINE static Int bits(float x) { return __float_as_int(x); }
  MK_INLINE static float of(Int bits) { return __int_as_float(bits); }
  MK_INLINE static float root(float x) { return __fsqrt_rn(x); }
};
template <>
struct Real<double> {
  using Int = int64_t;
  static constexpr int kTerms = 11, kMantissaBits = 52, kBias = 1023;
  MK_INLINE static Int bits(double x) { return __double_as_longlong(x); }
  MK_INLINE static double of(Int bits) { return __longlong_as_double(bits); }
  MK_INLINE static double root(double x) { return __dsqrt_rn(x); }
};

// Uniform numbers in [0, 1) from a block of words.
MK_INLINE void uniform_numbers(const Words& words, float (&u)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    u[i] = static_cast<float>(static_cast<int32_t>(words.word[i] >> 8)) * 0x1p-24f;
  }
}
MK_INLINE void uniform_numbers(const Words& words, double (&u)[2]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint64_t bits = words.word[2 * i] | uint64_t{words.word[2 * i + 1]} << 32;
    u[i] = static_cast<double>(static_cast<int64_t>(bits >> 11)) * 0x1p-53;
  }
}

// ln x for 0 < x <= 1, x not denormal.
template <class T>
MK_INLINE Exact<T> log_of(T x) {
  using E = Exact<T>;
  using Int = typename Real<T>::Int;
  constexpr Int one = Int{Real<T>::kBias} << Real<T>::kMantissaBits;
  constexpr Int fraction = (Int{1} << Real<T>::kMantissaBits) - 1;
  const Int bits = Real<T>::bits(x);
  Int exponent = (bits >> Real<T>::kMantissaBits) - Int{Real<T>::kBias};
  E mantissa(Real<T>::of((bits & fraction) | one));
  if (mantissa.value > T(1.4142135623730951)) {
    ++exponent;
    mantissa = mantissa * E(T(0.5));
  }
  const E s = (mantissa - E(T(1))) / (mantissa + E(T(1))), s2 = s * s;
  E series(T(0));
#pragma unroll
  for (int k = Real<T>::kTerms - 1; k >= 0; --k) series = series * s2 + E(T(1.0 / (2 * k + 1)));
  return E(static_cast<T>(exponent)) * E(T(0.6931471805599453)) + E(T(2)) * s * series;
}

// cos and sin of 2 pi v for 0 <= v < 1.
template <class T>
MK_INLINE void circle(T v, Exact<T>& cosine, Exact<T>& sine) {
  using E = Exact<T>;
  const E turns = E(v) * E(T(4));
  const int quadrant = static_cast<int>((turns + E(T(0.5))).value);
  const E rest = turns - E(static_cast<T>(quadrant));
  const E angle = rest * E(T(1.5707963267948966)), square = angle * angle;
  E c(T(1)), s(T(1));  // 1 - a^2 / (1 2) (1 - a^2 / (3 4) (1 - ...
#pragma unroll
  for (int k = Real<T>::kTerms - 1; k > 0; --k) {
    c = E(T(1)) - square * E(T(1.0 / ((2 * k - 1) * (2 * k)))) * c;
    s = E(T(1)) - square * E(T(1.0 / ((2 * k) * (2 * k + 1)))) * s;
  }
  s = s * angle;
  const bool odd = (quadrant & 1) != 0;
  cosine = odd ? s : c;
  sine = odd ? c : s;
  if ((quadrant + 1) & 2) cosine = E(-cosine.value);
  if (quadrant & 2) sine = E(-sine.value);
}

// Calls numbers(block, y) for every block of words of the thread and stores what it gives.
template <class T, class Numbers>
MK_INLINE void draw(const RandomKernelArgs& args, Numbers numbers) {
  constexpr int each = vector_lanes(sizeof(T));
  const int64_t stride = int64_t{gridDim.x} * kWalkThreads;
  T* y = static_cast<T*>(args.y);
  for (int64_t block = int64_t{blockIdx.x} * kWalkThreads + threadIdx.x; block * each < args.count;
       block += stride) {
    T value[each];
    uniform_numbers(random_words(args.seed, args.offset + static_cast<uint64_t>(block)), value);
    numbers(value);
    const int64_t at = block * each;
    if (args.aligned && at + each <= args.count) {
      Pack<T, each> pack;
#pragma unroll
      for (int i = 0; i < each; ++i) pack.at[i] = value[i];
      store_pack<each>(y + at, pack);
    } else {
#pragma unroll
      for (int i = 0; i < each; ++i) {
        if (at + i < args.count) y[at + i] = value[i];
      }
    }
  }
}

template <class T>
MK_INLINE void uniform(const RandomKernelArgs& args) {
  using E = Exact<T>;
  constexpr int each = vector_lanes(sizeof(T));
  const E shift(static_cast<T>(args.shift)), scale(static_cast<T>(args.scale));
  const T below = static_cast<T>(args.below);
  draw<T>(args, [=](T(&u)[each]) {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      const T value = (shift + scale * E(u[i])).value;
      u[i] = value < below ? value : below;
    }
  });
}

template <class T>
MK_INLINE void normal(const RandomKernelArgs& args) {
  using E = Exact<T>;
  constexpr int each = vector_lanes(sizeof(T));
  const E shift(static_cast<T>(args.shift)), scale(static_cast<T>(args.scale));
  draw<T>(args, [=](T(&z)[each]) {
#pragma unroll
    for (int i = 0; i < each; i += 2) {
      const T u = 1 - z[i], v = z[i + 1];
      const E radius(Real<T>::root((E(T(-2)) * log_of(u)).value));
      E cosine(T(0)), sine(T(0));
      circle(v, cosine, sine);
      z[i] = (shift + scale * (radius * cosine)).value;
      z[i + 1] = (shift + scale * (radius * sine)).value;
    }
  });
}

template <class T>
MK_INLINE void dropout(const DropoutKernelArgs& args) {
  using W = Wide<T>;
  const int64_t stride = int64_t{gridDim.x} * kWalkThreads;
  const W scale = static_cast<W>(args.scale);
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  for (int64_t block = int64_t{blockIdx.x} * kWalkThreads + threadIdx.x; block * 4 < args.count;
       block += stride) {
    const int64_t at = block * 4;
    constexpr int lanes = sizeof(T) > 4 ? 2 : 4, vectors = 4 / lanes;
    const bool whole = args.aligned && at + 4 <= args.count;
    Pack<W, lanes> value[vectors];
    if (whole) {
#pragma unroll
      for (int k = 0; k < vectors; ++k) value[k] = load_wide<lanes>(x + at + k * lanes);
    }
    const Words words = random_words(args.seed, args.offset + static_cast<uint64_t>(block));
    Pack<uint8_t, 4> keep;
#pragma unroll
    for (int i = 0; i < 4; ++i) keep.at[i] = words.word[i] >= args.threshold;
    if (whole) {
#pragma unroll
      for (int k = 0; k < vectors; ++k) {
#pragma unroll
        for (int i = 0; i < lanes; ++i) value[k].at[i] *= keep.at[k * lanes + i] ? scale : W(0);
        store_rounded<lanes>(y + at + k * lanes, value[k]);
      }
      store_pack<4>(args.mask + at, keep);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (at + i >= args.count) continue;
        y[at + i] = T(W(x[at + i]) * (keep.at[i] ? scale : W(0)));
        args.mask[at + i] = keep.at[i];
      }
    }
  }
}

template <class T>
MK_INLINE void apply_mask(const MaskKernelArgs& args) {
  using W = Wide<T>;
  const W scale = static_cast<W>(args.scale);
  map_elements(
      args.walk, [=](T dy, uint8_t mask) { return T(W(dy) * (mask != 0 ? scale : W(0))); },
      static_cast<T*>(args.dx), static_cast<const T*>(args.dy), args.mask);
}

}  // namespace

MK_KERNEL(random_uniform_f32, RandomKernelArgs, 256) { uniform<float>(args); }
MK_KERNEL(random_uniform_f64, RandomKernelArgs, 256) { uniform<double>(args); }
MK_KERNEL(random_normal_f32, RandomKernelArgs, 256) { normal<float>(args); }
MK_KERNEL(random_normal_f64, RandomKernelArgs, 256) { normal<double>(args); }
MK_KERNEL(random_dropout_f32, DropoutKernelArgs, 256) { dropout<float>(args); }
MK_KERNEL(random_dropout_f64, DropoutKernelArgs, 256) { dropout<double>(args); }
MK_KERNEL(random_mask_f32, MaskKernelArgs, 256) { apply_mask<float>(args); }
MK_KERNEL(random_mask_f64, MaskKernelArgs, 256) { apply_mask<double>(args); }
MK_KERNEL(random_dropout_bf16, DropoutKernelArgs, 256) { dropout<bfloat16>(args); }
MK_KERNEL(random_mask_bf16, MaskKernelArgs, 256) { apply_mask<bfloat16>(args); }

}  // namespace medkern::cuda
