// Python bindings of reductions.
#include "medkern/reduce.h"

#include <algorithm>

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

// dim is None (all axes), an int or a sequence of ints.
mk_reduce_desc reduce_desc(mk_reduce_op op, const py::object& dim, bool keepdim,
                           double correction) {
  mk_reduce_desc desc{};
  desc.struct_size = sizeof desc;
  desc.op = op;
  desc.keepdim = keepdim;
  desc.correction = correction;
  desc.dims_count = -1;
  if (dim.is_none()) return desc;
  const auto wrong = [&] {
    return py::type_error("dim must be None, an int or a sequence of at most " +
                          std::to_string(MK_MAX_RANK) + " ints, got " +
                          py::repr(dim).cast<std::string>());
  };
  const auto add = [&](const py::handle& item) {
    if (PyIndex_Check(item.ptr()) == 0 || desc.dims_count == MK_MAX_RANK) throw wrong();
    // Clipped to 64 and then 32 bits: what does not fit is out of range either way.
    const int64_t axis = PyNumber_AsSsize_t(item.ptr(), nullptr);
    if (axis == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
    desc.dims[desc.dims_count++] =
        static_cast<int32_t>(std::clamp<int64_t>(axis, INT32_MIN, INT32_MAX));
  };
  desc.dims_count = 0;
  if (py::isinstance<py::sequence>(dim) && !py::isinstance<py::str>(dim)) {
    for (const auto& item : dim) add(item);
  } else {
    add(dim);
  }
  return desc;
}

Shape output_shape(const mk_reduce_desc& desc, const Array& x) {
  Shape shape(MK_MAX_RANK);
  int32_t rank = 0;
  check(mk_reduce_output_shape(&desc, x.dl(), shape.data(), &rank));
  shape.resize(rank);
  return shape;
}

py::object reduce(mk_reduce_op op, const py::object& x_object, const py::object& dim, bool keepdim,
                  double correction, bool return_indices, const py::object& out) {
  const Array x = Array::from_object(x_object, "x");
  const mk_reduce_desc desc = reduce_desc(op, dim, keepdim, correction);
  const Shape shape = output_shape(desc, x);
  size_t bytes = 0;
  check(mk_reduce_workspace(&desc, x.dl(), &bytes));
  const Workspace workspace(bytes, x);
  const Array y = output_argument(out, x, shape);
  std::optional<Array> indices;
  if (return_indices) indices = output_argument(py::none(), x, shape, kInt64);
  call(mk_reduce, desc, x, y, indices, workspace);
  if (return_indices) return py::make_tuple(y, *indices);
  return py::cast(y);
}

py::tuple reduce_shape(const py::object& x, const py::object& dim, bool keepdim) {
  const mk_reduce_desc desc = reduce_desc(MK_SUM, dim, keepdim, 0);
  return py::tuple(py::cast(output_shape(desc, Array::from_object(x, "x"))));
}

Array reduce_take(const py::object& x_object, const py::object& indices_object,
                  const py::object& dim, bool keepdim, const py::object& out) {
  const Array x = Array::from_object(x_object, "x");
  const Array indices = Array::from_object(indices_object, "indices");
  const mk_reduce_desc desc = reduce_desc(MK_SUM, dim, keepdim, 0);
  const Array y = output_argument(out, x, output_shape(desc, x));
  call(mk_reduce_take, desc, x, indices, y);
  return y;
}

Array reduce_put(const py::object& dy_object, const py::object& indices_object,
                 const Shape& input_shape, const py::object& dim, bool keepdim,
                 const py::object& out) {
  const Array dy = Array::from_object(dy_object, "dy");
  const Array indices = Array::from_object(indices_object, "indices");
  const mk_reduce_desc desc = reduce_desc(MK_SUM, dim, keepdim, 0);
  const Array dx = output_argument(out, dy, input_shape);
  call(mk_reduce_put, desc, dy, indices, dx);
  return dx;
}

}  // namespace

void bind_reduce(py::module_& module) {
  using py::arg;
  py::enum_<mk_reduce_op>(module, "ReduceOp")
      .value("sum", MK_SUM)
      .value("mean", MK_MEAN)
      .value("var", MK_VAR)
      .value("max", MK_MAX)
      .value("min", MK_MIN);
  module.def("reduce", reduce, arg("op"), arg("x"), arg("dim"), arg("keepdim"), arg("correction"),
             arg("return_indices"), arg("out"));
  module.def("reduce_shape", reduce_shape, arg("x"), arg("dim"), arg("keepdim"));
  module.def("reduce_take", reduce_take, arg("x"), arg("indices"), arg("dim"), arg("keepdim"),
             arg("out"));
  module.def("reduce_put", reduce_put, arg("dy"), arg("indices"), arg("input_shape"), arg("dim"),
             arg("keepdim"), arg("out"));
}

}  // namespace medkern::python
