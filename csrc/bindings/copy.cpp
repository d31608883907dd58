// Python bindings of copies.
#include "medkern/copy.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

Array copy(const py::object& x_object, const py::object& dtype, bool channels_last,
           const py::object& out) {
  const Array x = Array::from_object(x_object, "x");
  const DLDataType type = dtype.is_none() ? x.dtype() : dtype_argument(dtype);
  const Array y = out.is_none()
                      ? Array::empty(x.shape(), type, x.device(),
                                     channels_last ? Format::channels_last : Format::contiguous)
                      : output_argument(out, x, x.shape());
  call(mk_copy, x, y);
  return y;
}

Array fill(const py::object& out, double value) {
  const Array y = inplace_argument(out, "out");
  call(mk_fill, value, y);
  return y;
}

mk_status concat_arrays(const std::vector<Array>* xs, int32_t axis, DLTensor* y) {
  std::vector<const DLTensor*> pointers;
  for (const Array& x : *xs) pointers.push_back(x.dl());
  return mk_concat(pointers.data(), static_cast<int32_t>(pointers.size()), axis, y);
}

Array concat(const py::sequence& objects, int64_t dim, const py::object& out) {
  std::vector<Array> xs;
  for (const auto& object : objects) {
    xs.push_back(Array::from_object(py::reinterpret_borrow<py::object>(object), "a tensor"));
  }
  if (xs.empty()) throw py::value_error("concat: tensors must not be empty");
  std::vector<const DLTensor*> pointers;
  for (const Array& x : xs) pointers.push_back(x.dl());
  const auto count = static_cast<int32_t>(xs.size());
  if (dim < -xs[0].rank() || dim >= xs[0].rank()) {
    throw py::value_error("concat: dim must be from " + std::to_string(-xs[0].rank()) + " to " +
                          std::to_string(xs[0].rank() - 1) + ", got " + std::to_string(dim));
  }
  const auto axis = static_cast<int32_t>(dim < 0 ? dim + xs[0].rank() : dim);
  Shape shape(xs[0].rank());
  check(mk_concat_output_shape(pointers.data(), count, axis, shape.data()));
  const Array y = output_argument(out, xs[0], shape);
  call(concat_arrays, xs, axis, y);
  return y;
}

mk_pad_mode pad_mode(const std::string& mode) {
  const char* const names[] = {"constant", "reflect", "replicate", "circular"};
  for (int i = 0; i < 4; ++i) {
    if (mode == names[i]) return static_cast<mk_pad_mode>(i);
  }
  throw py::value_error(
      "pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', got '" + mode + "'");
}

// `padding` as in PyTorch: (before, after) of the last axis, then of the one before it, and so on.
mk_pad_desc pad_desc(int rank, const std::vector<int64_t>& padding, const std::string& mode,
                     double value) {
  mk_pad_desc desc{};
  desc.struct_size = sizeof desc;
  desc.mode = pad_mode(mode);
  desc.rank = rank;
  desc.value = value;
  if (padding.size() % 2 != 0 || padding.size() > 2 * static_cast<size_t>(rank)) {
    throw py::value_error("pad: padding must have a pair for at most " + std::to_string(rank) +
                          " axes, got " + std::to_string(padding.size()) + " numbers");
  }
  for (size_t i = 0; i < padding.size(); ++i) desc.padding[rank - 1 - i / 2][i % 2] = padding[i];
  return desc;
}

Array pad(const py::object& x_object, const std::vector<int64_t>& padding, const std::string& mode,
          double value, const py::object& out) {
  const Array x = Array::from_object(x_object, "x");
  const mk_pad_desc desc = pad_desc(x.rank(), padding, mode, value);
  Shape shape(x.rank());
  check(mk_pad_output_shape(&desc, x.dl(), shape.data()));
  const Array y = output_argument(out, x, shape);
  call(mk_pad, desc, x, y);
  return y;
}

Array pad_backward(const py::object& dy_object, const Shape& input_shape,
                   const std::vector<int64_t>& padding, const std::string& mode,
                   const py::object& out) {
  const Array dy = Array::from_object(dy_object, "dy");
  const mk_pad_desc desc = pad_desc(dy.rank(), padding, mode, 0);
  const Array dx = output_argument(out, dy, input_shape);
  call(mk_pad_backward, desc, dy, dx);
  return dx;
}

}  // namespace

void bind_copy(py::module_& module) {
  using py::arg;
  module.def("copy", copy, arg("x"), arg("dtype"), arg("channels_last"), arg("out"));
  module.def("fill", fill, arg("out"), arg("value"));
  module.def("concat", concat, arg("tensors"), arg("dim"), arg("out"));
  module.def("pad", pad, arg("x"), arg("padding"), arg("mode"), arg("value"), arg("out"));
  module.def("pad_backward", pad_backward, arg("dy"), arg("input_shape"), arg("padding"),
             arg("mode"), arg("out"));
}

}  // namespace medkern::python
