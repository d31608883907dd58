// Random numbers and dropout on the CPU.
//
//   words    Philox 4x32-10: counter b, key seed -> 4 words, for 16 counters at a time
//   uniform  y = shift + scale * u, u = (word >> 8) / 2^24 or (two words >> 11) / 2^53
//   normal   pairs u, v -> sqrt(-2 ln(1 - u)) times cos(2 pi v), sin(2 pi v)
//   dropout  y = x * scale where word >= threshold, else x * 0
//
// Groups of 64 words, in tasks of kGroupsPerTask.
// Work    about 20 multiplications and 60 other integer operations per 4 words.
// Memory  y written once; for dropout x read and the mask written.
// Numerics  every step is an IEEE operation with one rounding (no fused multiply-add, no library
//           function), so the bits are the same on every instruction set. Logarithm: series of
//           atanh on [1/sqrt 2, sqrt 2]. Sine and cosine: Taylor on [-pi/4, pi/4], after a
//           reduction of v that is exact. Errors stay below 4 units in the last place.
#include "kernels/random/random.h"

#include "core/parallel.h"
#include "cpu/vec.h"

namespace medkern::MK_ISA {
namespace {

constexpr int kBlocks = 16;
constexpr int kWords = 4 * kBlocks;
constexpr int64_t kGroupsPerTask = 256;

constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;

// The first words of blocks first .. first + 15, the second words, and so on.
struct Counters {
  uint32_t word[4][kBlocks];
};

#if defined(__AVX2__)

// Lanes of 32 bits; products come from the even and the odd lanes in turn.
using Words = Vec<float>::Mask;
using Pairs = Vec<double>::Mask;
struct Product {
  Words high, low;
};

MK_INLINE Pairs multiply_even(Pairs a, uint32_t factor) {
#if defined(__AVX512F__)
  return reinterpret_cast<Pairs>(
      _mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a), _mm512_set1_epi64(factor)));
#else
  return reinterpret_cast<Pairs>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(factor)));
#endif
}

MK_INLINE Product multiply(Words a, uint32_t factor) {
  typedef uint64_t Unsigned __attribute__((vector_size(MK_VECTOR_BYTES)));
  constexpr uint64_t kLow = 0xffffffff;
  const auto pairs = reinterpret_cast<Unsigned>(a);
  const auto even = reinterpret_cast<Unsigned>(multiply_even(reinterpret_cast<Pairs>(a), factor));
  const auto odd =
      reinterpret_cast<Unsigned>(multiply_even(reinterpret_cast<Pairs>(pairs >> 32), factor));
  return {reinterpret_cast<Words>((even >> 32) | (odd & ~kLow)),
          reinterpret_cast<Words>((even & kLow) | (odd << 32))};
}

MK_INLINE void run_rounds(Counters& c, uint32_t key0, uint32_t key1) {
  constexpr int kLanes = Vec<float>::kLanes;
  typedef Words Loose __attribute__((aligned(4), may_alias));
  for (int first = 0; first < kBlocks; first += kLanes) {
    Words word[4];
    for (int k = 0; k < 4; ++k) word[k] = *reinterpret_cast<const Loose*>(c.word[k] + first);
    uint32_t k0 = key0, k1 = key1;
    for (int round = 0; round < 10; ++round) {
      const Product of0 = multiply(word[0], kMultiplier0), of2 = multiply(word[2], kMultiplier1);
      word[0] = of2.high ^ word[1] ^ static_cast<int32_t>(k0);
      word[1] = of2.low;
      word[2] = of0.high ^ word[3] ^ static_cast<int32_t>(k1);
      word[3] = of0.low;
      k0 += kWeyl0;
      k1 += kWeyl1;
    }
    for (int k = 0; k < 4; ++k) *reinterpret_cast<Loose*>(c.word[k] + first) = word[k];
  }
}

#else

MK_INLINE void run_rounds(Counters& c, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kBlocks; ++i) {
      const uint64_t product0 = uint64_t{kMultiplier0} * c.word[0][i];
      const uint64_t product1 = uint64_t{kMultiplier1} * c.word[2][i];
      c.word[0][i] = static_cast<uint32_t>(product1 >> 32) ^ c.word[1][i] ^ key0;
      c.word[1][i] = static_cast<uint32_t>(product1);
      c.word[2][i] = static_cast<uint32_t>(product0 >> 32) ^ c.word[3][i] ^ key1;
      c.word[3][i] = static_cast<uint32_t>(product0);
    }
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
}

#endif

// The words of blocks first .. first + 15 in order.
void random_words(uint64_t seed, uint64_t first, uint32_t words[kWords]) {
  Counters c;
  for (int i = 0; i < kBlocks; ++i) {
    const uint64_t block = first + static_cast<uint64_t>(i);
    c.word[0][i] = static_cast<uint32_t>(block);
    c.word[1][i] = static_cast<uint32_t>(block >> 32);
    c.word[2][i] = c.word[3][i] = 0;
  }
  run_rounds(c, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  for (int i = 0; i < kBlocks; ++i) {
    for (int k = 0; k < 4; ++k) words[4 * i + k] = c.word[k][i];
  }
}

// Numbers a group of words gives.
template <class T>
constexpr int kNumbers = kWords * 4 / static_cast<int>(sizeof(T));

// Uniform numbers in [0, 1) from a group of words.
MK_INLINE void uniform_numbers(const uint32_t words[kWords], float* u) {
  for (int i = 0; i < kWords; ++i) u[i] = static_cast<float>(int32_t(words[i] >> 8)) * 0x1p-24f;
}
MK_INLINE void uniform_numbers(const uint32_t words[kWords], double* u) {
  for (int i = 0; i < kWords / 2; ++i) {
    const uint64_t bits = words[2 * i] | uint64_t{words[2 * i + 1]} << 32;
    u[i] = static_cast<double>(int64_t(bits >> 11)) * 0x1p-53;
  }
}

// What the logarithm, sine and cosine need of a type. kTerms: of their series, until the rest is
// below half a unit in the last place.
template <class T>
struct Real;
template <>
struct Real<float> {
  static constexpr int kTerms = 6, kMantissaBits = 23, kBias = 127;
};
template <>
struct Real<double> {
  static constexpr int kTerms = 11, kMantissaBits = 52, kBias = 1023;
};

// ln x for 0 < x <= 1, x not denormal.
template <class T>
MK_INLINE Vec<T> log_of(Vec<T> x) {
  using V = Vec<T>;
  using Mask = typename V::Mask;
  using Int = typename V::Int;
  constexpr Int one = Int{Real<T>::kBias} << Real<T>::kMantissaBits;
  constexpr Int fraction = (Int{1} << Real<T>::kMantissaBits) - 1;
  const Mask bits = reinterpret_cast<Mask>(x.v);
  Mask exponent = (bits >> Real<T>::kMantissaBits) - Int{Real<T>::kBias};
  V mantissa = reinterpret_cast<typename V::Native>((bits & fraction) | one);
  const Mask large = mantissa > V(T(1.4142135623730951));
  exponent -= large;  // true is -1
  mantissa = select<T>(large, mantissa * V(T(0.5)), mantissa);
  const V s = (mantissa - V(T(1))) / (mantissa + V(T(1))), s2 = s * s;
  V series = V::zero();
  for (int k = Real<T>::kTerms - 1; k >= 0; --k) series = series * s2 + V(T(1.0 / (2 * k + 1)));
  const V whole = V(__builtin_convertvector(exponent, typename V::Native));
  return whole * V(T(0.6931471805599453)) + V(T(2)) * s * series;
}

// cos and sin of 2 pi v for 0 <= v < 1.
template <class T>
MK_INLINE void circle(Vec<T> v, Vec<T>& cosine, Vec<T>& sine) {
  using V = Vec<T>;
  using Mask = typename V::Mask;
  using Int = typename V::Int;
  const V turns = v * V(T(4));
  const Mask quadrant = __builtin_convertvector((turns + V(T(0.5))).v, Mask);
  const V rest = turns - V(__builtin_convertvector(quadrant, typename V::Native));
  const V angle = rest * V(T(1.5707963267948966)), square = angle * angle;
  V c = V(T(1)), s = V(T(1));  // 1 - a^2 / (1 2) (1 - a^2 / (3 4) (1 - ...
  for (int k = Real<T>::kTerms - 1; k > 0; --k) {
    c = V(T(1)) - square * V(T(1.0 / ((2 * k - 1) * (2 * k)))) * c;
    s = V(T(1)) - square * V(T(1.0 / ((2 * k) * (2 * k + 1)))) * s;
  }
  s *= angle;
  const Mask odd = (quadrant & Int{1}) != 0;
  const Mask flip_c = ((quadrant + Int{1}) & Int{2}) != 0, flip_s = (quadrant & Int{2}) != 0;
  cosine = select<T>(odd, s, c);
  sine = select<T>(odd, c, s);
  cosine = select<T>(flip_c, -cosine, cosine);
  sine = select<T>(flip_s, -sine, sine);
}

// Calls group(first block, first element, number of elements) for each group of words.
template <class Group>
MK_INLINE void for_each_group(uint64_t offset, int64_t count, int64_t per_group, Group group) {
  const int64_t groups = (count + per_group - 1) / per_group;
  const int64_t tasks = (groups + kGroupsPerTask - 1) / kGroupsPerTask;
  parallel_for(tasks, 8 * count, [&](int64_t task, int) {
    const int64_t end = (task + 1) * kGroupsPerTask;
    for (int64_t g = task * kGroupsPerTask; g < end && g < groups; ++g) {
      const int64_t at = g * per_group;
      group(offset + static_cast<uint64_t>(g) * kBlocks, at,
            count - at < per_group ? count - at : per_group);
    }
  });
}

template <class T>
MK_INLINE void copy_numbers(const T* from, T* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i];
}

template <class T>
void uniform_of(const RandomArgs& a) {
  const T shift = static_cast<T>(a.shift), scale = static_cast<T>(a.scale);
  const T below = static_cast<T>(a.below);
  for_each_group(a.offset, a.count, kNumbers<T>, [&](uint64_t block, int64_t at, int64_t count) {
    uint32_t words[kWords];
    T u[kNumbers<T>];
    random_words(a.seed, block, words);
    uniform_numbers(words, u);
    for (int i = 0; i < kNumbers<T>; ++i) {
      const T value = shift + scale * u[i];
      u[i] = value < below ? value : below;
    }
    copy_numbers(u, static_cast<T*>(a.y) + at, count);
  });
}

template <class T>
void normal_of(const RandomArgs& a) {
  using V = Vec<T>;
  constexpr int kPairs = kNumbers<T> / 2;
  const V shift = V(static_cast<T>(a.shift)), scale = V(static_cast<T>(a.scale));
  for_each_group(a.offset, a.count, kNumbers<T>, [&](uint64_t block, int64_t at, int64_t count) {
    uint32_t words[kWords];
    T numbers[kNumbers<T>], u[kPairs], v[kPairs];
    random_words(a.seed, block, words);
    uniform_numbers(words, numbers);
    for (int i = 0; i < kPairs; ++i) {
      u[i] = 1 - numbers[2 * i];
      v[i] = numbers[2 * i + 1];
    }
    for (int i = 0; i < kPairs; i += V::kLanes) {
      const V radius = sqrt(V(T(-2)) * log_of<T>(V::load(u + i)));
      V cosine, sine;
      circle<T>(V::load(v + i), cosine, sine);
      (shift + scale * (radius * cosine)).store(u + i);
      (shift + scale * (radius * sine)).store(v + i);
    }
    for (int i = 0; i < kPairs; ++i) {
      numbers[2 * i] = u[i];
      numbers[2 * i + 1] = v[i];
    }
    copy_numbers(numbers, static_cast<T*>(a.y) + at, count);
  });
}

template <class T>
void dropout_of(const DropoutArgs& a) {
  const bool none = a.threshold >> 32 != 0;
  const auto threshold = static_cast<uint32_t>(none ? UINT32_MAX : a.threshold);
  const uint32_t kept = none ? 0 : 1;
  const T scale = static_cast<T>(a.scale);
  for_each_group(a.offset, a.count, kWords, [&](uint64_t block, int64_t at, int64_t count) {
    uint32_t words[kWords];
    random_words(a.seed, block, words);
    uint8_t keep[kWords];
    T factor[kWords];
    for (int i = 0; i < kWords; ++i) words[i] = words[i] >= threshold ? kept : 0;
    for (int i = 0; i < kWords; ++i) factor[i] = scale * static_cast<T>(int32_t(words[i]));
    for (int i = 0; i < kWords; ++i) keep[i] = static_cast<uint8_t>(words[i]);
    const T* x = static_cast<const T*>(a.x) + at;
    T* y = static_cast<T*>(a.y) + at;
    if (count == kWords) {  // a number the compiler knows
      for (int i = 0; i < kWords; ++i) y[i] = x[i] * factor[i];
      for (int i = 0; i < kWords; ++i) a.mask[at + i] = keep[i];
      return;
    }
    for (int64_t i = 0; i < count; ++i) y[i] = x[i] * factor[i];
    copy_numbers(keep, a.mask + at, count);
  });
}

constexpr int64_t kRun = 4096;  // elements of a task

template <class T>
void apply_mask_of(const MaskArgs& a) {
  const T* dy = a.dy.as<const T>();
  const uint8_t* mask = a.mask.as<const uint8_t>();
  T* dx = static_cast<T*>(a.dx);
  const T scale = static_cast<T>(a.scale);
  const TensorView& v = a.dy;
  bool same = true;
  for (int i = 0; i < v.rank; ++i) same &= v.shape[i] == 1 || v.strides[i] == a.mask.strides[i];
  if (same) {
    parallel_for((v.count + kRun - 1) / kRun, v.count, [&](int64_t task, int) {
      const int64_t end = v.count < (task + 1) * kRun ? v.count : (task + 1) * kRun;
      for (int64_t i = task * kRun; i < end; ++i) dx[i] = dy[i] * (mask[i] != 0 ? scale : T(0));
    });
    return;
  }
  // Different memory formats, so the rank is 3 or more: by runs along the last axis.
  const int last = v.rank - 1;
  parallel_for(v.count / v.shape[last], v.count, [&](int64_t run, int) {
    int64_t offset = 0, mask_offset = 0, rest = run;
    for (int i = last - 1; i >= 0; --i) {
      offset += rest % v.shape[i] * v.strides[i];
      mask_offset += rest % v.shape[i] * a.mask.strides[i];
      rest /= v.shape[i];
    }
    for (int64_t i = 0; i < v.shape[last]; ++i) {
      const int64_t at = offset + i * v.strides[last];
      const bool keep = mask[mask_offset + i * a.mask.strides[last]] != 0;
      dx[at] = dy[at] * (keep ? scale : T(0));
    }
  });
}

void uniform(const RandomArgs& a) {
  a.dtype == Dtype::f32 ? uniform_of<float>(a) : uniform_of<double>(a);
}

void normal(const RandomArgs& a) {
  a.dtype == Dtype::f32 ? normal_of<float>(a) : normal_of<double>(a);
}

void dropout(const DropoutArgs& a) {
  a.dtype == Dtype::f32 ? dropout_of<float>(a) : dropout_of<double>(a);
}

void apply_mask(const MaskArgs& a) {
  a.dtype == Dtype::f32 ? apply_mask_of<float>(a) : apply_mask_of<double>(a);
}

}  // namespace

extern const RandomKernels random_kernels;
constinit const RandomKernels random_kernels = {
    .uniform = uniform,
    .normal = normal,
    .dropout = dropout,
    .apply_mask = apply_mask,
};

}  // namespace medkern::MK_ISA
