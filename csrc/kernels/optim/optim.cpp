// Entry points of the optimizer steps: check, then call the table.
#include "kernels/optim/optim.h"

#include <cmath>
#include <initializer_list>
#include <vector>

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

// Of a list that may be NULL, as its entries may.
TensorView rounded_view(const char* op, DLTensor* const* rounded, int64_t i) {
  return optional_view(op, "rounded", rounded != nullptr ? rounded[i] : nullptr);
}

// The arrays of `count` parameters, checked: of one dtype, on one device.
struct Items {
  std::vector<OptimItem> items;
  Dtype dtype = Dtype::f32;
  DLDevice device{kDLCPU, 0};

  OptimItems of() const { return {dtype, items.data(), static_cast<int64_t>(items.size())}; }
};

struct ItemViews {
  TensorView param, grad, first, second, rounded;
};

// What gets the parameter's values in bfloat16.
void check_rounded(const char* op, const TensorView& rounded, const ItemViews& own) {
  const TensorView& param = own.param;
  expect_dtype(op, param, Dtype::f32);
  expect_dtype(op, rounded, Dtype::bf16);
  require(param.device.device_type == kDLCUDA, op, ": rounded must be NULL on the CPU");
  expect_same_shape(op, rounded, param);
  expect_same_layout(op, rounded, param);
  expect_same_device(op, rounded, param);
  for (const TensorView* other : {&own.param, &own.grad, &own.first, &own.second}) {
    expect_no_overlap(op, rounded, *other);
  }
}

template <class Views>
Items items_of(const char* op, int64_t count, Views views) {
  Items found;
  expect_range(op, "count", count, 0, INT32_MAX);
  for (int64_t i = 0; i < count; ++i) {
    const ItemViews own = views(i);
    const auto& [param, grad, first, second, rounded] = own;
    if (second.data != nullptr || second.rank > 0) {
      check_tensors(op, {&param, &grad, &first, &second});
    } else if (first.data != nullptr || first.rank > 0) {
      check_tensors(op, {&param, &grad, &first});
    } else {
      check_tensors(op, {&param, &grad});
    }
    if (rounded.rank > 0 || rounded.data != nullptr) check_rounded(op, rounded, own);
    if (i == 0) {
      found.dtype = param.dtype;
      found.device = param.device;
    }
    require(param.dtype == found.dtype && param.device.device_type == found.device.device_type &&
                param.device.device_id == found.device.device_id,
            op, ": all parameters must have one dtype and device");
    found.items.push_back(
        {param.count, param.data, grad.data, {first.data, second.data}, rounded.data});
  }
  return found;
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_sgd_steps(const mk_sgd_desc* desc, int64_t count, DLTensor* const* params,
                                  const DLTensor* const* grads, DLTensor* const* buffers,
                                  DLTensor* const* rounded) {
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
    require(count <= 0 || (params != nullptr && grads != nullptr), op, ": params or grads is NULL");
    const auto buffer_of = [&](int64_t i) { return buffers != nullptr ? buffers[i] : nullptr; };
    const Items items = items_of(op, count, [&](int64_t i) {
      require(desc->momentum == 0 || buffer_of(i) != nullptr, op,
              ": momentum_buffer must be given with a momentum of ", desc->momentum);
      require((buffer_of(i) == nullptr) == (buffer_of(0) == nullptr), op,
              ": all parameters must have a momentum_buffer, or none");
      return ItemViews{view(op, "param", params[i]), view(op, "grad", grads[i]),
                       optional_view(op, "momentum_buffer", buffer_of(i)), TensorView{},
                       rounded_view(op, rounded, i)};
    });
    if (items.items.empty()) return;
    kernels_for(items.device)
        .optim->sgd_step({items.of(), desc->lr, desc->momentum, desc->dampening, desc->weight_decay,
                          desc->nesterov != 0});
  });
}

extern "C" mk_status mk_sgd_step(const mk_sgd_desc* desc, DLTensor* param, const DLTensor* grad,
                                 DLTensor* momentum_buffer) {
  return mk_sgd_steps(desc, 1, &param, &grad, &momentum_buffer, nullptr);
}

extern "C" mk_status mk_adam_steps(const mk_adam_desc* desc, int64_t count, DLTensor* const* params,
                                   const DLTensor* const* grads, DLTensor* const* exp_avgs,
                                   DLTensor* const* exp_avg_sqs, DLTensor* const* rounded) {
  return guarded([&] {
    const char* op = "adam_step";
    expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
    expect_range(op, "step", desc->step, 1, INT64_MAX);
    check_not_negative(op, "lr", desc->lr);
    check_not_negative(op, "eps", desc->eps);
    check_not_negative(op, "weight_decay", desc->weight_decay);
    check_beta(op, "beta1", desc->beta1);
    check_beta(op, "beta2", desc->beta2);
    require(count <= 0 || (params != nullptr && grads != nullptr && exp_avgs != nullptr &&
                           exp_avg_sqs != nullptr),
            op, ": params, grads, exp_avgs or exp_avg_sqs is NULL");
    const Items items = items_of(op, count, [&](int64_t i) {
      return ItemViews{view(op, "param", params[i]), view(op, "grad", grads[i]),
                       view(op, "exp_avg", exp_avgs[i]), view(op, "exp_avg_sq", exp_avg_sqs[i]),
                       rounded_view(op, rounded, i)};
    });
    if (items.items.empty()) return;
    const double step = static_cast<double>(desc->step);
    const bool decoupled = desc->decoupled != 0;
    AdamArgs args{};
    args.items = items.of();
    args.beta1 = desc->beta1;
    args.beta2 = desc->beta2;
    args.eps = desc->eps;
    args.penalty = decoupled ? 0 : desc->weight_decay;
    args.kept = decoupled ? 1 - desc->lr * desc->weight_decay : 1;
    args.rate = desc->lr / (1 - std::pow(desc->beta1, step));
    args.root_scale = 1 / std::sqrt(1 - std::pow(desc->beta2, step));
    kernels_for(items.device).optim->adam_step(args);
  });
}

extern "C" mk_status mk_adam_step(const mk_adam_desc* desc, DLTensor* param, const DLTensor* grad,
                                  DLTensor* exp_avg, DLTensor* exp_avg_sq) {
  return mk_adam_steps(desc, 1, &param, &grad, &exp_avg, &exp_avg_sq, nullptr);
}
