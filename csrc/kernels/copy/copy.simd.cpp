// Copies on the CPU.
//
//   y[i] = x[i], over any strides and between any types.
//
// Runs that are contiguous on both sides are moved as they are. Where y runs along one dimension
// and x along another (contiguous to channels-last, a transpose), blocks of both are moved so that
// every cache line is used whole. Everything else goes element by element along y. Memory  x read
// once, y written once.
#include "kernels/copy/copy.h"

#include "core/parallel.h"
#include "kernels/loops.simd.h"

namespace medkern::MK_ISA {

void pad(const PadArgs& args);
void pad_backward(const PadArgs& args);

namespace {

// The nearest value of an integer type; NaN becomes 0.
template <class To, class From>
MK_INLINE To to_integer(From value) {
  // 2^63 and 2^31 are floats, the largest integers below them may not be: compare with the powers.
  constexpr From kAbove = static_cast<From>(sizeof(To) == 8   ? 9223372036854775808.0
                                            : sizeof(To) == 4 ? 2147483648.0
                                                              : 256.0);
  constexpr From kLowest = sizeof(To) == 1 ? From(0) : -kAbove;
  constexpr To kMost = static_cast<To>(sizeof(To) == 8   ? INT64_MAX
                                       : sizeof(To) == 4 ? INT32_MAX
                                                         : UINT8_MAX);
  if (value != value) return 0;
  if (value >= kAbove) return kMost;
  if (value <= kLowest) return sizeof(To) == 1 ? To(0) : static_cast<To>(-kMost - 1);
  return static_cast<To>(value);
}

template <class To, class From>
MK_INLINE To convert(From value, bool to_bool) {
  constexpr bool kFromFloat = From(0.5f) != From(0), kToFloat = To(0.5f) != To(0);
  if (sizeof(To) == 1 && to_bool) return value != From(0);
  if constexpr (kFromFloat && !kToFloat) return to_integer<To>(value);
  return static_cast<To>(value);
}

// The dimension along which x is contiguous, -1 if there is none or y is too.
int transposed_dimension(const Loops& loops) {
  const int inner = loops.rank - 1;
  if (loops.stride[1][inner] <= 1) return -1;
  for (int i = 0; i < inner; ++i) {
    if (loops.stride[1][i] == 1) return i;
  }
  return -1;
}

constexpr int64_t kBlock = 16;  // a cache line of floats

// y runs along the inner dimension, x along dimension `other`: one task per kBlock x kBlock column
// of blocks.
template <class T>
void copy_transposed(const CopyArgs& a, int other) {
  const Loops& l = a.loops;
  const int inner = l.rank - 1;
  const int64_t inner_size = l.size[inner], other_size = l.size[other];
  const int64_t x_step = l.stride[1][inner], y_step = l.stride[0][other];
  int64_t outer = 1;
  for (int i = 0; i < inner; ++i) outer *= i == other ? 1 : l.size[i];
  const int64_t strips = (other_size + kBlock - 1) / kBlock;
  parallel_for(outer * strips, outer * inner_size * other_size, [&](int64_t task, int) {
    const int64_t begin = task % strips * kBlock;
    const int64_t end = begin + kBlock < other_size ? begin + kBlock : other_size;
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    for (int64_t i = inner - 1, rest = task / strips; i >= 0; --i) {
      if (i == other) continue;
      x += rest % l.size[i] * l.stride[1][i];
      y += rest % l.size[i] * l.stride[0][i];
      rest /= l.size[i];
    }
    for (int64_t first = 0; first < inner_size; first += kBlock) {
      const int64_t last = first + kBlock < inner_size ? first + kBlock : inner_size;
      for (int64_t j = begin; j < end; ++j) {
        for (int64_t i = first; i < last; ++i) y[j * y_step + i] = x[j + i * x_step];
      }
    }
  });
}

template <class To, class From>
void copy_runs(const CopyArgs& a) {
  const int64_t y_step = a.loops.stride[0][a.loops.rank - 1];
  const int64_t x_step = a.loops.stride[1][a.loops.rank - 1];
  for_each_run<2>(a.loops, 1, [&](const int64_t offset[2], int64_t n) {
    To* y = static_cast<To*>(a.y) + offset[0];
    const From* x = static_cast<const From*>(a.x) + offset[1];
    if (y_step == 1 && x_step == 1) {
      for (int64_t i = 0; i < n; ++i) y[i] = convert<To>(x[i], a.to_bool);
    } else {
      for (int64_t i = 0; i < n; ++i) y[i * y_step] = convert<To>(x[i * x_step], a.to_bool);
    }
  });
}

template <class To>
void copy_to(const CopyArgs& a) {
  switch (a.x_dtype) {
    case Dtype::f32:
      return copy_runs<To, float>(a);
    case Dtype::f64:
      return copy_runs<To, double>(a);
    case Dtype::i32:
      return copy_runs<To, int32_t>(a);
    case Dtype::i64:
      return copy_runs<To, int64_t>(a);
    case Dtype::u8:
      return copy_runs<To, uint8_t>(a);
  }
}

// Elements of one size are moved as integers: bits, NaN and denormals stay as they are.
template <class T>
void move(const CopyArgs& a) {
  const int other = transposed_dimension(a.loops);
  if (other >= 0 && a.loops.stride[0][a.loops.rank - 1] == 1) return copy_transposed<T>(a, other);
  const int64_t y_step = a.loops.stride[0][a.loops.rank - 1];
  const int64_t x_step = a.loops.stride[1][a.loops.rank - 1];
  for_each_run<2>(a.loops, 1, [&](const int64_t offset[2], int64_t n) {
    T* y = static_cast<T*>(a.y) + offset[0];
    const T* x = static_cast<const T*>(a.x) + offset[1];
    if (y_step == 1 && x_step == 1) {
      __builtin_memcpy(y, x, n * sizeof(T));
    } else {
      for (int64_t i = 0; i < n; ++i) y[i * y_step] = x[i * x_step];
    }
  });
}

void copy(const CopyArgs& a) {
  if (a.x_dtype == a.y_dtype && !a.to_bool) {
    const size_t size = size_of(a.y_dtype);
    return size == 1 ? move<uint8_t>(a) : size == 4 ? move<uint32_t>(a) : move<uint64_t>(a);
  }
  switch (a.y_dtype) {
    case Dtype::f32:
      return copy_to<float>(a);
    case Dtype::f64:
      return copy_to<double>(a);
    case Dtype::i32:
      return copy_to<int32_t>(a);
    case Dtype::i64:
      return copy_to<int64_t>(a);
    case Dtype::u8:
      return copy_to<uint8_t>(a);
  }
}

}  // namespace

extern const CopyKernels copy_kernels;
constinit const CopyKernels copy_kernels = {
    .copy = copy,
    .pad = pad,
    .pad_backward = pad_backward,
};

}  // namespace medkern::MK_ISA
