// Copies on the CPU.
//
//   y[i] = x[i], over any strides and between any types.
//
// Runs that are contiguous on both sides are moved as they are. Where y runs along one dimension
// and x along another (contiguous to channels-last, a transpose), tiles of kLanes x kLanes elements
// are turned in registers, so that every cache line is read and written whole; blocks of tiles are
// tasks, and tiles follow each other along the side that takes small steps. Everything else goes
// element by element along y. Memory  x read once, y written once.
#include "kernels/copy/copy.h"

#include "core/parallel.h"
#include "cpu/half.h"
#include "cpu/shuffle.h"
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

// Between the types of kernels; 16-bit ones go by float32, or by an odd float32 (cpu/half.h).
template <class To, class From>
MK_INLINE To convert(From value, bool to_bool) {
  if constexpr (is_half_type<From>) {
    return convert<To, float>(to_float(value), to_bool);
  } else if constexpr (is_half_type<To>) {
    To half;
    from_float(odd_float(value), half);
    return half;
  } else {
    constexpr bool kFromFloat = From(0.5f) != From(0), kToFloat = To(0.5f) != To(0);
    if (sizeof(To) == 1 && to_bool) return value != From(0);
    if constexpr (kFromFloat && !kToFloat) return to_integer<To>(value);
    return static_cast<To>(value);
  }
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

// Numbers that are moved as bits: vectors of floats load, shuffle and store them as they are.
template <class T>
struct Carrier;
template <>
struct Carrier<uint32_t> {
  using Type = float;
};
template <>
struct Carrier<uint64_t> {
  using Type = double;
};

constexpr int64_t kBlock = 128;  // elements of a side of a task's block

// y[j y_step + i] = x[j + i x_step] for a block of i and j.
template <class T>
void move_block(const T* x, int64_t x_step, T* y, int64_t y_step, int64_t i_count,
                int64_t j_count) {
  constexpr int64_t kTile = Vec<T>::kLanes;
  const int64_t i_whole = i_count / kTile * kTile, j_whole = j_count / kTile * kTile;
  const auto tile = [&](int64_t i, int64_t j) {
    turn_tile(x + i * x_step + j, x_step, y + j * y_step + i, y_step);
  };
  if (x_step > y_step) {
    for (int64_t i = 0; i < i_whole; i += kTile)
      for (int64_t j = 0; j < j_whole; j += kTile) tile(i, j);
  } else {
    for (int64_t j = 0; j < j_whole; j += kTile)
      for (int64_t i = 0; i < i_whole; i += kTile) tile(i, j);
  }
  const auto rest = [&](int64_t i_begin, int64_t i_end, int64_t j_begin, int64_t j_end) {
    for (int64_t j = j_begin; j < j_end; ++j) {
      for (int64_t i = i_begin; i < i_end; ++i) y[j * y_step + i] = x[i * x_step + j];
    }
  };
  rest(i_whole, i_count, 0, j_whole);
  rest(0, i_count, j_whole, j_count);
}

// y runs along the inner dimension, x along dimension `other`.
template <class T>
void copy_transposed(const CopyArgs& a, int other) {
  const Loops& l = a.loops;
  const int inner = l.rank - 1;
  const int64_t x_step = l.stride[1][inner], y_step = l.stride[0][other];
  int64_t outer = 1;
  for (int i = 0; i < inner; ++i) outer *= i == other ? 1 : l.size[i];
  const int64_t i_blocks = (l.size[inner] + kBlock - 1) / kBlock;
  const int64_t j_blocks = (l.size[other] + kBlock - 1) / kBlock;
  const int64_t tasks = outer * i_blocks * j_blocks;
  parallel_for(tasks, outer * l.size[inner] * l.size[other], [&](int64_t task, int) {
    const int64_t first_i = task % i_blocks * kBlock;
    const int64_t first_j = task / i_blocks % j_blocks * kBlock;
    const T* x = static_cast<const T*>(a.x) + first_i * x_step + first_j;
    T* y = static_cast<T*>(a.y) + first_j * y_step + first_i;
    for (int64_t i = inner - 1, rest = task / i_blocks / j_blocks; i >= 0; --i) {
      if (i == other) continue;
      x += rest % l.size[i] * l.stride[1][i];
      y += rest % l.size[i] * l.stride[0][i];
      rest /= l.size[i];
    }
    move_block(x, x_step, y, y_step, smaller(kBlock, l.size[inner] - first_i),
               smaller(kBlock, l.size[other] - first_j));
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
    case Dtype::f16:
      return copy_runs<To, Float16>(a);
    case Dtype::bf16:
      return copy_runs<To, Bfloat16>(a);
  }
}

// Elements of one size are moved as integers: bits, NaN and denormals stay as they are.
template <class T>
void move(const CopyArgs& a) {
  if constexpr (sizeof(T) > 2) {
    const int other = transposed_dimension(a.loops);
    if (other >= 0 && a.loops.stride[0][a.loops.rank - 1] == 1) {
      return copy_transposed<typename Carrier<T>::Type>(a, other);
    }
  }
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
    return size == 1   ? move<uint8_t>(a)
           : size == 2 ? move<uint16_t>(a)
           : size == 4 ? move<uint32_t>(a)
                       : move<uint64_t>(a);
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
    case Dtype::f16:
      return copy_to<Float16>(a);
    case Dtype::bf16:
      return copy_to<Bfloat16>(a);
  }
}

// A copy of one number that is broadcast.
void fill(const FillArgs& a) { copy({a.loops, a.y, &a.value, a.dtype, Dtype::f64, a.to_bool}); }

}  // namespace

extern const CopyKernels copy_kernels;
constinit const CopyKernels copy_kernels = {
    .copy = copy,
    .fill = fill,
    .pad = pad,
    .pad_backward = pad_backward,
};

}  // namespace medkern::MK_ISA
