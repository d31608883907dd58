// Python bindings of gemm, linear and bias_backward.
#include "medkern/gemm.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/exchange.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

std::optional<Array> optional_argument(const py::object& object, const char* name) {
  if (object.is_none()) return std::nullopt;
  return Array::from_object(object, name).contiguous();
}

// A result is always contiguous.
Array result(const py::object& out, const Array& like, const Shape& shape) {
  return out.is_none() ? Array::empty(shape, like.dtype(), like.device(), Format::contiguous)
                       : output_argument(out, like, shape);
}

// The size along an axis counted from the end; 0 where there is none, for the C API to refuse.
int64_t size_from_end(const Array& x, int axis) {
  return x.rank() >= axis ? x.shape()[x.rank() - axis] : 0;
}

Shape with_last(Shape shape, int64_t size) {
  if (!shape.empty()) shape.back() = size;
  return shape;
}

Array gemm(const py::object& a_object, const py::object& b_object, const py::object& bias_object,
           int activation, const py::object& out) {
  const Array a = Array::from_object(a_object, "a"), b = Array::from_object(b_object, "b");
  const auto bias = optional_argument(bias_object, "bias");
  size_t bytes = 0;
  check(mk_gemm_workspace(a.dl(), b.dl(), &bytes));
  const Array c = result(out, a, with_last(a.shape(), size_from_end(b, 1)));
  const Workspace workspace(bytes, a);
  call(mk_gemm, a, b, bias, activation, c, workspace);
  return c;
}

Array linear(const py::object& x_object, const py::object& weight_object,
             const py::object& bias_object, int activation, const py::object& out) {
  const Array x = Array::from_object(x_object, "x").contiguous();
  const Array weight = Array::from_object(weight_object, "weight");
  const auto bias = optional_argument(bias_object, "bias");
  size_t bytes = 0;
  check(mk_linear_workspace(x.dl(), weight.dl(), &bytes));
  const Array y = result(out, x, with_last(x.shape(), size_from_end(weight, 2)));
  const Workspace workspace(bytes, x);
  call(mk_linear_forward, x, weight, bias, activation, y, workspace);
  return y;
}

// A weight packed for many calls, with its bias and activation. What is packed lies on the host;
// for a CUDA device it refers to the weight, of which the plan keeps a copy there.
class LinearPlan {
 public:
  LinearPlan(const py::object& weight_object, const py::object& bias_object, int activation)
      : activation_(activation) {
    Array weight = Array::from_object(weight_object, "weight");
    if (!is_cpu(weight.device())) {
      weight_ = weight.copy(Format::contiguous);
      weight = *weight_;
    }
    // A copy: the caller may change his later.
    if (!bias_object.is_none()) {
      bias_ = Array::from_object(bias_object, "bias").copy(Format::contiguous);
    }
    size_t bytes = 0;
    check(mk_linear_packed_bytes(weight.dl(), &bytes));
    packed_ = std::shared_ptr<Memory>(new Memory(bytes, kCpu),
                                      [weight = weight_](Memory* memory) { delete memory; });
    call(mk_linear_pack, weight, packed_);
  }

  py::object run(const py::object& x_object, const py::object& out) const {
    const Array x = Array::from_object(x_object, "x").contiguous();
    if (weight_) weight_->dl();  // it is used on the current stream
    const void* packed = packed_->data();
    const size_t packed_bytes = packed_->bytes();
    Shape shape(x.rank());
    size_t bytes = 0;
    check(mk_linear_packed_output_shape(packed, packed_bytes, x.dl(), shape.data()));
    check(mk_linear_packed_workspace(packed, packed_bytes, x.dl(), &bytes));
    const Array y = result(out, x, shape);
    const Workspace workspace(bytes, x);
    call(mk_linear_packed_forward, packed_, x, bias_, activation_, y, workspace);
    return numpy_if(x_object, y);
  }

  size_t bytes() const { return packed_->bytes() + (weight_ ? weight_->bytes() : 0); }

 private:
  int activation_;
  std::optional<Array> weight_, bias_;
  std::shared_ptr<Memory> packed_;
};

Array linear_backward_input(const py::object& dy_object, const py::object& weight_object,
                            const py::object& out) {
  const Array dy = Array::from_object(dy_object, "dy").contiguous();
  const Array weight = Array::from_object(weight_object, "weight");
  size_t bytes = 0;
  check(mk_linear_backward_input_workspace(dy.dl(), weight.dl(), &bytes));
  const Array dx = result(out, dy, with_last(dy.shape(), size_from_end(weight, 1)));
  const Workspace workspace(bytes, dy);
  call(mk_linear_backward_input, dy, weight, dx, workspace);
  return dx;
}

Array linear_backward_weight(const py::object& dy_object, const py::object& x_object,
                             const py::object& out) {
  const Array dy = Array::from_object(dy_object, "dy").contiguous();
  const Array x = Array::from_object(x_object, "x").contiguous();
  size_t bytes = 0;
  check(mk_linear_backward_weight_workspace(dy.dl(), x.dl(), &bytes));
  const Array dweight = result(out, dy, {size_from_end(dy, 1), size_from_end(x, 1)});
  const Workspace workspace(bytes, dy);
  call(mk_linear_backward_weight, dy, x, dweight, workspace);
  return dweight;
}

Array bias_backward(const py::object& dy_object, int axis, const py::object& out) {
  const Array dy = dense_argument(dy_object, "dy");
  size_t bytes = 0;
  check(mk_bias_backward_workspace(dy.dl(), axis, &bytes));
  const Array dbias = result(out, dy, {dy.shape()[axis]});
  const Workspace workspace(bytes, dy);
  call(mk_bias_backward, dy, axis, dbias, workspace);
  return dbias;
}

void set_matmul_precision(int precision) { check(mk_set_matmul_precision(precision)); }

}  // namespace

void bind_gemm(py::module_& module) {
  using py::arg;
  module.def("gemm", gemm, arg("a"), arg("b"), arg("bias"), arg("activation"), arg("out"));
  module.def("linear", linear, arg("x"), arg("weight"), arg("bias"), arg("activation"), arg("out"));
  py::class_<LinearPlan>(module, "LinearPlan")
      .def(py::init<const py::object&, const py::object&, int>(), arg("weight"), arg("bias"),
           arg("activation"))
      .def("run", &LinearPlan::run, arg("x"), arg("out"))
      .def_property_readonly("nbytes", &LinearPlan::bytes);
  module.def("linear_backward_input", linear_backward_input, arg("dy"), arg("weight"), arg("out"));
  module.def("linear_backward_weight", linear_backward_weight, arg("dy"), arg("x"), arg("out"));
  module.def("bias_backward", bias_backward, arg("dy"), arg("axis"), arg("out"));
  module.def("set_matmul_precision", set_matmul_precision, arg("precision"));
  module.def("get_matmul_precision", mk_get_matmul_precision);
}

}  // namespace medkern::python
