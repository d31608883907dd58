// Functions of two tensors' elements on the CPU, with broadcasting; comparison and choice.
//
//   y = a op b        y = a op b ? 1 : 0        y = mask ? a : b
//
// Runs of the innermost dimension of y; an operand that is broadcast along it has stride 0 there.
// Arithmetic goes a vector at a time, the others are plain loops for the compiler to vectorise.
// Work  one operation per element. Memory  every operand once, large results of arithmetic
// streamed. Rounded once.
#include "kernels/loops.simd.h"
#include "kernels/pointwise/pointwise.h"

namespace medkern::MK_ISA {
namespace {

struct Add {
  template <class V>
  MK_INLINE static V y(V a, V b) {
    return a + b;
  }
};
struct Sub {
  template <class V>
  MK_INLINE static V y(V a, V b) {
    return a - b;
  }
};
struct Mul {
  template <class V>
  MK_INLINE static V y(V a, V b) {
    return a * b;
  }
};
struct Div {
  template <class V>
  MK_INLINE static V y(V a, V b) {
    return a / b;
  }
};
struct Maximum {
  template <class V>
  MK_INLINE static V y(V a, V b) {
    return max(a, b);
  }
};
struct Minimum {
  template <class V>
  MK_INLINE static V y(V a, V b) {
    return min(a, b);
  }
};
struct AddRelu {
  template <class V>
  MK_INLINE static V y(V a, V b) {
    return max(a + b, V::zero());
  }
};

template <class Op, class T>
void binary_of(const BinaryArgs& args) {
  const int inner = args.loops.rank - 1;
  const int64_t stride_y = args.loops.stride[0][inner], stride_a = args.loops.stride[1][inner];
  const int64_t stride_b = args.loops.stride[2][inner];
  const bool streams = streams_runs<T, 3>(args.loops);
  for_each_run<3>(args.loops, 1, [&](const int64_t* offset, int64_t n) {
    map_run<T>(
        n, [](Vec<T> a, Vec<T> b) { return Op::y(a, b); }, static_cast<T*>(args.y) + offset[0],
        stride_y, static_cast<const T*>(args.a) + offset[1], stride_a,
        static_cast<const T*>(args.b) + offset[2], stride_b, streams);
  });
}

using BinaryKernel = void (*)(const BinaryArgs&);

// In the order of mk_binary_op.
template <class T>
constexpr BinaryKernel kBinary[] = {
    binary_of<Add, T>,     binary_of<Sub, T>,     binary_of<Mul, T>,    binary_of<Div, T>,
    binary_of<Maximum, T>, binary_of<Minimum, T>, binary_of<AddRelu, T>};

void binary(const BinaryArgs& args) {
  (args.dtype == Dtype::f32 ? kBinary<float> : kBinary<double>)[args.op](args);
}

// y[i] = f(a[i], b[i]); the strides most often met are constants in loops of their own. A result in
// the place of an input is fine: no element depends on another.
template <class Y, class A, class F>
MK_INLINE void zip_run(int64_t n, F f, Y* y, int64_t stride_y, const A* a, int64_t stride_a,
                       const A* b, int64_t stride_b) {
  if (stride_y == 1 && stride_a == 1 && stride_b == 1) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
  } else if (stride_y == 1 && stride_a == 1 && stride_b == 0) {
    const A right = *b;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], right);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * stride_y] = f(a[i * stride_a], b[i * stride_b]);
  }
}

template <class T, class F>
MK_INLINE void compare_with(const CompareArgs& args, F f) {
  const int inner = args.loops.rank - 1;
  const int64_t stride_y = args.loops.stride[0][inner], stride_a = args.loops.stride[1][inner];
  const int64_t stride_b = args.loops.stride[2][inner];
  for_each_run<3>(args.loops, 1, [&](const int64_t* offset, int64_t n) {
    zip_run(n, f, args.y + offset[0], stride_y, static_cast<const T*>(args.a) + offset[1], stride_a,
            static_cast<const T*>(args.b) + offset[2], stride_b);
  });
}

template <class T>
void compare_of(const CompareArgs& args) {
  switch (args.op) {
    case MK_EQUAL:
      return compare_with<T>(args, [](T a, T b) { return uint8_t(a == b); });
    case MK_NOT_EQUAL:
      return compare_with<T>(args, [](T a, T b) { return uint8_t(a != b); });
    case MK_LESS:
      return compare_with<T>(args, [](T a, T b) { return uint8_t(a < b); });
    case MK_LESS_EQUAL:
      return compare_with<T>(args, [](T a, T b) { return uint8_t(a <= b); });
    case MK_GREATER:
      return compare_with<T>(args, [](T a, T b) { return uint8_t(a > b); });
    case MK_GREATER_EQUAL:
      return compare_with<T>(args, [](T a, T b) { return uint8_t(a >= b); });
  }
}

void compare(const CompareArgs& args) {
  switch (args.dtype) {
    case Dtype::f32:
      return compare_of<float>(args);
    case Dtype::f64:
      return compare_of<double>(args);
    case Dtype::i32:
      return compare_of<int32_t>(args);
    case Dtype::i64:
      return compare_of<int64_t>(args);
    case Dtype::u8:
      return compare_of<uint8_t>(args);
    case Dtype::f16:
    case Dtype::bf16:
      return;  // refused before
  }
}

template <class T>
void where_of(const WhereArgs& args) {
  const int inner = args.loops.rank - 1;
  int64_t stride[4];
  for (int k = 0; k < 4; ++k) stride[k] = args.loops.stride[k][inner];
  for_each_run<4>(args.loops, 1, [&](const int64_t* offset, int64_t n) {
    T* y = static_cast<T*>(args.y) + offset[0];
    const uint8_t* mask = args.mask + offset[1];
    const T* a = static_cast<const T*>(args.a) + offset[2];
    const T* b = static_cast<const T*>(args.b) + offset[3];
    if (stride[0] == 1 && stride[1] == 1 && stride[2] == 1 && stride[3] == 1) {
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) y[i] = mask[i] ? a[i] : b[i];
    } else {
      for (int64_t i = 0; i < n; ++i) {
        y[i * stride[0]] = mask[i * stride[1]] ? a[i * stride[2]] : b[i * stride[3]];
      }
    }
  });
}

void where(const WhereArgs& args) {
  args.item == 8   ? where_of<uint64_t>(args)
  : args.item == 4 ? where_of<uint32_t>(args)
  : args.item == 2 ? where_of<uint16_t>(args)
                   : where_of<uint8_t>(args);
}

}  // namespace

extern const BinaryKernels binary_kernels;
constinit const BinaryKernels binary_kernels = {
    .binary = binary,
    .compare = compare,
    .where = where,
};

}  // namespace medkern::MK_ISA
