// Functions of one tensor's elements on the CPU, forward and backward.
//
//   y = op(x)        dx = dy * op'(x), from x or from y, whichever costs less (see pointwise.h)
//
// Runs of the innermost dimension, a vector at a time; tasks of 8192 elements.
// Work  one operation up to about 30 per element. Memory  every operand once, large results
// streamed. Numerics  the functions of cpu/math.h; pow and all transcendental functions in float64
// by the C library.
#include "cpu/math.h"
#include "kernels/loops.simd.h"
#include "kernels/pointwise/pointwise.h"

namespace medkern::MK_ISA {
namespace {

// The numbers given with x, in its type.
template <class T>
struct Numbers {
  Vec<T> a, b;
  double exponent;
};

constexpr double kRootHalf = 0.70710678118654752440;  // 1 / sqrt(2)
constexpr double kNormal = 0.39894228040143267794;    // 1 / sqrt(2 pi)
constexpr double kErfSlope = 1.12837916709551257390;  // 2 / sqrt(pi)

template <class T>
MK_INLINE Vec<T> one() {
  return Vec<T>(T(1));
}

// x^p. Small whole exponents by multiplication, the others a lane at a time in float64.
template <class T>
MK_INLINE Vec<T> power(Vec<T> x, double p) {
  if (p == 1) return x;
  if (p == 2) return x * x;
  if (p == 3) return x * x * x;
  if (p == 0) return one<T>();
  if (p == -1) return one<T>() / x;
  if (p == 0.5) return sqrt(x);
  for (int i = 0; i < Vec<T>::kLanes; ++i) x.v[i] = static_cast<T>(__builtin_pow(x.v[i], p));
  return x;
}

// Each operation has y(x, numbers) and dx(dy, saved, numbers).
struct Relu {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return max(x, Vec<T>::zero());
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> y, const Numbers<T>&) {
    return select<T>(y == Vec<T>::zero(), Vec<T>::zero(), dy);
  }
};

struct LeakyRelu {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>& n) {
    return select<T>(x > Vec<T>::zero(), x, x * n.a);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>& n) {
    return select<T>(x > Vec<T>::zero(), dy, dy * n.a);
  }
};

struct Elu {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>& n) {
    return select<T>(x > Vec<T>::zero(), x, n.a * expm1(x));
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>& n) {
    return select<T>(x > Vec<T>::zero(), dy, dy * n.a * exp(x));
  }
};

struct Sigmoid {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return sigmoid(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> y, const Numbers<T>&) {
    return dy * (y * (one<T>() - y));
  }
};

struct Tanh {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return tanh(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> y, const Numbers<T>&) {
    return dy * fma(-y, y, one<T>());
  }
};

struct Silu {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return x * sigmoid(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>&) {
    const Vec<T> s = sigmoid(x);
    return dy * (s * fma(x, one<T>() - s, one<T>()));
  }
};

struct Gelu {
  template <class T>
  MK_INLINE static Vec<T> cdf(Vec<T> x) {
    return Vec<T>(T(0.5)) * (one<T>() + erf(x * Vec<T>(T(kRootHalf))));
  }
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return x * cdf(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>&) {
    const Vec<T> density = Vec<T>(T(kNormal)) * exp(x * x * Vec<T>(T(-0.5)));
    return dy * fma(x, density, cdf(x));
  }
};

struct Softplus {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return max(x, Vec<T>::zero()) + log1p(exp(-abs(x)));
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>&) {
    return dy * sigmoid(x);
  }
};

struct Exp {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return exp(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> y, const Numbers<T>&) {
    return dy * y;
  }
};

struct Expm1 {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return expm1(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> y, const Numbers<T>&) {
    return dy * (y + one<T>());
  }
};

struct Log {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return log(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>&) {
    return dy / x;
  }
};

struct Log1p {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return log1p(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>&) {
    return dy / (one<T>() + x);
  }
};

struct Sqrt {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return sqrt(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> y, const Numbers<T>&) {
    return dy / (y + y);
  }
};

struct Abs {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return abs(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>&) {
    const Vec<T> sign = select<T>(x > Vec<T>::zero(), one<T>(), -one<T>());
    return dy * select<T>((x < Vec<T>::zero()) | (x > Vec<T>::zero()), sign, x);  // 0 and NaN stay
  }
};

struct Neg {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return -x;
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T>, const Numbers<T>&) {
    return -dy;
  }
};

struct Square {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return x * x;
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>&) {
    return dy * (x + x);
  }
};

struct Reciprocal {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return one<T>() / x;
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> y, const Numbers<T>&) {
    return -dy * (y * y);
  }
};

struct Clamp {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>& n) {
    return min(max(x, n.a), n.b);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>& n) {
    return select<T>((x < n.a) | (x > n.b), Vec<T>::zero(), dy);
  }
};

struct Pow {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>& n) {
    return power(x, n.exponent);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>& n) {
    if (n.exponent == 0) return Vec<T>::zero();
    return dy * (n.a * power(x, n.exponent - 1));
  }
};

struct Erf {
  template <class T>
  MK_INLINE static Vec<T> y(Vec<T> x, const Numbers<T>&) {
    return erf(x);
  }
  template <class T>
  MK_INLINE static Vec<T> dx(Vec<T> dy, Vec<T> x, const Numbers<T>&) {
    return dy * (Vec<T>(T(kErfSlope)) * exp(-(x * x)));
  }
};

template <class Op, class T>
void forward_of(const UnaryArgs& args) {
  const Numbers<T> numbers{Vec<T>(T(args.a)), Vec<T>(T(args.b)), args.a};
  const int inner = args.loops.rank - 1;
  const int64_t stride_y = args.loops.stride[0][inner], stride_x = args.loops.stride[1][inner];
  const bool streams = streams_runs<T, 2>(args.loops);
  for_each_run<2>(args.loops, 4, [&](const int64_t* offset, int64_t n) {
    map_run<T>(
        n, [&](Vec<T> x) { return Op::y(x, numbers); }, static_cast<T*>(args.y) + offset[0],
        stride_y, static_cast<const T*>(args.x) + offset[1], stride_x, streams);
  });
}

template <class Op, class T>
void backward_of(const UnaryArgs& args) {
  const Numbers<T> numbers{Vec<T>(T(args.a)), Vec<T>(T(args.b)), args.a};
  const int inner = args.loops.rank - 1;
  const int64_t stride_dx = args.loops.stride[0][inner], stride_dy = args.loops.stride[1][inner];
  const int64_t stride_saved = args.loops.stride[2][inner];
  const bool streams = streams_runs<T, 3>(args.loops);
  for_each_run<3>(args.loops, 4, [&](const int64_t* offset, int64_t n) {
    map_run<T>(
        n, [&](Vec<T> dy, Vec<T> saved) { return Op::dx(dy, saved, numbers); },
        static_cast<T*>(args.y) + offset[0], stride_dx, static_cast<const T*>(args.x) + offset[1],
        stride_dy, static_cast<const T*>(args.saved) + offset[2], stride_saved, streams);
  });
}

using Kernel = void (*)(const UnaryArgs&);

// In the order of mk_unary_op.
template <class T, class... Ops>
struct Tables {
  static constexpr Kernel forward[] = {forward_of<Ops, T>...};
  static constexpr Kernel backward[] = {backward_of<Ops, T>...};
};
template <class T>
using AllTables = Tables<T, Relu, LeakyRelu, Elu, Sigmoid, Tanh, Silu, Gelu, Softplus, Exp, Expm1,
                         Log, Log1p, Sqrt, Abs, Neg, Square, Reciprocal, Clamp, Pow, Erf>;

void forward(const UnaryArgs& args) {
  (args.dtype == Dtype::f32 ? AllTables<float>::forward
                            : AllTables<double>::forward)[args.op](args);
}

void backward(const UnaryArgs& args) {
  (args.dtype == Dtype::f32 ? AllTables<float>::backward
                            : AllTables<double>::backward)[args.op](args);
}

}  // namespace

extern const UnaryKernels unary_kernels;
constinit const UnaryKernels unary_kernels = {
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::MK_ISA
