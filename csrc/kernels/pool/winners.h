// The numbers by which max pooling remembers winners, a vector at a time. For *.simd.cpp files.
#pragma once

#include "cpu/lanes.h"
#include "kernels/pool/windows.h"

namespace medkern::MK_ISA {
namespace {

// Vectors of indices with as many lanes as a Vec<T>, as they lie in memory.
template <class T>
struct IndexLanes;
template <>
struct IndexLanes<float> {
  typedef uint8_t Bytes __attribute__((vector_size(MK_VECTOR_BYTES / 4), aligned(1), may_alias));
  typedef int64_t Longs __attribute__((vector_size(MK_VECTOR_BYTES * 2), aligned(8), may_alias));
};
template <>
struct IndexLanes<double> {
  typedef uint8_t Bytes __attribute__((vector_size(MK_VECTOR_BYTES / 8), aligned(1), may_alias));
  typedef int64_t Longs __attribute__((vector_size(MK_VECTOR_BYTES), aligned(8), may_alias));
};

// What is stored for a window position: its number (u8) or its flat spatial offset in x (i64). Both
// are base + the sum over the axes of tap * step.
struct Numbering {
  int64_t base, step[3];
  MK_INLINE int64_t operator()(int64_t kd, int64_t kh, int64_t kw) const {
    return base + kd * step[0] + kh * step[1] + kw * step[2];
  }
};

MK_INLINE Numbering numbering_of(const MaxPoolArgs& a, const Taps taps[3]) {
  if (a.index_dtype == Dtype::u8) {
    const int64_t* kernel = a.windows.window.kernel;
    return {0, {kernel[1] * kernel[2], kernel[2], 1}};
  }
  const int64_t w = a.x.size[2], hw = a.x.size[1] * w;
  return {taps[0].start * hw + taps[1].start * w + taps[2].start,
          {taps[0].dilation * hw, taps[1].dilation * w, taps[2].dilation}};
}

// The stored value where a window lies in the padding altogether: position 0 lies there too.
MK_INLINE int64_t no_winner(const MaxPoolArgs& a) { return a.index_dtype == Dtype::u8 ? 0 : -1; }

template <class T>
MK_INLINE typename Vec<T>::Mask all_lanes(int64_t number) {
  return typename Vec<T>::Mask{} + static_cast<typename Vec<T>::Int>(number);
}

// The best of the values that competed, and its number: of equal values the first. `sum` turns NaN
// where one of them was (or infinities of both signs), for then the others may have won wrongly:
// see hold.
template <class T>
struct Contest {
  Vec<T> best, sum;
  typename Vec<T>::Mask number;

  MK_INLINE void start(Vec<T> value, typename Vec<T>::Mask its_number) {
    best = sum = value;
    number = its_number;
  }
  // NaN wins too. A comparison waits for three results of the one before.
  MK_INLINE void compete_exactly(Vec<T> value, typename Vec<T>::Mask its_number) {
    const auto wins = ((value > best) | (value != value)) & (best == best);
    best = select<T>(wins, value, best);
    number = wins ? its_number : number;
  }
  MK_INLINE void compete(Vec<T> value, typename Vec<T>::Mask its_number) {
    const auto wins = value > best;
    sum += value;
    best = select<T>(wins, value, best);
    number = wins ? its_number : number;
  }
};

// Runs round(compete) on the contests, where round calls compete(contest, value, number) for all
// values; does it again with care if there was a NaN.
template <class T, int count, class Start, class Round>
MK_INLINE void hold(Contest<T> (&contests)[count], Start start, Round round) {
  start();
  round([](Contest<T>& contest, Vec<T> value, typename Vec<T>::Mask number) {
    contest.compete(value, number);
  });
  Vec<T> sum = contests[0].sum;
  for (int k = 1; k < count; ++k) sum += contests[k].sum;
  if (!any_lane<T>(sum != sum)) return;
  start();
  round([](Contest<T>& contest, Vec<T> value, typename Vec<T>::Mask number) {
    contest.compete_exactly(value, number);
  });
}

template <class T>
MK_INLINE void store_numbers(const MaxPoolArgs& a, typename Vec<T>::Mask numbers, int64_t at,
                             int64_t lanes) {
  using Bytes = typename IndexLanes<T>::Bytes;
  using Longs = typename IndexLanes<T>::Longs;
  const bool full = lanes == Vec<T>::kLanes;
  if (a.index_dtype == Dtype::u8) {
    uint8_t* to = static_cast<uint8_t*>(a.indices.data) + at;
    if (full) *reinterpret_cast<Bytes*>(to) = __builtin_convertvector(numbers, Bytes);
    for (int64_t i = 0; !full && i < lanes; ++i) to[i] = static_cast<uint8_t>(numbers[i]);
  } else {
    int64_t* to = static_cast<int64_t*>(a.indices.data) + at;
    if (full) *reinterpret_cast<Longs*>(to) = __builtin_convertvector(numbers, Longs);
    for (int64_t i = 0; !full && i < lanes; ++i) to[i] = numbers[i];
  }
}

// One-byte numbers as integer lanes; those past `lanes` are 0.
template <class T>
MK_INLINE typename Vec<T>::Mask load_numbers(const uint8_t* numbers, int64_t lanes) {
  using Bytes = typename IndexLanes<T>::Bytes;
  Bytes bytes{};
  if (lanes == Vec<T>::kLanes) {
    bytes = *reinterpret_cast<const Bytes*>(numbers);
  } else {
    for (int64_t i = 0; i < lanes; ++i) bytes[i] = numbers[i];
  }
  return __builtin_convertvector(bytes, typename Vec<T>::Mask);
}

template <class T>
MK_INLINE Vec<T> where_number_is(typename Vec<T>::Mask numbers, int64_t number, Vec<T> value) {
  return select<T>(numbers == static_cast<typename Vec<T>::Int>(number), value, Vec<T>::zero());
}

}  // namespace
}  // namespace medkern::MK_ISA
