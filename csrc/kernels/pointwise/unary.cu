// Functions of one tensor's elements on the device, forward and backward.
//
//   y = op(x)        dx = dy * op'(x), from x or from y, whichever costs less (see pointwise.h)
//
// Loops of cuda/loops.h. Work  one operation up to about 60 per element. Memory  every operand
// once. Numerics  CUDA's functions, which are right to 1 or 2 units in the last place (pow 4);
// 16-bit elements are computed with as float32, and rounded once.
#include "cuda/half.h"
#include "cuda/loops.h"
#include "kernels/pointwise/pointwise.cuda.h"

namespace medkern::cuda {
namespace {

// The numbers given with x, in its type.
template <class T>
struct Numbers {
  T a, b;
  double exponent;
};

constexpr double kRootHalf = 0.70710678118654752440;  // 1 / sqrt(2)
constexpr double kNormal = 0.39894228040143267794;    // 1 / sqrt(2 pi)
constexpr double kErfSlope = 1.12837916709551257390;  // 2 / sqrt(pi)

// NaN if either is.
template <class T>
MK_INLINE T larger(T a, T b) {
  return a > b || a != a ? a : b;
}
template <class T>
MK_INLINE T smaller(T a, T b) {
  return a < b || a != a ? a : b;
}

template <class T>
MK_INLINE T logistic(T x) {
  return T(1) / (T(1) + exp(-x));
}

MK_INLINE double general_power(double x, double p) { return pow(x, p); }
// An exponent that float can't hold is split: x^(p + rest) = x^p (1 + rest ln x).
MK_INLINE float general_power(float x, double exponent) {
  const float p = static_cast<float>(exponent), rest = static_cast<float>(exponent - p);
  const float y = pow(x, p);
  const bool ordinary = rest != 0 && x > 0 && x < INFINITY && y > 0 && y < INFINITY;
  return ordinary ? fma(y, rest * log(x), y) : y;
}

// Small whole exponents by multiplication.
template <class T>
MK_INLINE T power(T x, double p) {
  if (p == 1) return x;
  if (p == 2) return x * x;
  if (p == 3) return x * x * x;
  if (p == 0) return 1;
  if (p == -1) return 1 / x;
  if (p == 0.5) return sqrt(x);
  return general_power(x, p);
}

// Each operation has y(x, numbers) and dx(dy, saved, numbers).
struct Relu {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return larger(x, T(0));
  }
  template <class T>
  MK_INLINE static T dx(T dy, T y, const Numbers<T>&) {
    return y == 0 ? T(0) : dy;
  }
};

struct LeakyRelu {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>& n) {
    return x > 0 ? x : x * n.a;
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>& n) {
    return x > 0 ? dy : dy * n.a;
  }
};

struct Elu {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>& n) {
    return x > 0 ? x : n.a * expm1(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>& n) {
    return x > 0 ? dy : dy * n.a * exp(x);
  }
};

struct Sigmoid {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return logistic(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T y, const Numbers<T>&) {
    return dy * (y * (1 - y));
  }
};

struct Tanh {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return tanh(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T y, const Numbers<T>&) {
    return dy * fma(-y, y, T(1));
  }
};

struct Silu {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return x * logistic(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>&) {
    const T s = logistic(x);
    return dy * (s * fma(x, 1 - s, T(1)));
  }
};

struct Gelu {
  template <class T>
  MK_INLINE static T cdf(T x) {
    return T(0.5) * (1 + erf(x * T(kRootHalf)));
  }
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return x * cdf(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>&) {
    const T density = T(kNormal) * exp(x * x * T(-0.5));
    return dy * fma(x, density, cdf(x));
  }
};

struct Softplus {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return larger(x, T(0)) + log1p(exp(-abs(x)));
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>&) {
    return dy * logistic(x);
  }
};

struct Exp {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return exp(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T y, const Numbers<T>&) {
    return dy * y;
  }
};

struct Expm1 {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return expm1(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T y, const Numbers<T>&) {
    return dy * (y + 1);
  }
};

struct Log {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return log(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>&) {
    return dy / x;
  }
};

struct Log1p {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return log1p(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>&) {
    return dy / (1 + x);
  }
};

struct Sqrt {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return sqrt(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T y, const Numbers<T>&) {
    return dy / (y + y);
  }
};

struct Abs {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return abs(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>&) {
    return dy * (x > 0 ? T(1) : x < 0 ? T(-1) : x);
  }
};

struct Neg {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return -x;
  }
  template <class T>
  MK_INLINE static T dx(T dy, T, const Numbers<T>&) {
    return -dy;
  }
};

struct Square {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return x * x;
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>&) {
    return dy * (x + x);
  }
};

struct Reciprocal {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return 1 / x;
  }
  template <class T>
  MK_INLINE static T dx(T dy, T y, const Numbers<T>&) {
    return -dy * (y * y);
  }
};

struct Clamp {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>& n) {
    return smaller(larger(x, n.a), n.b);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>& n) {
    return x < n.a || x > n.b ? T(0) : dy;
  }
};

struct Pow {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>& n) {
    return power(x, n.exponent);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>& n) {
    return n.exponent == 0 ? T(0) : dy * (n.a * power(x, n.exponent - 1));
  }
};

struct Erf {
  template <class T>
  MK_INLINE static T y(T x, const Numbers<T>&) {
    return erf(x);
  }
  template <class T>
  MK_INLINE static T dx(T dy, T x, const Numbers<T>&) {
    return dy * (T(kErfSlope) * exp(-(x * x)));
  }
};

template <class Op, class T>
MK_INLINE void forward(const UnaryForwardArgs& args) {
  using W = Wide<T>;
  const Numbers<W> numbers{static_cast<W>(args.a), static_cast<W>(args.b), args.a};
  map_elements(
      args.walk, [=](T x) { return T(Op::y(W(x), numbers)); }, static_cast<T*>(args.y),
      static_cast<const T*>(args.x));
}

template <class Op, class T>
MK_INLINE void backward(const UnaryBackwardArgs& args) {
  using W = Wide<T>;
  const Numbers<W> numbers{static_cast<W>(args.a), static_cast<W>(args.b), args.a};
  map_elements(
      args.walk, [=](T dy, T saved) { return T(Op::dx(W(dy), W(saved), numbers)); },
      static_cast<T*>(args.dx), static_cast<const T*>(args.dy), static_cast<const T*>(args.saved));
}

}  // namespace

MK_KERNEL(unary_relu_f32, UnaryForwardArgs, 256) { forward<Relu, float>(args); }
MK_KERNEL(unary_relu_backward_f32, UnaryBackwardArgs, 256) { backward<Relu, float>(args); }
MK_KERNEL(unary_relu_f64, UnaryForwardArgs, 256) { forward<Relu, double>(args); }
MK_KERNEL(unary_relu_backward_f64, UnaryBackwardArgs, 256) { backward<Relu, double>(args); }
MK_KERNEL(unary_leaky_relu_f32, UnaryForwardArgs, 256) { forward<LeakyRelu, float>(args); }
MK_KERNEL(unary_leaky_relu_backward_f32, UnaryBackwardArgs, 256) {
  backward<LeakyRelu, float>(args);
}
MK_KERNEL(unary_leaky_relu_f64, UnaryForwardArgs, 256) { forward<LeakyRelu, double>(args); }
MK_KERNEL(unary_leaky_relu_backward_f64, UnaryBackwardArgs, 256) {
  backward<LeakyRelu, double>(args);
}
MK_KERNEL(unary_elu_f32, UnaryForwardArgs, 256) { forward<Elu, float>(args); }
MK_KERNEL(unary_elu_backward_f32, UnaryBackwardArgs, 256) { backward<Elu, float>(args); }
MK_KERNEL(unary_elu_f64, UnaryForwardArgs, 256) { forward<Elu, double>(args); }
MK_KERNEL(unary_elu_backward_f64, UnaryBackwardArgs, 256) { backward<Elu, double>(args); }
MK_KERNEL(unary_sigmoid_f32, UnaryForwardArgs, 256) { forward<Sigmoid, float>(args); }
MK_KERNEL(unary_sigmoid_backward_f32, UnaryBackwardArgs, 256) { backward<Sigmoid, float>(args); }
MK_KERNEL(unary_sigmoid_f64, UnaryForwardArgs, 256) { forward<Sigmoid, double>(args); }
MK_KERNEL(unary_sigmoid_backward_f64, UnaryBackwardArgs, 256) { backward<Sigmoid, double>(args); }
MK_KERNEL(unary_tanh_f32, UnaryForwardArgs, 256) { forward<Tanh, float>(args); }
MK_KERNEL(unary_tanh_backward_f32, UnaryBackwardArgs, 256) { backward<Tanh, float>(args); }
MK_KERNEL(unary_tanh_f64, UnaryForwardArgs, 256) { forward<Tanh, double>(args); }
MK_KERNEL(unary_tanh_backward_f64, UnaryBackwardArgs, 256) { backward<Tanh, double>(args); }
MK_KERNEL(unary_silu_f32, UnaryForwardArgs, 256) { forward<Silu, float>(args); }
MK_KERNEL(unary_silu_backward_f32, UnaryBackwardArgs, 256) { backward<Silu, float>(args); }
MK_KERNEL(unary_silu_f64, UnaryForwardArgs, 256) { forward<Silu, double>(args); }
MK_KERNEL(unary_silu_backward_f64, UnaryBackwardArgs, 256) { backward<Silu, double>(args); }
MK_KERNEL(unary_gelu_f32, UnaryForwardArgs, 256) { forward<Gelu, float>(args); }
MK_KERNEL(unary_gelu_backward_f32, UnaryBackwardArgs, 256) { backward<Gelu, float>(args); }
MK_KERNEL(unary_gelu_f64, UnaryForwardArgs, 256) { forward<Gelu, double>(args); }
MK_KERNEL(unary_gelu_backward_f64, UnaryBackwardArgs, 256) { backward<Gelu, double>(args); }
MK_KERNEL(unary_softplus_f32, UnaryForwardArgs, 256) { forward<Softplus, float>(args); }
MK_KERNEL(unary_softplus_backward_f32, UnaryBackwardArgs, 256) { backward<Softplus, float>(args); }
MK_KERNEL(unary_softplus_f64, UnaryForwardArgs, 256) { forward<Softplus, double>(args); }
MK_KERNEL(unary_softplus_backward_f64, UnaryBackwardArgs, 256) { backward<Softplus, double>(args); }
MK_KERNEL(unary_exp_f32, UnaryForwardArgs, 256) { forward<Exp, float>(args); }
MK_KERNEL(unary_exp_backward_f32, UnaryBackwardArgs, 256) { backward<Exp, float>(args); }
MK_KERNEL(unary_exp_f64, UnaryForwardArgs, 256) { forward<Exp, double>(args); }
MK_KERNEL(unary_exp_backward_f64, UnaryBackwardArgs, 256) { backward<Exp, double>(args); }
MK_KERNEL(unary_expm1_f32, UnaryForwardArgs, 256) { forward<Expm1, float>(args); }
MK_KERNEL(unary_expm1_backward_f32, UnaryBackwardArgs, 256) { backward<Expm1, float>(args); }
MK_KERNEL(unary_expm1_f64, UnaryForwardArgs, 256) { forward<Expm1, double>(args); }
MK_KERNEL(unary_expm1_backward_f64, UnaryBackwardArgs, 256) { backward<Expm1, double>(args); }
MK_KERNEL(unary_log_f32, UnaryForwardArgs, 256) { forward<Log, float>(args); }
MK_KERNEL(unary_log_backward_f32, UnaryBackwardArgs, 256) { backward<Log, float>(args); }
MK_KERNEL(unary_log_f64, UnaryForwardArgs, 256) { forward<Log, double>(args); }
MK_KERNEL(unary_log_backward_f64, UnaryBackwardArgs, 256) { backward<Log, double>(args); }
MK_KERNEL(unary_log1p_f32, UnaryForwardArgs, 256) { forward<Log1p, float>(args); }
MK_KERNEL(unary_log1p_backward_f32, UnaryBackwardArgs, 256) { backward<Log1p, float>(args); }
MK_KERNEL(unary_log1p_f64, UnaryForwardArgs, 256) { forward<Log1p, double>(args); }
MK_KERNEL(unary_log1p_backward_f64, UnaryBackwardArgs, 256) { backward<Log1p, double>(args); }
MK_KERNEL(unary_sqrt_f32, UnaryForwardArgs, 256) { forward<Sqrt, float>(args); }
MK_KERNEL(unary_sqrt_backward_f32, UnaryBackwardArgs, 256) { backward<Sqrt, float>(args); }
MK_KERNEL(unary_sqrt_f64, UnaryForwardArgs, 256) { forward<Sqrt, double>(args); }
MK_KERNEL(unary_sqrt_backward_f64, UnaryBackwardArgs, 256) { backward<Sqrt, double>(args); }
MK_KERNEL(unary_abs_f32, UnaryForwardArgs, 256) { forward<Abs, float>(args); }
MK_KERNEL(unary_abs_backward_f32, UnaryBackwardArgs, 256) { backward<Abs, float>(args); }
MK_KERNEL(unary_abs_f64, UnaryForwardArgs, 256) { forward<Abs, double>(args); }
MK_KERNEL(unary_abs_backward_f64, UnaryBackwardArgs, 256) { backward<Abs, double>(args); }
MK_KERNEL(unary_neg_f32, UnaryForwardArgs, 256) { forward<Neg, float>(args); }
MK_KERNEL(unary_neg_backward_f32, UnaryBackwardArgs, 256) { backward<Neg, float>(args); }
MK_KERNEL(unary_neg_f64, UnaryForwardArgs, 256) { forward<Neg, double>(args); }
MK_KERNEL(unary_neg_backward_f64, UnaryBackwardArgs, 256) { backward<Neg, double>(args); }
MK_KERNEL(unary_square_f32, UnaryForwardArgs, 256) { forward<Square, float>(args); }
MK_KERNEL(unary_square_backward_f32, UnaryBackwardArgs, 256) { backward<Square, float>(args); }
MK_KERNEL(unary_square_f64, UnaryForwardArgs, 256) { forward<Square, double>(args); }
MK_KERNEL(unary_square_backward_f64, UnaryBackwardArgs, 256) { backward<Square, double>(args); }
MK_KERNEL(unary_reciprocal_f32, UnaryForwardArgs, 256) { forward<Reciprocal, float>(args); }
MK_KERNEL(unary_reciprocal_backward_f32, UnaryBackwardArgs, 256) {
  backward<Reciprocal, float>(args);
}
MK_KERNEL(unary_reciprocal_f64, UnaryForwardArgs, 256) { forward<Reciprocal, double>(args); }
MK_KERNEL(unary_reciprocal_backward_f64, UnaryBackwardArgs, 256) {
  backward<Reciprocal, double>(args);
}
MK_KERNEL(unary_clamp_f32, UnaryForwardArgs, 256) { forward<Clamp, float>(args); }
MK_KERNEL(unary_clamp_backward_f32, UnaryBackwardArgs, 256) { backward<Clamp, float>(args); }
MK_KERNEL(unary_clamp_f64, UnaryForwardArgs, 256) { forward<Clamp, double>(args); }
MK_KERNEL(unary_clamp_backward_f64, UnaryBackwardArgs, 256) { backward<Clamp, double>(args); }
MK_KERNEL(unary_pow_f32, UnaryForwardArgs, 256) { forward<Pow, float>(args); }
MK_KERNEL(unary_pow_backward_f32, UnaryBackwardArgs, 256) { backward<Pow, float>(args); }
MK_KERNEL(unary_pow_f64, UnaryForwardArgs, 256) { forward<Pow, double>(args); }
MK_KERNEL(unary_pow_backward_f64, UnaryBackwardArgs, 256) { backward<Pow, double>(args); }
MK_KERNEL(unary_erf_f32, UnaryForwardArgs, 256) { forward<Erf, float>(args); }
MK_KERNEL(unary_erf_backward_f32, UnaryBackwardArgs, 256) { backward<Erf, float>(args); }
MK_KERNEL(unary_erf_f64, UnaryForwardArgs, 256) { forward<Erf, double>(args); }
MK_KERNEL(unary_erf_backward_f64, UnaryBackwardArgs, 256) { backward<Erf, double>(args); }

// Of 16 bits: what layers do.
MK_KERNEL(unary_relu_bf16, UnaryForwardArgs, 256) { forward<Relu, bfloat16>(args); }
MK_KERNEL(unary_relu_backward_bf16, UnaryBackwardArgs, 256) { backward<Relu, bfloat16>(args); }
MK_KERNEL(unary_leaky_relu_bf16, UnaryForwardArgs, 256) { forward<LeakyRelu, bfloat16>(args); }
MK_KERNEL(unary_leaky_relu_backward_bf16, UnaryBackwardArgs, 256) {
  backward<LeakyRelu, bfloat16>(args);
}
MK_KERNEL(unary_elu_bf16, UnaryForwardArgs, 256) { forward<Elu, bfloat16>(args); }
MK_KERNEL(unary_elu_backward_bf16, UnaryBackwardArgs, 256) { backward<Elu, bfloat16>(args); }
MK_KERNEL(unary_sigmoid_bf16, UnaryForwardArgs, 256) { forward<Sigmoid, bfloat16>(args); }
MK_KERNEL(unary_sigmoid_backward_bf16, UnaryBackwardArgs, 256) {
  backward<Sigmoid, bfloat16>(args);
}
MK_KERNEL(unary_tanh_bf16, UnaryForwardArgs, 256) { forward<Tanh, bfloat16>(args); }
MK_KERNEL(unary_tanh_backward_bf16, UnaryBackwardArgs, 256) { backward<Tanh, bfloat16>(args); }

}  // namespace medkern::cuda
