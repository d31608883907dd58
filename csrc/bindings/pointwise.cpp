// Python bindings of pointwise operations.
#include "medkern/pointwise.h"

#include <limits>

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

Array unary(mk_unary_op op, const py::object& x_object, double a, double b, const py::object& out) {
  const Array x = Array::from_object(x_object, "x");
  const Array y = output_argument(out, x, x.shape());
  call(mk_unary, op, x, a, b, y);
  return y;
}

Array unary_backward(mk_unary_op op, const py::object& dy_object, const py::object& saved_object,
                     double a, double b, const py::object& out) {
  const Array dy = Array::from_object(dy_object, "dy");
  const Array saved = Array::from_object(saved_object, "saved");
  const Array dx = output_argument(out, saved, saved.shape());
  call(mk_unary_backward, op, dy, saved, a, b, dx);
  return dx;
}

// A Python or NumPy number, not an array of any kind.
bool is_number(const py::object& value) {
  return PyNumber_Check(value.ptr()) != 0 && !py::hasattr(value, "__len__");
}

template <class T>
void put_number(const Array& array, const py::object& value) {
  if (!PyIndex_Check(value.ptr())) {
    throw py::type_error("a number beside an integer array must be an int, got " +
                         py::repr(value).cast<std::string>());
  }
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  int overflow = 0;
  const long long whole = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0 || whole < std::numeric_limits<T>::min() ||
      whole > std::numeric_limits<T>::max()) {
    throw py::value_error("the number " + py::repr(value).cast<std::string>() +
                          " does not fit the array's type");
  }
  *static_cast<T*>(array.data()) = static_cast<T>(whole);
}

// A number as a tensor of rank 0 in the type of `like`, on its device.
Array number(const py::object& value, const Array& like) {
  const DLDataType type = like.dtype();
  const Array array = Array::empty({}, type, kCpu, Format::contiguous);
  if (type.code == kDLFloat) {
    const double real = PyFloat_AsDouble(value.ptr());
    if (real == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
    if (type.bits == 32) {
      *static_cast<float*>(array.data()) = static_cast<float>(real);
    } else {
      *static_cast<double*>(array.data()) = real;
    }
  } else if (type.bits == 64) {
    put_number<int64_t>(array, value);
  } else if (type.bits == 32) {
    put_number<int32_t>(array, value);
  } else {
    put_number<uint8_t>(array, value);
  }
  return array.to(like.device());
}

// Two operands of which one may be a number.
std::pair<Array, Array> operands(const py::object& a, const py::object& b) {
  if (is_number(b)) {
    const Array array = Array::from_object(a, "a");
    return {array, number(b, array)};
  }
  const Array array = Array::from_object(b, "b");
  return {is_number(a) ? number(a, array) : Array::from_object(a, "a"), array};
}

// The operand whose memory format the result takes: the larger one; of two of one size the first,
// unless only the second is dense.
const Array& leading(const Array& a, const Array& b) {
  if (a.count() != b.count()) return a.count() > b.count() ? a : b;
  return a.is_dense() || !b.is_dense() ? a : b;
}

template <class Call>
Shape broadcast(Call&& output_shape) {
  Shape shape(MK_MAX_RANK);
  int32_t rank = 0;
  check(output_shape(shape.data(), &rank));
  shape.resize(rank);
  return shape;
}

Array binary(mk_binary_op op, const py::object& a_object, const py::object& b_object,
             const py::object& out) {
  const auto [a, b] = operands(a_object, b_object);
  const Shape shape = broadcast([&a = a, &b = b](int64_t* sizes, int32_t* rank) {
    return mk_binary_output_shape(a.dl(), b.dl(), sizes, rank);
  });
  const Array y = output_argument(out, leading(a, b), shape);
  call(mk_binary, op, a, b, y);
  return y;
}

Array compare(mk_compare_op op, const py::object& a_object, const py::object& b_object,
              const py::object& out) {
  const auto [a, b] = operands(a_object, b_object);
  const Shape shape = broadcast([&a = a, &b = b](int64_t* sizes, int32_t* rank) {
    return mk_binary_output_shape(a.dl(), b.dl(), sizes, rank);
  });
  const Array y = output_argument(out, leading(a, b), shape, kBool);
  call(mk_compare, op, a, b, y);
  return y;
}

Array where(const py::object& mask_object, const py::object& a_object, const py::object& b_object,
            const py::object& out) {
  const Array mask = Array::from_object(mask_object, "mask");
  const auto [a, b] = operands(a_object, b_object);
  const Shape shape = broadcast([&, &a = a, &b = b](int64_t* sizes, int32_t* rank) {
    return mk_where_output_shape(mask.dl(), a.dl(), b.dl(), sizes, rank);
  });
  const Array y = output_argument(out, leading(leading(a, b), mask), shape, a.dtype());
  call(mk_where, mask, a, b, y);
  return y;
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
  py::enum_<mk_binary_op>(module, "BinaryOp")
      .value("add", MK_ADD)
      .value("sub", MK_SUB)
      .value("mul", MK_MUL)
      .value("div", MK_DIV)
      .value("maximum", MK_MAXIMUM)
      .value("minimum", MK_MINIMUM)
      .value("add_relu", MK_ADD_RELU);
  py::enum_<mk_compare_op>(module, "CompareOp")
      .value("eq", MK_EQUAL)
      .value("ne", MK_NOT_EQUAL)
      .value("lt", MK_LESS)
      .value("le", MK_LESS_EQUAL)
      .value("gt", MK_GREATER)
      .value("ge", MK_GREATER_EQUAL);
  module.def("binary", binary, arg("op"), arg("a"), arg("b"), arg("out"));
  module.def("compare", compare, arg("op"), arg("a"), arg("b"), arg("out"));
  module.def("where", where, arg("mask"), arg("a"), arg("b"), arg("out"));
}

}  // namespace medkern::python
