// Functions of two tensors' elements on the device, with broadcasting; comparison and choice.
//
//   y = a op b        y = a op b ? 1 : 0        y = mask ? a : b
//
// Loops of cuda/loops.h; an operand that is broadcast along an axis has stride 0 there.
// Work  one operation per element. Memory  every operand once. Rounded once, from float32 to 16
// bits too.
#include "cuda/half.h"
#include "cuda/loops.h"
#include "kernels/pointwise/pointwise.cuda.h"

namespace medkern::cuda {
namespace {

struct Add {
  template <class T>
  MK_INLINE T operator()(T a, T b) const {
    return a + b;
  }
};
struct Sub {
  template <class T>
  MK_INLINE T operator()(T a, T b) const {
    return a - b;
  }
};
struct Mul {
  template <class T>
  MK_INLINE T operator()(T a, T b) const {
    return a * b;
  }
};
struct Div {
  template <class T>
  MK_INLINE T operator()(T a, T b) const {
    return a / b;
  }
};
// NaN if either is.
struct Maximum {
  template <class T>
  MK_INLINE T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
struct Minimum {
  template <class T>
  MK_INLINE T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};
struct AddRelu {
  template <class T>
  MK_INLINE T operator()(T a, T b) const {
    return Maximum()(a + b, T(0));
  }
};

template <class Op, class T>
MK_INLINE void binary(const BinaryKernelArgs& args) {
  using W = Wide<T>;
  map_elements(
      args.walk, [](T a, T b) { return T(Op()(W(a), W(b))); }, static_cast<T*>(args.y),
      static_cast<const T*>(args.a), static_cast<const T*>(args.b));
}

// In the order of mk_compare_op; one kernel, since the choice costs less than the loads.
enum { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual };

template <class T>
MK_INLINE void compare(const BinaryKernelArgs& args) {
  const int32_t op = args.op;
  const bool less = op == kLess || op == kLessEqual || op == kNotEqual;
  const bool equal = op == kEqual || op == kLessEqual || op == kGreaterEqual;
  const bool greater = op == kGreater || op == kGreaterEqual || op == kNotEqual;
  const bool unordered = op == kNotEqual;
  map_elements(
      args.walk,
      [=](T a, T b) {
        const bool is_less = a<b, is_equal = a == b, is_greater = a> b;
        const bool result = is_less ? less : is_equal ? equal : is_greater ? greater : unordered;
        return static_cast<uint8_t>(result);
      },
      static_cast<uint8_t*>(args.y), static_cast<const T*>(args.a), static_cast<const T*>(args.b));
}

template <class T>
MK_INLINE void where(const WhereKernelArgs& args) {
  map_elements(
      args.walk, [](uint8_t mask, T a, T b) { return mask != 0 ? a : b; }, static_cast<T*>(args.y),
      args.mask, static_cast<const T*>(args.a), static_cast<const T*>(args.b));
}

}  // namespace

MK_KERNEL(binary_add_f32, BinaryKernelArgs, 256) { binary<Add, float>(args); }
MK_KERNEL(binary_add_f64, BinaryKernelArgs, 256) { binary<Add, double>(args); }
MK_KERNEL(binary_sub_f32, BinaryKernelArgs, 256) { binary<Sub, float>(args); }
MK_KERNEL(binary_sub_f64, BinaryKernelArgs, 256) { binary<Sub, double>(args); }
MK_KERNEL(binary_mul_f32, BinaryKernelArgs, 256) { binary<Mul, float>(args); }
MK_KERNEL(binary_mul_f64, BinaryKernelArgs, 256) { binary<Mul, double>(args); }
MK_KERNEL(binary_div_f32, BinaryKernelArgs, 256) { binary<Div, float>(args); }
MK_KERNEL(binary_div_f64, BinaryKernelArgs, 256) { binary<Div, double>(args); }
MK_KERNEL(binary_maximum_f32, BinaryKernelArgs, 256) { binary<Maximum, float>(args); }
MK_KERNEL(binary_maximum_f64, BinaryKernelArgs, 256) { binary<Maximum, double>(args); }
MK_KERNEL(binary_minimum_f32, BinaryKernelArgs, 256) { binary<Minimum, float>(args); }
MK_KERNEL(binary_minimum_f64, BinaryKernelArgs, 256) { binary<Minimum, double>(args); }
MK_KERNEL(binary_add_relu_f32, BinaryKernelArgs, 256) { binary<AddRelu, float>(args); }
MK_KERNEL(binary_add_relu_f64, BinaryKernelArgs, 256) { binary<AddRelu, double>(args); }
MK_KERNEL(binary_add_bf16, BinaryKernelArgs, 256) { binary<Add, bfloat16>(args); }
MK_KERNEL(binary_sub_bf16, BinaryKernelArgs, 256) { binary<Sub, bfloat16>(args); }
MK_KERNEL(binary_mul_bf16, BinaryKernelArgs, 256) { binary<Mul, bfloat16>(args); }
MK_KERNEL(binary_div_bf16, BinaryKernelArgs, 256) { binary<Div, bfloat16>(args); }
MK_KERNEL(binary_maximum_bf16, BinaryKernelArgs, 256) { binary<Maximum, bfloat16>(args); }
MK_KERNEL(binary_minimum_bf16, BinaryKernelArgs, 256) { binary<Minimum, bfloat16>(args); }
MK_KERNEL(binary_add_relu_bf16, BinaryKernelArgs, 256) { binary<AddRelu, bfloat16>(args); }

MK_KERNEL(compare_f32, BinaryKernelArgs, 256) { compare<float>(args); }
MK_KERNEL(compare_f64, BinaryKernelArgs, 256) { compare<double>(args); }
MK_KERNEL(compare_i32, BinaryKernelArgs, 256) { compare<int32_t>(args); }
MK_KERNEL(compare_i64, BinaryKernelArgs, 256) { compare<int64_t>(args); }
MK_KERNEL(compare_u8, BinaryKernelArgs, 256) { compare<uint8_t>(args); }

MK_KERNEL(where_1, WhereKernelArgs, 256) { where<uint8_t>(args); }
MK_KERNEL(where_2, WhereKernelArgs, 256) { where<uint16_t>(args); }
MK_KERNEL(where_4, WhereKernelArgs, 256) { where<uint32_t>(args); }
MK_KERNEL(where_8, WhereKernelArgs, 256) { where<uint64_t>(args); }

}  // namespace medkern::cuda
