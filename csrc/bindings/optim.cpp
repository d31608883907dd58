// Python bindings of the optimizer steps.
#include "medkern/optim.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

void sgd_step(const py::object& param_object, const py::object& grad_object,
              const py::object& buffer_object, double lr, double momentum, double dampening,
              double weight_decay, bool nesterov) {
  mk_sgd_desc desc{};
  desc.struct_size = sizeof desc;
  desc.nesterov = nesterov;
  desc.lr = lr;
  desc.momentum = momentum;
  desc.dampening = dampening;
  desc.weight_decay = weight_decay;
  const Array param = inplace_argument(param_object, "param");
  const Array grad = argument_like(grad_object, "grad", param);
  std::optional<Array> buffer;
  if (!buffer_object.is_none()) buffer = inplace_argument(buffer_object, "momentum_buffer");
  call(mk_sgd_step, desc, param, grad, buffer);
}

void adam_step(const py::object& param_object, const py::object& grad_object,
               const py::object& exp_avg_object, const py::object& exp_avg_sq_object, int64_t step,
               double lr, double beta1, double beta2, double eps, double weight_decay,
               bool decoupled) {
  mk_adam_desc desc{};
  desc.struct_size = sizeof desc;
  desc.decoupled = decoupled;
  desc.step = step;
  desc.lr = lr;
  desc.beta1 = beta1;
  desc.beta2 = beta2;
  desc.eps = eps;
  desc.weight_decay = weight_decay;
  const Array param = inplace_argument(param_object, "param");
  const Array grad = argument_like(grad_object, "grad", param);
  const Array exp_avg = inplace_argument(exp_avg_object, "exp_avg");
  const Array exp_avg_sq = inplace_argument(exp_avg_sq_object, "exp_avg_sq");
  call(mk_adam_step, desc, param, grad, exp_avg, exp_avg_sq);
}

}  // namespace

void bind_optim(py::module_& module) {
  using py::arg;
  module.def("sgd_step", sgd_step, arg("param"), arg("grad"), arg("momentum_buffer"), arg("lr"),
             arg("momentum"), arg("dampening"), arg("weight_decay"), arg("nesterov"));
  module.def("adam_step", adam_step, arg("param"), arg("grad"), arg("exp_avg"), arg("exp_avg_sq"),
             arg("step"), arg("lr"), arg("beta1"), arg("beta2"), arg("eps"), arg("weight_decay"),
             arg("decoupled"));
}

}  // namespace medkern::python
