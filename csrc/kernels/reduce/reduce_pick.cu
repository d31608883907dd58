// Elements at given indices on the device, their gradient, and the check of indices.
//
//   y[kept] = x[kept, index[kept]]        dx[kept, i] = i == index[kept] ? dy[kept] : 0
//
// A thread per element of the result, so that dx is written once. An index out of range takes 0 and
// puts nothing; the check reports it.
// Memory  every operand once; indices and dy stay in the caches where they serve many elements.
#include "cuda/loops.h"
#include "kernels/reduce/reduce.cuda.h"

namespace medkern::cuda {
namespace {

template <class T>
MK_INLINE void take(const TakeKernelArgs& args) {
  constexpr int steps = scalar_steps(3);
  uint32_t step[steps];
  int64_t offset[steps][3];
  own_steps(step);
  find_steps(args.kept, step, offset);
#pragma unroll
  for (int u = 0; u < steps; ++u) {
    if (step[u] >= args.kept.count) continue;
    const int64_t index = args.indices[offset[u][2]];
    T value = 0;
    if (index >= 0 && index < args.elements) {
      auto rest = static_cast<uint32_t>(index);
      int64_t place = offset[u][0];
      for (int axis = 0; axis < args.rank; ++axis) {
        place += args.size[axis].take(rest) * args.stride[axis];
      }
      value = static_cast<const T*>(args.x)[place];
    }
    static_cast<T*>(args.y)[offset[u][1]] = value;
  }
}

template <class T>
MK_INLINE void put(const PutKernelArgs& args) {
  constexpr int steps = scalar_steps(4);
  uint32_t step[steps];
  int64_t offset[steps][4];
  own_steps(step);
  find_steps(args.walk, step, offset);
#pragma unroll
  for (int u = 0; u < steps; ++u) {
    if (step[u] >= args.walk.count) continue;
    const bool here = args.indices[offset[u][2]] == offset[u][3];
    static_cast<T*>(args.dx)[offset[u][0]] =
        here ? static_cast<const T*>(args.dy)[offset[u][1]] : T(0);
  }
}

template <class T>
MK_INLINE void inside(const InsideKernelArgs& args) {
  constexpr int steps = scalar_steps(1);
  uint32_t step[steps];
  int64_t offset[steps][1];
  own_steps(step);
  find_steps(args.walk, step, offset);
#pragma unroll
  for (int u = 0; u < steps; ++u) {
    if (step[u] >= args.walk.count) continue;
    const int64_t value = static_cast<const T*>(args.x)[offset[u][0]];
    if (value < args.low || value > args.high)
      *static_cast<volatile uint32_t*>(args.fault) = args.number;
  }
}

}  // namespace

MK_KERNEL(reduce_take_f32, TakeKernelArgs, 256) { take<float>(args); }
MK_KERNEL(reduce_take_f64, TakeKernelArgs, 256) { take<double>(args); }
MK_KERNEL(reduce_put_f32, PutKernelArgs, 256) { put<float>(args); }
MK_KERNEL(reduce_put_f64, PutKernelArgs, 256) { put<double>(args); }
MK_KERNEL(reduce_inside_u8, InsideKernelArgs, 256) { inside<uint8_t>(args); }
MK_KERNEL(reduce_inside_i32, InsideKernelArgs, 256) { inside<int32_t>(args); }
MK_KERNEL(reduce_inside_i64, InsideKernelArgs, 256) { inside<int64_t>(args); }

}  // namespace medkern::cuda
