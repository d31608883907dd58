// Entry points of unary operations: check, then call the table.
#include "kernels/pointwise/pointwise.h"
#include "kernels/table.h"

namespace medkern {
namespace {

// The name for messages; fails for an op that is not listed.
const char* unary_name(mk_unary_op op, double a, double b) {
  constexpr const char* names[] = {"relu",   "leaky_relu", "elu",      "sigmoid", "tanh",
                                   "silu",   "gelu",       "softplus", "exp",     "expm1",
                                   "log",    "log1p",      "sqrt",     "abs",     "neg",
                                   "square", "reciprocal", "clamp",    "pow",     "erf"};
  constexpr int count = sizeof(names) / sizeof(names[0]);
  require(int(op) >= 0 && int(op) < count, "unary: op must be from 0 to ", count - 1, ", got ",
          int(op));
  require(op != MK_CLAMP || a <= b, "clamp: min must not be larger than max, got ", a, " and ", b);
  return names[op];
}

// Layers' functions take bfloat16 as well, on CUDA devices.
void expect_unary(const char* name, mk_unary_op op, const TensorView& x) {
  op <= MK_TANH ? expect_float_or_bfloat(name, x) : expect_float(name, x);
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_unary(mk_unary_op op, const DLTensor* x, double a, double b, DLTensor* y) {
  return guarded([&] {
    const char* name = unary_name(op, a, b);
    const TensorView xv = view(name, "x", x), yv = view(name, "y", y);
    expect_unary(name, op, xv);
    expect_same_dtype(name, yv, xv);
    expect_same_shape(name, yv, xv);
    expect_same_device(name, yv, xv);
    expect_distinct(name, yv);
    expect_same_or_no_overlap(name, yv, xv);
    const UnaryArgs args{op, xv.dtype, a, b, loops_over({&yv, &xv}), yv.data, xv.data, nullptr};
    if (yv.count > 0) kernels_for(xv.device).unary->forward(args);
  });
}

extern "C" mk_status mk_unary_backward(mk_unary_op op, const DLTensor* dy, const DLTensor* saved,
                                       double a, double b, DLTensor* dx) {
  return guarded([&] {
    const char* name = unary_name(op, a, b);
    const TensorView dyv = view(name, "dy", dy), sv = view(name, "saved", saved);
    const TensorView dxv = view(name, "dx", dx);
    expect_unary(name, op, dyv);
    for (const TensorView* t : {&sv, &dxv}) {
      expect_same_dtype(name, *t, dyv);
      expect_same_shape(name, *t, dyv);
      expect_same_device(name, *t, dyv);
    }
    expect_distinct(name, dxv);
    for (const TensorView* t : {&dyv, &sv}) expect_same_or_no_overlap(name, dxv, *t);
    const UnaryArgs args{op,       dyv.dtype, a,      b, loops_over({&dxv, &dyv, &sv}),
                         dxv.data, dyv.data,  sv.data};
    if (dxv.count > 0) kernels_for(dyv.device).unary->backward(args);
  });
}
