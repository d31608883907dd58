// Entry points of the optimizer steps: check, then call the table.
#include "kernels/optim/optim.h"

#include <cmath>
#include <initializer_list>

#include "core/tensor.h"
#include "kernels/table.h"
#include "medkern/optim.h"

namespace medkern {
namespace {

// The first is the parameter; the others must match it and share no memory. Absent ones are left
// out.
void check_tensors(const char* op, std::initializer_list<const TensorView*> tensors) {
  const TensorView& param = **tensors.begin();
  expect_float(op, param);
  expect_dense(op, param);
  for (const TensorView* const* t = tensors.begin(); t != tensors.end(); ++t) {
    expect_same_dtype(op, **t, param);
    expect_same_shape(op, **t, param);
    expect_same_layout(op, **t, param);
    expect_same_device(op, **t, param);
    for (const TensorView* const* other = tensors.begin(); other != t; ++other) {
      expect_no_overlap(op, **t, **other);
    }
  }
}

void check_not_negative(const char* op, const char* name, double value) {
  require(value >= 0 && std::isfinite(value), op, ": ", name,
          " must be finite and at least 0, got ", value);
}

void check_beta(const char* op, const char* name, double value) {
  require(value >= 0 && value < 1, op, ": ", name, " must be at least 0 and below 1, got ", value);
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_sgd_step(const mk_sgd_desc* desc, DLTensor* param, const DLTensor* grad,
                                 DLTensor* momentum_buffer) {
  return guarded([&] {
    const char* op = "sgd_step";
    expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
    check_not_negative(op, "lr", desc->lr);
    check_not_negative(op, "momentum", desc->momentum);
    check_not_negative(op, "weight_decay", desc->weight_decay);
    require(std::isfinite(desc->dampening), op, ": dampening must be finite, got ",
            desc->dampening);
    require(desc->nesterov == 0 || (desc->momentum > 0 && desc->dampening == 0), op,
            ": nesterov needs a momentum above 0 and a dampening of 0, got ", desc->momentum,
            " and ", desc->dampening);
    require(desc->momentum == 0 || momentum_buffer != nullptr, op,
            ": momentum_buffer must be given with a momentum of ", desc->momentum);
    const TensorView p = view(op, "param", param), g = view(op, "grad", grad);
    const TensorView b = optional_view(op, "momentum_buffer", momentum_buffer);
    if (momentum_buffer != nullptr) {
      check_tensors(op, {&p, &g, &b});
    } else {
      check_tensors(op, {&p, &g});
    }
    const SgdArgs args{p.dtype,
                       p.count,
                       p.data,
                       b.data,
                       g.data,
                       desc->lr,
                       desc->momentum,
                       desc->dampening,
                       desc->weight_decay,
                       desc->nesterov != 0};
    kernels_for(p.device).optim->sgd_step(args);
  });
}

extern "C" mk_status mk_adam_step(const mk_adam_desc* desc, DLTensor* param, const DLTensor* grad,
                                  DLTensor* exp_avg, DLTensor* exp_avg_sq) {
  return guarded([&] {
    const char* op = "adam_step";
    expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
    expect_range(op, "step", desc->step, 1, INT64_MAX);
    check_not_negative(op, "lr", desc->lr);
    check_not_negative(op, "eps", desc->eps);
    check_not_negative(op, "weight_decay", desc->weight_decay);
    check_beta(op, "beta1", desc->beta1);
    check_beta(op, "beta2", desc->beta2);
    const TensorView p = view(op, "param", param), g = view(op, "grad", grad);
    const TensorView m = view(op, "exp_avg", exp_avg), v = view(op, "exp_avg_sq", exp_avg_sq);
    check_tensors(op, {&p, &g, &m, &v});
    const double step = static_cast<double>(desc->step);
    const bool decoupled = desc->decoupled != 0;
    AdamArgs args{};
    args.dtype = p.dtype;
    args.count = p.count;
    args.param = p.data;
    args.exp_avg = m.data;
    args.exp_avg_sq = v.data;
    args.grad = g.data;
    args.beta1 = desc->beta1;
    args.beta2 = desc->beta2;
    args.eps = desc->eps;
    args.penalty = decoupled ? 0 : desc->weight_decay;
    args.kept = decoupled ? 1 - desc->lr * desc->weight_decay : 1;
    args.rate = desc->lr / (1 - std::pow(desc->beta1, step));
    args.root_scale = 1 / std::sqrt(1 - std::pow(desc->beta2, step));
    kernels_for(p.device).optim->adam_step(args);
  });
}
