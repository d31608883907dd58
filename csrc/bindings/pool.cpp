// Python bindings of pooling.
#include "medkern/pool.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
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
                    bool ceil_mode, const py::object& index_dtype, const py::object& out,
                    const py::object& indices_out) {
  const mk_pool_desc desc =
      pool_desc("max_pool", rank, kernel_size, stride, padding, dilation, ceil_mode);
  const Array x = image_argument(x_object, "x");
  Shape shape(rank + 2);
  check(mk_max_pool_output_shape(&desc, x.dl(), shape.data()));
  const Array y = output_argument(out, x, shape);
  if (index_dtype.is_none()) {
    call(mk_max_pool_forward, desc, x, y, nullptr);
    return py::cast(y);
  }
  const Array indices = output_argument(indices_out, x, shape, dtype_argument(index_dtype));
  call(mk_max_pool_forward, desc, x, y, indices);
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
  call(mk_max_pool_backward, desc, dy, indices, dx);
  return dx;
}

Array avg_pool(const py::object& x_object, int rank, const py::object& kernel_size,
               const py::object& stride, const py::object& padding, bool ceil_mode,
               bool count_include_pad, const py::object& out) {
  const mk_pool_desc desc =
      pool_desc("avg_pool", rank, kernel_size, stride, padding, py::int_(1), ceil_mode);
  const Array x = image_argument(x_object, "x");
  Shape shape(rank + 2);
  check(mk_avg_pool_output_shape(&desc, x.dl(), shape.data()));
  const Array y = output_argument(out, x, shape);
  call(mk_avg_pool_forward, desc, count_include_pad, x, y);
  return y;
}

Array avg_pool_backward(const py::object& dy_object, const Shape& input_shape, int rank,
                        const py::object& kernel_size, const py::object& stride,
                        const py::object& padding, bool ceil_mode, bool count_include_pad,
                        const py::object& out) {
  const mk_pool_desc desc =
      pool_desc("avg_pool_backward", rank, kernel_size, stride, padding, py::int_(1), ceil_mode);
  const Array dy = dense_argument(dy_object, "dy");
  const Array dx = output_argument(out, dy, input_shape);
  call(mk_avg_pool_backward, desc, count_include_pad, dy, dx);
  return dx;
}

// The shape adaptive pooling gives; None for an axis keeps its size.
Shape adaptive_shape(const char* op, const Array& x, int rank, const py::object& output_size) {
  py::object sizes = output_size;
  if (py::isinstance<py::sequence>(sizes) && !py::isinstance<py::str>(sizes)) {
    py::list list(sizes);
    for (size_t i = 0; i < list.size(); ++i) {
      if (list[i].is_none()) list[i] = -1;
    }
    sizes = std::move(list);
  } else if (sizes.is_none()) {
    sizes = py::int_(-1);
  }
  int64_t output[3];
  axes_argument(op, "output_size", sizes, rank, output);
  Shape shape(rank + 2);
  check(mk_adaptive_pool_output_shape(rank, output, x.dl(), shape.data()));
  return shape;
}

Array adaptive_avg_pool(const py::object& x_object, int rank, const py::object& output_size,
                        const py::object& out) {
  const Array x = dense_argument(x_object, "x");
  const Array y =
      output_argument(out, x, adaptive_shape("adaptive_avg_pool", x, rank, output_size));
  call(mk_adaptive_avg_pool_forward, rank, x, y);
  return y;
}

Array adaptive_avg_pool_backward(const py::object& dy_object, const Shape& input_shape,
                                 const py::object& out) {
  const Array dy = dense_argument(dy_object, "dy");
  const Array dx = output_argument(out, dy, input_shape);
  const int rank = static_cast<int>(input_shape.size()) - 2;
  call(mk_adaptive_avg_pool_backward, rank, dy, dx);
  return dx;
}

py::object adaptive_max_pool(const py::object& x_object, int rank, const py::object& output_size,
                             bool return_indices, const py::object& out) {
  const Array x = dense_argument(x_object, "x");
  const Shape shape = adaptive_shape("adaptive_max_pool", x, rank, output_size);
  const Array y = output_argument(out, x, shape);
  if (!return_indices) {
    call(mk_adaptive_max_pool_forward, rank, x, y, nullptr);
    return py::cast(y);
  }
  const Array indices = output_argument(py::none(), x, shape, kInt64);
  call(mk_adaptive_max_pool_forward, rank, x, y, indices);
  return py::make_tuple(y, indices);
}

Array adaptive_max_pool_backward(const py::object& dy_object, const py::object& indices_object,
                                 const Shape& input_shape, const py::object& out) {
  const Array dy = dense_argument(dy_object, "dy");
  const Array indices = dense_argument(indices_object, "indices");
  const Array dx = output_argument(out, dy, input_shape);
  const int rank = static_cast<int>(input_shape.size()) - 2;
  call(mk_adaptive_max_pool_backward, rank, dy, indices, dx);
  return dx;
}

Array max_unpool(const py::object& x_object, const py::object& indices_object, int rank,
                 const py::object& kernel_size, const py::object& stride, const py::object& padding,
                 const py::object& output_size, const py::object& out) {
  const char* op = "max_unpool";
  const mk_pool_desc desc = pool_desc(op, rank, kernel_size, stride, padding, py::int_(1), false);
  const Array x = dense_argument(x_object, "x");
  const Array indices = dense_argument(indices_object, "indices");
  int64_t sizes[3];
  if (!output_size.is_none()) {
    // The whole shape of what was pooled will do as well.
    const bool whole = py::isinstance<py::sequence>(output_size) &&
                       py::len(output_size) == static_cast<size_t>(rank) + 2;
    axes_argument(op, "output_size",
                  whole ? py::object(output_size[py::slice(2, rank + 2, 1)]) : output_size, rank,
                  sizes);
  }
  Shape shape(rank + 2);
  check(mk_max_unpool_output_shape(&desc, output_size.is_none() ? nullptr : sizes, x.dl(),
                                   shape.data()));
  const Array y = output_argument(out, x, shape);
  call(mk_max_unpool_forward, rank, x, indices, y);
  return y;
}

Array max_unpool_backward(const py::object& dy_object, const py::object& indices_object,
                          const py::object& out) {
  const Array dy = dense_argument(dy_object, "dy");
  const Array indices = dense_argument(indices_object, "indices");
  const Array dx = output_argument(out, dy, indices.shape());
  call(mk_max_unpool_backward, dy.rank() - 2, dy, indices, dx);
  return dx;
}

}  // namespace

void bind_pool(py::module_& module) {
  using py::arg;
  module.def("max_pool", max_pool, arg("x"), arg("rank"), arg("kernel_size"), arg("stride"),
             arg("padding"), arg("dilation"), arg("ceil_mode"), arg("index_dtype"), arg("out"),
             arg("indices_out") = py::none());
  module.def("max_pool_backward", max_pool_backward, arg("dy"), arg("indices"), arg("input_shape"),
             arg("rank"), arg("kernel_size"), arg("stride"), arg("padding"), arg("dilation"),
             arg("ceil_mode"), arg("out"));
  module.def("avg_pool", avg_pool, arg("x"), arg("rank"), arg("kernel_size"), arg("stride"),
             arg("padding"), arg("ceil_mode"), arg("count_include_pad"), arg("out"));
  module.def("avg_pool_backward", avg_pool_backward, arg("dy"), arg("input_shape"), arg("rank"),
             arg("kernel_size"), arg("stride"), arg("padding"), arg("ceil_mode"),
             arg("count_include_pad"), arg("out"));
  module.def("adaptive_avg_pool", adaptive_avg_pool, arg("x"), arg("rank"), arg("output_size"),
             arg("out"));
  module.def("adaptive_avg_pool_backward", adaptive_avg_pool_backward, arg("dy"),
             arg("input_shape"), arg("out"));
  module.def("adaptive_max_pool", adaptive_max_pool, arg("x"), arg("rank"), arg("output_size"),
             arg("return_indices"), arg("out"));
  module.def("adaptive_max_pool_backward", adaptive_max_pool_backward, arg("dy"), arg("indices"),
             arg("input_shape"), arg("out"));
  module.def("max_unpool", max_unpool, arg("x"), arg("indices"), arg("rank"), arg("kernel_size"),
             arg("stride"), arg("padding"), arg("output_size"), arg("out"));
  module.def("max_unpool_backward", max_unpool_backward, arg("dy"), arg("indices"), arg("out"));
}

}  // namespace medkern::python
