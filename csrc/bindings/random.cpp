// Python bindings of random numbers and dropout. Functions that draw give the result and the offset
// after it.
#include "medkern/random.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

// An int within 0 .. 2^64 - 1.
uint64_t word_argument(const char* op, const char* name, const py::object& value) {
  if (PyIndex_Check(value.ptr()) == 0 || PyBool_Check(value.ptr())) {
    throw py::type_error(std::string(op) + ": " + name + " must be an int, got " +
                         py::repr(value).cast<std::string>());
  }
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) throw py::error_already_set();
  const unsigned long long word = PyLong_AsUnsignedLongLong(index.ptr());
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw py::value_error(std::string(op) + ": " + name + " must be from 0 to 2**64 - 1, got " +
                          py::repr(value).cast<std::string>());
  }
  return word;
}

using Draw = mk_status (*)(uint64_t seed, uint64_t* offset, double a, double b, DLTensor* y);

template <Draw draw>
py::tuple random_array(const char* op, const Shape& shape, const py::object& dtype,
                       const py::object& seed, const py::object& offset, double a, double b,
                       const py::object& out, const py::object& device) {
  const uint64_t key = word_argument(op, "seed", seed);
  uint64_t next = word_argument(op, "offset", offset);
  for (const int64_t size : shape) {
    if (size < 0) {
      throw py::value_error(std::string(op) + ": shape must not be negative, got " +
                            py::repr(py::cast(shape)).cast<std::string>());
    }
  }
  const Array like =
      Array::empty({0}, dtype_argument(dtype), device_argument(device), Format::contiguous);
  const Array y = output_argument(out, like, shape);
  if (y.shape() != shape) {
    throw py::value_error(std::string(op) + ": out must have shape " +
                          py::repr(py::tuple(py::cast(shape))).cast<std::string>() + ", got " +
                          py::repr(py::tuple(py::cast(y.shape()))).cast<std::string>());
  }
  call_now([&] { return draw(key, &next, a, b, y.dl()); });
  return py::make_tuple(y, next);
}

py::tuple uniform(const Shape& shape, const py::object& dtype, const py::object& seed,
                  const py::object& offset, double low, double high, const py::object& out,
                  const py::object& device) {
  return random_array<mk_random_uniform>("uniform", shape, dtype, seed, offset, low, high, out,
                                         device);
}

py::tuple normal(const Shape& shape, const py::object& dtype, const py::object& seed,
                 const py::object& offset, double mean, double std, const py::object& out,
                 const py::object& device) {
  return random_array<mk_random_normal>("normal", shape, dtype, seed, offset, mean, std, out,
                                        device);
}

py::tuple dropout(const py::object& x_object, double p, const py::object& seed,
                  const py::object& offset, const py::object& out) {
  const uint64_t key = word_argument("dropout", "seed", seed);
  uint64_t next = word_argument("dropout", "offset", offset);
  const Array x = dense_argument(x_object, "x");
  const Array y = output_argument(out, x, x.shape());
  const Array mask = output_argument(py::none(), x, x.shape(), kUint8);
  call_now([&] { return mk_dropout_forward(p, key, &next, x.dl(), y.dl(), mask.dl()); });
  return py::make_tuple(y, mask, next);
}

Array dropout_backward(const py::object& dy_object, const py::object& mask_object, double p,
                       const py::object& out) {
  const Array dy = dense_argument(dy_object, "dy");
  const Array mask = dense_argument(mask_object, "mask");
  const Array dx = output_argument(out, dy, dy.shape());
  call(mk_dropout_backward, p, dy, mask, dx);
  return dx;
}

}  // namespace

void bind_random(py::module_& module) {
  using py::arg;
  module.def("uniform", uniform, arg("shape"), arg("dtype"), arg("seed"), arg("offset"), arg("low"),
             arg("high"), arg("out"), arg("device") = py::none());
  module.def("normal", normal, arg("shape"), arg("dtype"), arg("seed"), arg("offset"), arg("mean"),
             arg("std"), arg("out"), arg("device") = py::none());
  module.def("dropout", dropout, arg("x"), arg("p"), arg("seed"), arg("offset"), arg("out"));
  module.def("dropout_backward", dropout_backward, arg("dy"), arg("mask"), arg("p"), arg("out"));
}

}  // namespace medkern::python
