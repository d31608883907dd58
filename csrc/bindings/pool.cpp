// Python bindings of pooling.
#include "medkern/pool.h"

#include "bindings/arguments.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

mk_pool_desc pool_desc(const char* op, int rank, const py::object& kernel_size,
                       const py::object& stride, const py::object& padding,
                       const py::object& dilation, bool ceil_mode) {
  mk_pool_desc desc{};
  desc.struct_size = sizeof desc;
  desc.spatial_rank = rank;
  desc.ceil_mode = ceil_mode;
  axes_argument(op, "kernel_size", kernel_size, rank, desc.kernel_size);
  stride_argument(op, stride, rank, desc.kernel_size, desc.stride);
  axes_argument(op, "dilation", dilation, rank, desc.dilation);
  padding_argument(op, padding, rank, desc.kernel_size, desc.stride, desc.dilation, desc.padding);
  return desc;
}

py::object max_pool(const py::object& x_object, int rank, const py::object& kernel_size,
                    const py::object& stride, const py::object& padding, const py::object& dilation,
                    bool ceil_mode, const py::object& index_dtype, const py::object& out) {
  const mk_pool_desc desc =
      pool_desc("max_pool", rank, kernel_size, stride, padding, dilation, ceil_mode);
  const Array x = dense_argument(x_object, "x");
  Shape shape(rank + 2);
  check(mk_max_pool_output_shape(&desc, x.dl(), shape.data()));
  const Array y = output_argument(out, x, shape);
  if (index_dtype.is_none()) {
    call([&] { return mk_max_pool_forward(&desc, x.dl(), y.dl(), nullptr); });
    return py::cast(y);
  }
  const Array indices = output_argument(py::none(), x, shape, dtype_argument(index_dtype));
  call([&] { return mk_max_pool_forward(&desc, x.dl(), y.dl(), indices.dl()); });
  return py::make_tuple(y, indices);
}

Array max_pool_backward(const py::object& dy_object, const py::object& indices_object,
                        const Shape& input_shape, int rank, const py::object& kernel_size,
                        const py::object& stride, const py::object& padding,
                        const py::object& dilation, bool ceil_mode, const py::object& out) {
  const mk_pool_desc desc =
      pool_desc("max_pool_backward", rank, kernel_size, stride, padding, dilation, ceil_mode);
  const Array dy = dense_argument(dy_object, "dy");
  const Array indices = dense_argument(indices_object, "indices");
  const Array dx = output_argument(out, dy, input_shape);
  call([&] { return mk_max_pool_backward(&desc, dy.dl(), indices.dl(), dx.dl()); });
  return dx;
}

}  // namespace

void bind_pool(py::module_& module) {
  using py::arg;
  module.def("max_pool", max_pool, arg("x"), arg("rank"), arg("kernel_size"), arg("stride"),
             arg("padding"), arg("dilation"), arg("ceil_mode"), arg("index_dtype"), arg("out"));
  module.def("max_pool_backward", max_pool_backward, arg("dy"), arg("indices"), arg("input_shape"),
             arg("rank"), arg("kernel_size"), arg("stride"), arg("padding"), arg("dilation"),
             arg("ceil_mode"), arg("out"));
}

}  // namespace medkern::python
