// Python bindings of resizing.
#include "medkern/resize.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

// A number for every axis, or a sequence of `rank` numbers.
void scales_argument(const char* op, const py::object& value, int rank, double* result) {
  const auto wrong = [&] {
    return py::type_error(std::string(op) + ": scale_factor must be a number or a sequence of " +
                          std::to_string(rank) + " numbers, got " +
                          py::repr(value).cast<std::string>());
  };
  const auto number = [&](const py::handle& item) {
    if (PyBool_Check(item.ptr()) || !(PyFloat_Check(item.ptr()) || PyIndex_Check(item.ptr()))) {
      throw wrong();
    }
    const double result = PyFloat_AsDouble(item.ptr());
    if (result == -1 && PyErr_Occurred() != nullptr) {  // such as an array of several elements
      PyErr_Clear();
      throw wrong();
    }
    return result;
  };
  const bool sequence = py::isinstance<py::sequence>(value) && !py::isinstance<py::str>(value);
  if (sequence && py::len(value) != static_cast<size_t>(rank)) throw wrong();
  for (int i = 0; i < rank; ++i) {
    result[i] = number(sequence ? py::object(value[py::int_(i)]) : value);
  }
}

mk_resize_desc resize_desc(const char* op, int tensor_rank, const py::object& size,
                           const py::object& scale_factor, const std::string& mode,
                           bool align_corners) {
  mk_resize_desc desc{};
  desc.struct_size = sizeof desc;
  desc.spatial_rank = tensor_rank - 2;
  desc.align_corners = align_corners;
  desc.by_scale = size.is_none();
  static const char* const kLinear[] = {"linear", "bilinear", "trilinear"};
  const int rank = desc.spatial_rank;
  if (rank < 1 || rank > 3) {
    throw py::value_error(std::string(op) + ": x must have 3 to 5 dimensions, got " +
                          std::to_string(tensor_rank));
  }
  desc.mode = mode == "nearest" ? MK_RESIZE_NEAREST : MK_RESIZE_LINEAR;
  if (mode != "nearest" && mode != kLinear[rank - 1]) {
    throw py::value_error(std::string(op) + ": mode must be 'nearest' or '" + kLinear[rank - 1] +
                          "' for a tensor with " + std::to_string(tensor_rank) +
                          " dimensions, got '" + mode + "'");
  }
  if (size.is_none() == scale_factor.is_none()) {
    throw py::value_error(std::string(op) + ": give one of size and scale_factor");
  }
  if (desc.by_scale != 0) {
    scales_argument(op, scale_factor, rank, desc.scale_factor);
  } else {
    axes_argument(op, "size", size, rank, desc.size);
  }
  return desc;
}

Array interpolate(const py::object& x_object, const py::object& size,
                  const py::object& scale_factor, const std::string& mode, bool align_corners,
                  const py::object& out) {
  const Array x = dense_argument(x_object, "x");
  const mk_resize_desc desc =
      resize_desc("interpolate", x.rank(), size, scale_factor, mode, align_corners);
  Shape shape(x.rank());
  check(mk_resize_output_shape(&desc, x.dl(), shape.data()));
  const Array y = output_argument(out, x, shape);
  call(mk_resize_forward, desc, x, y);
  return y;
}

Array interpolate_backward(const py::object& dy_object, const Shape& input_shape,
                           const py::object& size, const py::object& scale_factor,
                           const std::string& mode, bool align_corners, const py::object& out) {
  const Array dy = dense_argument(dy_object, "dy");
  const mk_resize_desc desc =
      resize_desc("interpolate_backward", static_cast<int>(input_shape.size()), size, scale_factor,
                  mode, align_corners);
  const Array dx = output_argument(out, dy, input_shape);
  call(mk_resize_backward, desc, dy, dx);
  return dx;
}

}  // namespace

void bind_resize(py::module_& module) {
  using py::arg;
  module.def("interpolate", interpolate, arg("x"), arg("size"), arg("scale_factor"), arg("mode"),
             arg("align_corners"), arg("out"));
  module.def("interpolate_backward", interpolate_backward, arg("dy"), arg("input_shape"),
             arg("size"), arg("scale_factor"), arg("mode"), arg("align_corners"), arg("out"));
}

}  // namespace medkern::python
