// Python bindings of the optimizer steps.
#include "medkern/optim.h"

#include <vector>

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

mk_sgd_desc sgd_desc(double lr, double momentum, double dampening, double weight_decay,
                     bool nesterov) {
  mk_sgd_desc desc{};
  desc.struct_size = sizeof desc;
  desc.nesterov = nesterov;
  desc.lr = lr;
  desc.momentum = momentum;
  desc.dampening = dampening;
  desc.weight_decay = weight_decay;
  return desc;
}

mk_adam_desc adam_desc(int64_t step, double lr, double beta1, double beta2, double eps,
                       double weight_decay, bool decoupled) {
  mk_adam_desc desc{};
  desc.struct_size = sizeof desc;
  desc.decoupled = decoupled;
  desc.step = step;
  desc.lr = lr;
  desc.beta1 = beta1;
  desc.beta2 = beta2;
  desc.eps = eps;
  desc.weight_decay = weight_decay;
  return desc;
}

// Arrays of many parameters, and the pointers that the C API takes.
struct Arrays {
  std::vector<Array> arrays;
  std::vector<DLTensor*> pointers;

  void add(const Array& array) {
    arrays.push_back(array);
    pointers.push_back(arrays.back().dl());
  }
};

Arrays inplace_arrays(const py::sequence& objects, const char* name) {
  Arrays found;
  found.arrays.reserve(objects.size());
  for (const auto& object : objects) {
    found.add(inplace_argument(py::reinterpret_borrow<py::object>(object), name));
  }
  return found;
}

// One for each of the parameters.
void expect_count(const char* op, const char* name, size_t count, const Arrays& params) {
  if (count != params.arrays.size()) {
    throw py::value_error(std::string(op) + ": " + name + " must have as many arrays as params, " +
                          std::to_string(params.arrays.size()) + ", got " + std::to_string(count));
  }
}

Arrays gradients(const char* op, const py::sequence& objects, const Arrays& params) {
  expect_count(op, "grads", objects.size(), params);
  Arrays found;
  found.arrays.reserve(objects.size());
  for (size_t i = 0; i < objects.size(); ++i) {
    found.add(argument_like(py::object(objects[i]), "grad", params.arrays[i]));
  }
  return found;
}

// Arrays, or None, that get the parameters in bfloat16.
Arrays rounded_arrays(const char* op, const py::object& objects, const Arrays& params) {
  Arrays found;
  if (objects.is_none()) return found;
  const auto given = objects.cast<py::sequence>();
  expect_count(op, "rounded", given.size(), params);
  found.arrays.reserve(given.size());
  for (const auto& object : given) {
    if (object.is_none()) {
      found.pointers.push_back(nullptr);
    } else {
      found.add(inplace_argument(py::reinterpret_borrow<py::object>(object), "rounded"));
    }
  }
  return found;
}

DLTensor* const* list_or_null(const Arrays& arrays) {
  return arrays.pointers.empty() ? nullptr : arrays.pointers.data();
}

void sgd_steps(const py::sequence& param_objects, const py::sequence& grad_objects,
               const py::object& buffer_objects, double lr, double momentum, double dampening,
               double weight_decay, bool nesterov, const py::object& rounded_objects) {
  const mk_sgd_desc desc = sgd_desc(lr, momentum, dampening, weight_decay, nesterov);
  const Arrays params = inplace_arrays(param_objects, "param");
  const Arrays grads = gradients("sgd_step", grad_objects, params);
  Arrays buffers;
  const bool has_buffers = !buffer_objects.is_none();
  if (has_buffers) {
    buffers = inplace_arrays(buffer_objects, "momentum_buffer");
    expect_count("sgd_step", "momentum_buffers", buffers.arrays.size(), params);
  }
  const Arrays rounded = rounded_arrays("sgd_step", rounded_objects, params);
  call_now([&] {
    return mk_sgd_steps(&desc, static_cast<int64_t>(params.arrays.size()), params.pointers.data(),
                        grads.pointers.data(), has_buffers ? buffers.pointers.data() : nullptr,
                        list_or_null(rounded));
  });
}

void adam_steps(const py::sequence& param_objects, const py::sequence& grad_objects,
                const py::sequence& exp_avg_objects, const py::sequence& exp_avg_sq_objects,
                int64_t step, double lr, double beta1, double beta2, double eps,
                double weight_decay, bool decoupled, const py::object& rounded_objects) {
  const mk_adam_desc desc = adam_desc(step, lr, beta1, beta2, eps, weight_decay, decoupled);
  const Arrays params = inplace_arrays(param_objects, "param");
  const Arrays grads = gradients("adam_step", grad_objects, params);
  const Arrays exp_avgs = inplace_arrays(exp_avg_objects, "exp_avg");
  expect_count("adam_step", "exp_avgs", exp_avgs.arrays.size(), params);
  const Arrays exp_avg_sqs = inplace_arrays(exp_avg_sq_objects, "exp_avg_sq");
  expect_count("adam_step", "exp_avg_sqs", exp_avg_sqs.arrays.size(), params);
  const Arrays rounded = rounded_arrays("adam_step", rounded_objects, params);
  call_now([&] {
    return mk_adam_steps(&desc, static_cast<int64_t>(params.arrays.size()), params.pointers.data(),
                         grads.pointers.data(), exp_avgs.pointers.data(),
                         exp_avg_sqs.pointers.data(), list_or_null(rounded));
  });
}

}  // namespace

void bind_optim(py::module_& module) {
  using py::arg;
  module.def("sgd_steps", sgd_steps, arg("params"), arg("grads"), arg("momentum_buffers"),
             arg("lr"), arg("momentum"), arg("dampening"), arg("weight_decay"), arg("nesterov"),
             arg("rounded") = py::none());
  module.def("adam_steps", adam_steps, arg("params"), arg("grads"), arg("exp_avgs"),
             arg("exp_avg_sqs"), arg("step"), arg("lr"), arg("beta1"), arg("beta2"), arg("eps"),
             arg("weight_decay"), arg("decoupled"), arg("rounded") = py::none());
}

}  // namespace medkern::python
