// Python bindings of softmax, log-softmax and cross-entropy.
#include "medkern/softmax.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

mk_softmax_desc softmax_desc(int32_t dim, bool logarithmic) {
  mk_softmax_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dim = dim;
  desc.logarithmic = logarithmic;
  return desc;
}

Array softmax(const py::object& x_object, int32_t dim, bool logarithmic, const py::object& out) {
  const mk_softmax_desc desc = softmax_desc(dim, logarithmic);
  const Array x = dense_argument(x_object, "x");
  const Array y = output_argument(out, x, x.shape());
  call(mk_softmax_forward, desc, x, y);
  return y;
}

Array softmax_backward(const py::object& dy_object, const py::object& y_object, int32_t dim,
                       bool logarithmic, const py::object& out) {
  const mk_softmax_desc desc = softmax_desc(dim, logarithmic);
  const Array y = dense_argument(y_object, "y");
  const Array dy = argument_like(dy_object, "dy", y);
  const Array dx = output_argument(out, y, y.shape());
  call(mk_softmax_backward, desc, dy, y, dx);
  return dx;
}

mk_cross_entropy_desc cross_entropy_desc(const char* op, int64_t ignore_index,
                                         const std::string& reduction, double label_smoothing) {
  mk_cross_entropy_desc desc{};
  desc.struct_size = sizeof desc;
  if (reduction == "none") {
    desc.reduction = MK_REDUCE_NONE;
  } else if (reduction == "sum") {
    desc.reduction = MK_REDUCE_SUM;
  } else if (reduction == "mean") {
    desc.reduction = MK_REDUCE_MEAN;
  } else {
    throw py::value_error(std::string(op) + ": reduction must be 'none', 'sum' or 'mean', got '" +
                          reduction + "'");
  }
  desc.ignore_index = ignore_index;
  desc.label_smoothing = label_smoothing;
  return desc;
}

// Gives the loss and the total weight, which the gradient of the mean needs.
py::tuple cross_entropy(const py::object& logits_object, const py::object& target_object,
                        const py::object& weight_object, int64_t ignore_index,
                        const std::string& reduction, double label_smoothing,
                        const py::object& out) {
  const mk_cross_entropy_desc desc =
      cross_entropy_desc("cross_entropy", ignore_index, reduction, label_smoothing);
  const Array logits = dense_argument(logits_object, "logits");
  const Array target = Array::from_object(target_object, "target").contiguous();
  const auto weight = optional_argument(weight_object, "weight");
  size_t bytes;
  check(mk_cross_entropy_workspace(logits.dl(), &bytes));
  const Shape shape = desc.reduction == MK_REDUCE_NONE ? target.shape() : Shape{};
  const Array loss = out.is_none()
                         ? Array::empty(shape, logits.dtype(), logits.device(), Format::contiguous)
                         : inplace_argument(out, "out");
  const Array total = Array::empty({}, kFloat64, logits.device(), Format::contiguous);
  const Workspace workspace(bytes, logits);
  call(mk_cross_entropy_forward, desc, logits, target, weight, loss, total, workspace);
  return py::make_tuple(loss, total);
}

Array cross_entropy_backward(const py::object& dloss_object, const py::object& logits_object,
                             const py::object& target_object, const py::object& total_object,
                             const py::object& weight_object, int64_t ignore_index,
                             const std::string& reduction, double label_smoothing,
                             const py::object& out) {
  const mk_cross_entropy_desc desc =
      cross_entropy_desc("cross_entropy_backward", ignore_index, reduction, label_smoothing);
  const Array logits = dense_argument(logits_object, "logits");
  const Array dloss = Array::from_object(dloss_object, "dloss").contiguous();
  const Array target = Array::from_object(target_object, "target").contiguous();
  const Array total = dense_argument(total_object, "total_weight");
  const auto weight = optional_argument(weight_object, "weight");
  const Array dlogits = output_argument(out, logits, logits.shape());
  call(mk_cross_entropy_backward, desc, dloss, logits, target, weight, total, dlogits);
  return dlogits;
}

}  // namespace

void bind_softmax(py::module_& module) {
  using py::arg;
  module.def("softmax", softmax, arg("x"), arg("dim"), arg("logarithmic"), arg("out"));
  module.def("softmax_backward", softmax_backward, arg("dy"), arg("y"), arg("dim"),
             arg("logarithmic"), arg("out"));
  module.def("cross_entropy", cross_entropy, arg("logits"), arg("target"), arg("weight"),
             arg("ignore_index"), arg("reduction"), arg("label_smoothing"), arg("out"));
  module.def("cross_entropy_backward", cross_entropy_backward, arg("dloss"), arg("logits"),
             arg("target"), arg("total_weight"), arg("weight"), arg("ignore_index"),
             arg("reduction"), arg("label_smoothing"), arg("out"));
}

}  // namespace medkern::python
