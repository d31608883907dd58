// Python bindings of batch, instance, group and layer normalization.
#include "medkern/norm.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

// Sizes of axes first .. last - 1; those beyond the rank are left for the C API to complain about.
Shape axes_of(const Array& x, int first, int last) {
  Shape shape;
  for (int i = first; i < last && i < x.rank(); ++i) shape.push_back(x.shape()[i]);
  return shape;
}

// float64 statistics of the given shape.
Array statistic(const Array& x, const Shape& shape) {
  return Array::empty(shape, kFloat64, x.device(), Format::contiguous);
}

// float32 beside 16-bit x.
Array parameter_gradient(const Array& x, const Shape& shape) {
  const DLDataType dtype = x.dtype().bits < 32 ? kFloat32 : x.dtype();
  return Array::empty(shape, dtype, x.device(), Format::contiguous);
}

std::optional<Array> optional_inplace(const py::object& object, const char* name) {
  if (object.is_none()) return std::nullopt;
  return inplace_argument(object, name);
}

mk_batch_norm_desc batch_desc(bool training, double momentum, double eps, int activation) {
  mk_batch_norm_desc desc{};
  desc.struct_size = sizeof desc;
  desc.training = training;
  desc.momentum = momentum;
  desc.eps = eps;
  desc.activation = activation;
  return desc;
}

py::tuple batch_norm(const py::object& x_object, const py::object& running_mean_object,
                     const py::object& running_var_object, const py::object& weight_object,
                     const py::object& bias_object, bool training, double momentum, double eps,
                     int activation, const py::object& out, const py::object& moments_object) {
  const mk_batch_norm_desc desc = batch_desc(training, momentum, eps, activation);
  const Array x = dense_argument(x_object, "x");
  const auto weight = optional_argument(weight_object, "weight");
  const auto bias = optional_argument(bias_object, "bias");
  const auto moments = optional_argument(moments_object, "moments");
  // Without training they are only read, and may be read-only.
  const auto running_mean = training ? optional_inplace(running_mean_object, "running_mean")
                                     : optional_argument(running_mean_object, "running_mean");
  const auto running_var = training ? optional_inplace(running_var_object, "running_var")
                                    : optional_argument(running_var_object, "running_var");
  size_t bytes;
  check(mk_batch_norm_workspace(x.dl(), &bytes));
  const Array y = output_argument(out, x, x.shape());
  const Array mean = statistic(x, axes_of(x, 1, 2)), rstd = statistic(x, axes_of(x, 1, 2));
  const Workspace workspace(bytes, x);
  call(mk_batch_norm_forward, desc, x, moments, weight, bias, running_mean, running_var, y, mean,
       rstd, workspace);
  return py::make_tuple(y, mean, rstd);
}

// What the backward passes have in common: dx like x, gradients of the parameters of one shape.
template <class Backward>
py::tuple gradients(const Array& x, const py::object& dy_object, const py::object& weight_object,
                    const py::object& bias_object, const py::object& mean_object,
                    const py::object& rstd_object, const Shape& parameter_shape,
                    size_t workspace_bytes, const py::object& out, Backward backward) {
  const Array dy = argument_like(dy_object, "dy", x);
  const auto weight = optional_argument(weight_object, "weight");
  const auto bias = optional_argument(bias_object, "bias");
  const Array mean = dense_argument(mean_object, "mean");
  const Array rstd = dense_argument(rstd_object, "rstd");
  const Array dx = output_argument(out, x, x.shape());
  const Array dweight = parameter_gradient(x, parameter_shape);
  const Array dbias = parameter_gradient(x, parameter_shape);
  const Workspace workspace(workspace_bytes, x);
  call_now([&] {
    return backward(dy.dl(), dl(weight), dl(bias), mean.dl(), rstd.dl(), dx.dl(), dweight.dl(),
                    dbias.dl(), workspace);
  });
  return py::make_tuple(dx, dweight, dbias);
}

py::tuple batch_norm_backward(const py::object& dy_object, const py::object& x_object,
                              const py::object& mean_object, const py::object& rstd_object,
                              const py::object& weight_object, const py::object& bias_object,
                              bool training, int activation, const py::object& out) {
  const mk_batch_norm_desc desc = batch_desc(training, 0, 1, activation);
  const Array x = dense_argument(x_object, "x");
  size_t bytes;
  check(mk_batch_norm_workspace(x.dl(), &bytes));
  return gradients(
      x, dy_object, weight_object, bias_object, mean_object, rstd_object, axes_of(x, 1, 2), bytes,
      out,
      [&](DLTensor* dy, DLTensor* weight, DLTensor* bias, DLTensor* mean, DLTensor* rstd,
          DLTensor* dx, DLTensor* dweight, DLTensor* dbias, const Workspace& workspace) {
        return mk_batch_norm_backward(&desc, dy, x.dl(), weight, bias, mean, rstd, dx, dweight,
                                      dbias, workspace.data(), workspace.bytes());
      });
}

mk_group_norm_desc group_desc(int64_t num_groups, double eps, int activation) {
  mk_group_norm_desc desc{};
  desc.struct_size = sizeof desc;
  desc.num_groups = num_groups;
  desc.eps = eps;
  desc.activation = activation;
  return desc;
}

py::tuple group_norm(const py::object& x_object, int64_t num_groups,
                     const py::object& weight_object, const py::object& bias_object, double eps,
                     int activation, const py::object& out, const py::object& moments_object) {
  const mk_group_norm_desc desc = group_desc(num_groups, eps, activation);
  const Array x = dense_argument(x_object, "x");
  const auto weight = optional_argument(weight_object, "weight");
  const auto bias = optional_argument(bias_object, "bias");
  const auto moments = optional_argument(moments_object, "moments");
  size_t bytes;
  check(mk_group_norm_workspace(&desc, x.dl(), &bytes));
  const Array y = output_argument(out, x, x.shape());
  const Shape shape{x.shape()[0], num_groups};
  const Array mean = statistic(x, shape), rstd = statistic(x, shape);
  const Workspace workspace(bytes, x);
  call(mk_group_norm_forward, desc, x, moments, weight, bias, y, mean, rstd, workspace);
  return py::make_tuple(y, mean, rstd);
}

py::tuple group_norm_backward(const py::object& dy_object, const py::object& x_object,
                              int64_t num_groups, const py::object& mean_object,
                              const py::object& rstd_object, const py::object& weight_object,
                              const py::object& bias_object, int activation,
                              const py::object& out) {
  const mk_group_norm_desc desc = group_desc(num_groups, 1, activation);
  const Array x = dense_argument(x_object, "x");
  size_t bytes;
  check(mk_group_norm_workspace(&desc, x.dl(), &bytes));
  return gradients(
      x, dy_object, weight_object, bias_object, mean_object, rstd_object, axes_of(x, 1, 2), bytes,
      out,
      [&](DLTensor* dy, DLTensor* weight, DLTensor* bias, DLTensor* mean, DLTensor* rstd,
          DLTensor* dx, DLTensor* dweight, DLTensor* dbias, const Workspace& workspace) {
        return mk_group_norm_backward(&desc, dy, x.dl(), weight, bias, mean, rstd, dx, dweight,
                                      dbias, workspace.data(), workspace.bytes());
      });
}

py::tuple instance_norm(const py::object& x_object, const py::object& weight_object,
                        const py::object& bias_object, double eps, int activation,
                        const py::object& out, const py::object& moments_object) {
  const Array x = dense_argument(x_object, "x");
  const auto weight = optional_argument(weight_object, "weight");
  const auto bias = optional_argument(bias_object, "bias");
  const auto moments = optional_argument(moments_object, "moments");
  size_t bytes;
  check(mk_instance_norm_workspace(x.dl(), &bytes));
  const Array y = output_argument(out, x, x.shape());
  const Array mean = statistic(x, axes_of(x, 0, 2)), rstd = statistic(x, axes_of(x, 0, 2));
  const Workspace workspace(bytes, x);
  call(mk_instance_norm_forward, eps, activation, x, moments, weight, bias, y, mean, rstd,
       workspace);
  return py::make_tuple(y, mean, rstd);
}

py::tuple instance_norm_backward(const py::object& dy_object, const py::object& x_object,
                                 const py::object& mean_object, const py::object& rstd_object,
                                 const py::object& weight_object, const py::object& bias_object,
                                 int activation, const py::object& out) {
  const Array x = dense_argument(x_object, "x");
  size_t bytes;
  check(mk_instance_norm_workspace(x.dl(), &bytes));
  return gradients(
      x, dy_object, weight_object, bias_object, mean_object, rstd_object, axes_of(x, 1, 2), bytes,
      out,
      [&](DLTensor* dy, DLTensor* weight, DLTensor* bias, DLTensor* mean, DLTensor* rstd,
          DLTensor* dx, DLTensor* dweight, DLTensor* dbias, const Workspace& workspace) {
        return mk_instance_norm_backward(activation, dy, x.dl(), weight, bias, mean, rstd, dx,
                                         dweight, dbias, workspace.data(), workspace.bytes());
      });
}

mk_layer_norm_desc layer_desc(const char* op, const py::object& normalized_shape, double eps) {
  mk_layer_norm_desc desc{};
  desc.struct_size = sizeof desc;
  desc.eps = eps;
  const bool sequence =
      py::isinstance<py::sequence>(normalized_shape) && !py::isinstance<py::str>(normalized_shape);
  const size_t rank = sequence ? py::len(normalized_shape) : 1;
  if (rank < 1 || rank > MK_MAX_RANK) {
    throw py::value_error(std::string(op) + ": normalized_shape must have from 1 to " +
                          std::to_string(MK_MAX_RANK) + " sizes, got " + std::to_string(rank));
  }
  desc.normalized_rank = static_cast<int32_t>(rank);
  ints_argument(op, "normalized_shape", normalized_shape, desc.normalized_rank,
                desc.normalized_shape);
  return desc;
}

// x is copied to contiguous memory if it is anything else: the normalized axes must be side by
// side.
py::tuple layer_norm(const py::object& x_object, const py::object& normalized_shape,
                     const py::object& weight_object, const py::object& bias_object, double eps,
                     const py::object& out) {
  const mk_layer_norm_desc desc = layer_desc("layer_norm", normalized_shape, eps);
  const Array x = Array::from_object(x_object, "x").contiguous();
  const auto weight = optional_argument(weight_object, "weight");
  const auto bias = optional_argument(bias_object, "bias");
  const Array y = output_argument(out, x, x.shape());
  const Shape shape = axes_of(x, 0, x.rank() - desc.normalized_rank);
  const Array mean = statistic(x, shape), rstd = statistic(x, shape);
  call(mk_layer_norm_forward, desc, x, weight, bias, y, mean, rstd);
  return py::make_tuple(y, mean, rstd);
}

py::tuple layer_norm_backward(const py::object& dy_object, const py::object& x_object,
                              const py::object& normalized_shape, const py::object& mean_object,
                              const py::object& rstd_object, const py::object& weight_object,
                              const py::object& out) {
  const mk_layer_norm_desc desc = layer_desc("layer_norm_backward", normalized_shape, 1);
  const Array x = Array::from_object(x_object, "x").contiguous();
  const Shape shape(desc.normalized_shape, desc.normalized_shape + desc.normalized_rank);
  size_t bytes = 0;
  check(mk_layer_norm_workspace(&desc, x.dl(), &bytes));
  return gradients(
      x, dy_object, weight_object, py::none(), mean_object, rstd_object, shape, bytes, out,
      [&](DLTensor* dy, DLTensor* weight, DLTensor*, DLTensor* mean, DLTensor* rstd, DLTensor* dx,
          DLTensor* dweight, DLTensor* dbias, const Workspace& workspace) {
        return mk_layer_norm_backward(&desc, dy, x.dl(), weight, mean, rstd, dx, dweight, dbias,
                                      workspace.data(), workspace.bytes());
      });
}

}  // namespace

void bind_norm(py::module_& module) {
  using py::arg;
  module.def("batch_norm", batch_norm, arg("x"), arg("running_mean"), arg("running_var"),
             arg("weight"), arg("bias"), arg("training"), arg("momentum"), arg("eps"),
             arg("activation"), arg("out"), arg("moments") = py::none());
  module.def("batch_norm_backward", batch_norm_backward, arg("dy"), arg("x"), arg("mean"),
             arg("rstd"), arg("weight"), arg("bias"), arg("training"), arg("activation"),
             arg("out"));
  module.def("group_norm", group_norm, arg("x"), arg("num_groups"), arg("weight"), arg("bias"),
             arg("eps"), arg("activation"), arg("out"), arg("moments") = py::none());
  module.def("group_norm_backward", group_norm_backward, arg("dy"), arg("x"), arg("num_groups"),
             arg("mean"), arg("rstd"), arg("weight"), arg("bias"), arg("activation"), arg("out"));
  module.def("instance_norm", instance_norm, arg("x"), arg("weight"), arg("bias"), arg("eps"),
             arg("activation"), arg("out"), arg("moments") = py::none());
  module.def("instance_norm_backward", instance_norm_backward, arg("dy"), arg("x"), arg("mean"),
             arg("rstd"), arg("weight"), arg("bias"), arg("activation"), arg("out"));
  module.def("layer_norm", layer_norm, arg("x"), arg("normalized_shape"), arg("weight"),
             arg("bias"), arg("eps"), arg("out"));
  module.def("layer_norm_backward", layer_norm_backward, arg("dy"), arg("x"),
             arg("normalized_shape"), arg("mean"), arg("rstd"), arg("weight"), arg("out"));
}

}  // namespace medkern::python
