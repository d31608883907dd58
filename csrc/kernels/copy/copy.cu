// Copies on the device.
//
//   y[i] = x[i], over any strides and between any types      y[i] = value
//
// Elements of one size are moved as integers: bits, NaN and denormals stay as they are. Where y is
// contiguous along one axis and x along another (contiguous to channels-last, a transpose), blocks
// turn tiles in shared memory, so that both sides are touched in whole lines; rows are padded so
// that no two lanes meet in a bank. Everything else goes by cuda/loops.h.
// Memory  x read once, y written once.
#include "cuda/half.h"
#include "cuda/loops.h"
#include "kernels/copy/copy.cuda.h"

namespace medkern::cuda {
namespace {

// The nearest value of an integer type; NaN becomes 0. As on the CPU: the device's own conversions
// agree on most of it, but not on NaN to 64 bits.
template <class To, class From>
MK_INLINE To to_integer(From value) {
  constexpr From kAbove = static_cast<From>(sizeof(To) == 8   ? 9223372036854775808.0
                                            : sizeof(To) == 4 ? 2147483648.0
                                                              : 256.0);
  constexpr From kLowest = sizeof(To) == 1 ? From(0) : -kAbove;
  constexpr To kMost = static_cast<To>(sizeof(To) == 8   ? 0x7fffffffffffffff
                                       : sizeof(To) == 4 ? 0x7fffffff
                                                         : 0xff);
  if (value != value) return 0;
  if (value >= kAbove) return kMost;
  if (value <= kLowest) return sizeof(To) == 1 ? To(0) : static_cast<To>(-kMost - 1);
  return static_cast<To>(value);
}

template <class To, class From>
MK_INLINE To convert(From value, bool to_bool) {
  if constexpr (is_half<From>) {
    return convert<To, float>(value, to_bool);
  } else if constexpr (is_half<To>) {
    constexpr bool kFromFloat32 = sizeof(From) == 4 && From(0.5f) != From(0);
    return kFromFloat32 ? To(static_cast<float>(value)) : To(odd_float(static_cast<double>(value)));
  } else {
    constexpr bool kFromFloat = From(0.5f) != From(0), kToFloat = To(0.5f) != To(0);
    if (sizeof(To) == 1 && to_bool) return value != From(0);
    if constexpr (kFromFloat && !kToFloat) return to_integer<To>(value);
    return static_cast<To>(value);
  }
}

template <class To, class From>
MK_INLINE void copy_converted(const CopyKernelArgs& args) {
  const bool to_bool = args.to_bool != 0;
  map_elements(
      args.walk, [=](From value) { return convert<To>(value, to_bool); }, static_cast<To*>(args.y),
      static_cast<const From*>(args.x));
}

template <class T>
MK_INLINE void move_elements(const CopyKernelArgs& args) {
  map_elements(
      args.walk, [](T bits) { return bits; }, static_cast<T*>(args.y),
      static_cast<const T*>(args.x));
}

template <class T>
MK_INLINE void fill_elements(const FillKernelArgs& args) {
  const T value = convert<T>(args.value, args.to_bool != 0);
  map_elements(args.walk, [=]() { return value; }, static_cast<T*>(args.y));
}

template <class T>
MK_INLINE void turn_tiles(const TurnKernelArgs& args) {
  constexpr int kEach = kTurned / kTurnedThreads, kBatch = 8;
  const int i_bits = args.i_bits, j_bits = args.j_bits;
  const int pitch = (1 << i_bits) + (j_bits < 5 ? 32 >> j_bits : 1);
  uint32_t rest = blockIdx.x;
  const uint32_t first_i = args.i_tiles.take(rest) << i_bits;
  const uint32_t first_j = args.j_tiles.take(rest) << j_bits;
  const T* x = static_cast<const T*>(args.x) + first_i * args.x_step + first_j;
  T* y = static_cast<T*>(args.y) + first_j * args.y_step + first_i;
  for (int axis = 0; axis < args.outer_rank; ++axis) {
    const uint32_t at = args.outer[axis].take(rest);
    x += at * args.outer_x[axis];
    y += at * args.outer_y[axis];
  }
  const int i_count = static_cast<int>(args.i_size - first_i);
  const int j_count = static_cast<int>(args.j_size - first_j);
  T* tile = shared<T>();
  for (int batch = 0; batch < kEach; batch += kBatch) {
    T value[kBatch];
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      const int at = (batch + u) * kTurnedThreads + static_cast<int>(threadIdx.x);
      const int j = at & ((1 << j_bits) - 1), i = at >> j_bits;
      value[u] = i < i_count && j < j_count ? x[i * args.x_step + j] : T(0);
    }
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      const int at = (batch + u) * kTurnedThreads + static_cast<int>(threadIdx.x);
      tile[(at & ((1 << j_bits) - 1)) * pitch + (at >> j_bits)] = value[u];
    }
  }
  __syncthreads();
#pragma unroll
  for (int u = 0; u < kEach; ++u) {
    const int at = u * kTurnedThreads + static_cast<int>(threadIdx.x);
    const int i = at & ((1 << i_bits) - 1), j = at >> i_bits;
    if (i < i_count && j < j_count) y[j * args.y_step + i] = tile[j * pitch + i];
  }
}

}  // namespace

MK_KERNEL(copy_move_1, CopyKernelArgs, 256) { move_elements<uint8_t>(args); }
MK_KERNEL(copy_move_2, CopyKernelArgs, 256) { move_elements<uint16_t>(args); }
MK_KERNEL(copy_move_4, CopyKernelArgs, 256) { move_elements<uint32_t>(args); }
MK_KERNEL(copy_move_8, CopyKernelArgs, 256) { move_elements<uint64_t>(args); }

MK_KERNEL(copy_turn_1, TurnKernelArgs, 256) { turn_tiles<uint8_t>(args); }
MK_KERNEL(copy_turn_2, TurnKernelArgs, 256) { turn_tiles<uint16_t>(args); }
MK_KERNEL(copy_turn_4, TurnKernelArgs, 256) { turn_tiles<uint32_t>(args); }
MK_KERNEL(copy_turn_8, TurnKernelArgs, 256) { turn_tiles<uint64_t>(args); }

MK_KERNEL(copy_fill_f32, FillKernelArgs, 256) { fill_elements<float>(args); }
MK_KERNEL(copy_fill_f64, FillKernelArgs, 256) { fill_elements<double>(args); }
MK_KERNEL(copy_fill_i32, FillKernelArgs, 256) { fill_elements<int32_t>(args); }
MK_KERNEL(copy_fill_i64, FillKernelArgs, 256) { fill_elements<int64_t>(args); }
MK_KERNEL(copy_fill_u8, FillKernelArgs, 256) { fill_elements<uint8_t>(args); }
MK_KERNEL(copy_fill_f16, FillKernelArgs, 256) { fill_elements<float16>(args); }
MK_KERNEL(copy_fill_bf16, FillKernelArgs, 256) { fill_elements<bfloat16>(args); }

// copy_<from>_<to>
MK_KERNEL(copy_f32_f64, CopyKernelArgs, 256) { copy_converted<double, float>(args); }
MK_KERNEL(copy_f32_i32, CopyKernelArgs, 256) { copy_converted<int32_t, float>(args); }
MK_KERNEL(copy_f32_i64, CopyKernelArgs, 256) { copy_converted<int64_t, float>(args); }
MK_KERNEL(copy_f32_u8, CopyKernelArgs, 256) { copy_converted<uint8_t, float>(args); }
MK_KERNEL(copy_f64_f32, CopyKernelArgs, 256) { copy_converted<float, double>(args); }
MK_KERNEL(copy_f64_i32, CopyKernelArgs, 256) { copy_converted<int32_t, double>(args); }
MK_KERNEL(copy_f64_i64, CopyKernelArgs, 256) { copy_converted<int64_t, double>(args); }
MK_KERNEL(copy_f64_u8, CopyKernelArgs, 256) { copy_converted<uint8_t, double>(args); }
MK_KERNEL(copy_i32_f32, CopyKernelArgs, 256) { copy_converted<float, int32_t>(args); }
MK_KERNEL(copy_i32_f64, CopyKernelArgs, 256) { copy_converted<double, int32_t>(args); }
MK_KERNEL(copy_i32_i64, CopyKernelArgs, 256) { copy_converted<int64_t, int32_t>(args); }
MK_KERNEL(copy_i32_u8, CopyKernelArgs, 256) { copy_converted<uint8_t, int32_t>(args); }
MK_KERNEL(copy_i64_f32, CopyKernelArgs, 256) { copy_converted<float, int64_t>(args); }
MK_KERNEL(copy_i64_f64, CopyKernelArgs, 256) { copy_converted<double, int64_t>(args); }
MK_KERNEL(copy_i64_i32, CopyKernelArgs, 256) { copy_converted<int32_t, int64_t>(args); }
MK_KERNEL(copy_i64_u8, CopyKernelArgs, 256) { copy_converted<uint8_t, int64_t>(args); }
MK_KERNEL(copy_u8_f32, CopyKernelArgs, 256) { copy_converted<float, uint8_t>(args); }
MK_KERNEL(copy_u8_f64, CopyKernelArgs, 256) { copy_converted<double, uint8_t>(args); }
MK_KERNEL(copy_u8_i32, CopyKernelArgs, 256) { copy_converted<int32_t, uint8_t>(args); }
MK_KERNEL(copy_u8_i64, CopyKernelArgs, 256) { copy_converted<int64_t, uint8_t>(args); }
MK_KERNEL(copy_u8_u8, CopyKernelArgs, 256) { copy_converted<uint8_t, uint8_t>(args); }
MK_KERNEL(copy_f32_f16, CopyKernelArgs, 256) { copy_converted<float16, float>(args); }
MK_KERNEL(copy_f32_bf16, CopyKernelArgs, 256) { copy_converted<bfloat16, float>(args); }
MK_KERNEL(copy_f64_f16, CopyKernelArgs, 256) { copy_converted<float16, double>(args); }
MK_KERNEL(copy_f64_bf16, CopyKernelArgs, 256) { copy_converted<bfloat16, double>(args); }
MK_KERNEL(copy_i32_f16, CopyKernelArgs, 256) { copy_converted<float16, int32_t>(args); }
MK_KERNEL(copy_i32_bf16, CopyKernelArgs, 256) { copy_converted<bfloat16, int32_t>(args); }
MK_KERNEL(copy_i64_f16, CopyKernelArgs, 256) { copy_converted<float16, int64_t>(args); }
MK_KERNEL(copy_i64_bf16, CopyKernelArgs, 256) { copy_converted<bfloat16, int64_t>(args); }
MK_KERNEL(copy_u8_f16, CopyKernelArgs, 256) { copy_converted<float16, uint8_t>(args); }
MK_KERNEL(copy_u8_bf16, CopyKernelArgs, 256) { copy_converted<bfloat16, uint8_t>(args); }
MK_KERNEL(copy_f16_f32, CopyKernelArgs, 256) { copy_converted<float, float16>(args); }
MK_KERNEL(copy_f16_f64, CopyKernelArgs, 256) { copy_converted<double, float16>(args); }
MK_KERNEL(copy_f16_i32, CopyKernelArgs, 256) { copy_converted<int32_t, float16>(args); }
MK_KERNEL(copy_f16_i64, CopyKernelArgs, 256) { copy_converted<int64_t, float16>(args); }
MK_KERNEL(copy_f16_u8, CopyKernelArgs, 256) { copy_converted<uint8_t, float16>(args); }
MK_KERNEL(copy_f16_bf16, CopyKernelArgs, 256) { copy_converted<bfloat16, float16>(args); }
MK_KERNEL(copy_bf16_f32, CopyKernelArgs, 256) { copy_converted<float, bfloat16>(args); }
MK_KERNEL(copy_bf16_f64, CopyKernelArgs, 256) { copy_converted<double, bfloat16>(args); }
MK_KERNEL(copy_bf16_i32, CopyKernelArgs, 256) { copy_converted<int32_t, bfloat16>(args); }
MK_KERNEL(copy_bf16_i64, CopyKernelArgs, 256) { copy_converted<int64_t, bfloat16>(args); }
MK_KERNEL(copy_bf16_u8, CopyKernelArgs, 256) { copy_converted<uint8_t, bfloat16>(args); }
MK_KERNEL(copy_bf16_f16, CopyKernelArgs, 256) { copy_converted<float16, bfloat16>(args); }

}  // namespace medkern::cuda
