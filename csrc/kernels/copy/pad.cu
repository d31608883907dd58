// Padding on the device, forward and backward.
//
//   y[i] = x[source(i)], or the value where source(i) lies outside of x
//   dx[s] = sum of dy[i] over source(i) = s, in row-major order
//
// Forward: a thread per vector of y where the innermost axis isn't padded (channels-last), else per
// element. The backward pass of constant padding is padding by the negative amounts with 0. The
// others gather: along an axis, at most three places of dy come from one of dx with reflection and
// wrapping, a stretch at the borders with replication; away from borders one.
// Memory  y (dy) once, x (dx) once. Exact forward; backward one addition per element of dy.
#include "cuda/loops.h"
#include "kernels/copy/copy.cuda.h"

namespace medkern::cuda {
namespace {

// In the order of mk_pad_mode.
enum { kConstant, kReflect, kReplicate, kCircular };

// Where position i of y comes from along an axis of x of this size; outside of it for the constant.
MK_INLINE int32_t source(int32_t mode, int32_t i, int32_t before, int32_t size) {
  const int32_t at = i - before;
  if (at >= 0 && at < size) return at;
  switch (mode) {
    case kReflect:
      return at < 0 ? -at : 2 * (size - 1) - at;
    case kReplicate:
      return at < 0 ? 0 : size - 1;
    case kCircular:
      return at < 0 ? at + size : at - size;
  }
  return -1;
}

template <class T, int lanes>
MK_INLINE void pad_elements(const PadKernelArgs& args) {
  const uint32_t first = blockIdx.x * (kVectorSteps * kWalkThreads) + threadIdx.x;
  uint32_t rest[kVectorSteps];
  int64_t from[kVectorSteps], to[kVectorSteps];
  bool inside[kVectorSteps];
#pragma unroll
  for (int u = 0; u < kVectorSteps; ++u) {
    rest[u] = first + u * kWalkThreads;
    inside[u] = rest[u] < args.count;
    from[u] = to[u] = 0;
  }
#pragma unroll 1
  for (int axis = 0; axis < args.rank; ++axis) {
#pragma unroll
    for (int u = 0; u < kVectorSteps; ++u) {
      const auto at = static_cast<int32_t>(args.y_size[axis].take(rest[u]));
      const int32_t place = source(args.mode, at, args.before[axis], args.x_size[axis]);
      inside[u] &= place >= 0;
      from[u] += place * args.x_stride[axis];
      to[u] += at * args.y_stride[axis];
    }
  }
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  Pack<T, lanes> value[kVectorSteps];
#pragma unroll
  for (int u = 0; u < kVectorSteps; ++u) {
    if (inside[u]) {
      value[u] = load_pack<lanes>(x + from[u]);
    } else {
      for (int i = 0; i < lanes; ++i) value[u].at[i] = T(static_cast<Wide<T>>(args.value));
    }
  }
#pragma unroll
  for (int u = 0; u < kVectorSteps; ++u) {
    if (first + u * kWalkThreads < args.count) store_pack<lanes>(y + to[u], value[u]);
  }
}

template <class T>
MK_INLINE void pad_forward(const PadKernelArgs& args) {
  if (args.lanes > 1) {
    pad_elements<T, vector_lanes(sizeof(T))>(args);
  } else {
    pad_elements<T, 1>(args);
  }
}

// The places of dy along an axis that come from place `at` of dx, in order: place(first) ..
// place(first + count - 1). An axis that isn't padded has one.
struct Places {
  int32_t mode, at, before, size, first, count;

  MK_INLINE Places(const UnpadKernelArgs& args, int axis, uint32_t& rest)
      : mode(args.mode), before(args.before[axis]) {
    at = static_cast<int32_t>(args.x_size[axis].take(rest));
    size = static_cast<int32_t>(args.x_size[axis].divisor);
    const int32_t y_size = args.y_size[axis];
    if (mode == kReplicate) {
      first = at == 0 ? 0 : before + at;
      count = (at == size - 1 ? y_size : before + at + 1) - first;
    } else {
      // Of before, in and behind the inside of dy, the one in the middle always exists.
      const bool low = mode == kReflect ? at > 0 && at <= before : at + before >= size;
      const bool high = mode == kReflect ? at < size - 1 && place(2) < y_size : place(2) < y_size;
      first = low ? 0 : 1;
      count = 1 + low + high;
    }
  }
  MK_INLINE int32_t place(int32_t k) const {
    switch (mode) {
      case kReflect:
        return before + (k == 0 ? -at : k == 1 ? at : 2 * (size - 1) - at);
      case kCircular:
        return before + at + (k - 1) * size;
    }
    return k;
  }
};

template <class T>
MK_INLINE void pad_gather(const UnpadKernelArgs& args) {
  const uint32_t flat = blockIdx.x * kWalkThreads + threadIdx.x;
  if (flat >= args.count) return;
  uint32_t rest = flat;
  int64_t to = 0, combinations = 1;
#pragma unroll 1
  for (int axis = 0; axis < args.rank; ++axis) {
    const Places places(args, axis, rest);
    to += places.at * args.x_stride[axis];
    combinations *= places.count;
  }
  // The innermost axis is the fastest, so every sum is in the order of dy.
  const T* dy = static_cast<const T*>(args.dy);
  Wide<T> sum = 0;
  for (int64_t combination = 0; combination < combinations; ++combination) {
    int64_t choice = combination, from = 0;
    rest = flat;
#pragma unroll 1
    for (int axis = 0; axis < args.rank; ++axis) {
      const Places places(args, axis, rest);
      int32_t k = places.first;
      if (places.count > 1) {
        k += static_cast<int32_t>(choice % places.count);
        choice /= places.count;
      }
      from += places.place(k) * args.y_stride[axis];
    }
    sum += Wide<T>(dy[from]);
  }
  static_cast<T*>(args.dx)[to] = T(sum);
}

}  // namespace

MK_KERNEL(pad_forward_f32, PadKernelArgs, 256) { pad_forward<float>(args); }
MK_KERNEL(pad_forward_f64, PadKernelArgs, 256) { pad_forward<double>(args); }
MK_KERNEL(pad_gather_f32, UnpadKernelArgs, 256) { pad_gather<float>(args); }
MK_KERNEL(pad_gather_f64, UnpadKernelArgs, 256) { pad_gather<double>(args); }
MK_KERNEL(pad_forward_f16, PadKernelArgs, 256) { pad_forward<float16>(args); }
MK_KERNEL(pad_gather_f16, UnpadKernelArgs, 256) { pad_gather<float16>(args); }
MK_KERNEL(pad_forward_bf16, PadKernelArgs, 256) { pad_forward<bfloat16>(args); }
MK_KERNEL(pad_gather_bf16, UnpadKernelArgs, 256) { pad_gather<bfloat16>(args); }

}  // namespace medkern::cuda
