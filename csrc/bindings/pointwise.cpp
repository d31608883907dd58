// Python bindings of pointwise operations.
#include "medkern/pointwise.h"

#include "bindings/arguments.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

Array unary(mk_unary_op op, const py::object& x_object, double a, double b, const py::object& out) {
  const Array x = Array::from_object(x_object, "x");
  const Array y = output_argument(out, x, x.shape());
  call([&] { return mk_unary(op, x.dl(), a, b, y.dl()); });
  return y;
}

Array unary_backward(mk_unary_op op, const py::object& dy_object, const py::object& saved_object,
                     double a, double b, const py::object& out) {
  const Array dy = Array::from_object(dy_object, "dy");
  const Array saved = Array::from_object(saved_object, "saved");
  const Array dx = output_argument(out, saved, saved.shape());
  call([&] { return mk_unary_backward(op, dy.dl(), saved.dl(), a, b, dx.dl()); });
  return dx;
}

}  // namespace

void bind_pointwise(py::module_& module) {
  using py::arg;
  py::enum_<mk_unary_op>(module, "UnaryOp")
      .value("relu", MK_RELU)
      .value("leaky_relu", MK_LEAKY_RELU)
      .value("elu", MK_ELU)
      .value("sigmoid", MK_SIGMOID)
      .value("tanh", MK_TANH)
      .value("silu", MK_SILU)
      .value("gelu", MK_GELU)
      .value("softplus", MK_SOFTPLUS)
      .value("exp", MK_EXP)
      .value("expm1", MK_EXPM1)
      .value("log", MK_LOG)
      .value("log1p", MK_LOG1P)
      .value("sqrt", MK_SQRT)
      .value("abs", MK_ABS)
      .value("neg", MK_NEG)
      .value("square", MK_SQUARE)
      .value("reciprocal", MK_RECIPROCAL)
      .value("clamp", MK_CLAMP)
      .value("pow", MK_POW)
      .value("erf", MK_ERF);
  module.def("unary", unary, arg("op"), arg("x"), arg("a"), arg("b"), arg("out"));
  module.def("unary_backward", unary_backward, arg("op"), arg("dy"), arg("saved"), arg("a"),
             arg("b"), arg("out"));
}

}  // namespace medkern::python
