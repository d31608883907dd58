#include "bindings/dtype.h"

#include <string>

namespace medkern::python {
namespace {

// Has of a NumPy dtype what is asked of one.
struct Bfloat16 {};

bool names_bfloat16(const py::object& object) {
  if (py::isinstance<Bfloat16>(object)) return true;
  return py::isinstance<py::str>(object) && object.cast<std::string>() == "bfloat16";
}

}  // namespace

DLDataType dtype_argument(const py::object& dtype) {
  if (names_bfloat16(dtype)) return kBfloat16;
  const py::dtype type = py::dtype::from_args(dtype);
  const auto bits = static_cast<uint8_t>(8 * type.itemsize());
  switch (type.kind()) {
    case 'f':
      return {kDLFloat, bits, 1};
    case 'i':
      return {kDLInt, bits, 1};
    case 'u':
      return {kDLUInt, bits, 1};
    case 'b':
      return {kDLBool, 8, 1};
    default:
      throw py::type_error("unsupported dtype " + py::repr(dtype).cast<std::string>());
  }
}

py::dtype numpy_dtype(DLDataType type) {
  if (type.code == kDLFloat && type.bits == 32) return py::dtype::of<float>();
  if (type.code == kDLFloat && type.bits == 64) return py::dtype::of<double>();
  if (is_bfloat16(type)) {
    throw py::type_error(
        "NumPy has no bfloat16: convert to float32 first, by tensor.to('float32') or "
        "medkern.kernels.copy(array, dtype='float32')");
  }
  const char* kind = type.code == kDLFloat  ? "f"
                     : type.code == kDLInt  ? "i"
                     : type.code == kDLUInt ? "u"
                                            : "b";
  return py::dtype(kind + std::to_string(type.bits / 8));
}

py::object dtype_object(DLDataType type) {
  if (is_bfloat16(type)) return py::module_::import("medkern._C").attr("bfloat16");
  return numpy_dtype(type);
}

void bind_dtype(py::module_& module) {
  py::class_<Bfloat16>(module, "Bfloat16")
      .def_property_readonly("name", [](const Bfloat16&) { return "bfloat16"; })
      .def_property_readonly("kind", [](const Bfloat16&) { return "f"; })
      .def_property_readonly("itemsize", [](const Bfloat16&) { return 2; })
      .def("__repr__", [](const Bfloat16&) { return "bfloat16"; })
      .def("__eq__", [](const Bfloat16&, const py::object& other) { return names_bfloat16(other); })
      .def("__hash__", [](const Bfloat16&) { return py::hash(py::str("bfloat16")); });
  module.attr("bfloat16") = Bfloat16{};
  module.def(
      "dtype", [](const py::object& name) { return dtype_object(dtype_argument(name)); },
      py::arg("name"));
}

}  // namespace medkern::python
