// Entry points of cross-entropy: check, then call the table.
#include "kernels/softmax/softmax.h"
#include "kernels/table.h"
#include "medkern/softmax.h"

namespace medkern {
namespace {

void check_logits(const char* op, const TensorView& logits) {
  expect_float(op, logits);
  require(logits.rank >= 2, op, ": logits must have at least 2 dimensions, got ", logits.rank, ": ",
          shape_text(logits));
  require(logits.shape[1] >= 1, op, ": logits must have at least one class, got ",
          shape_text(logits));
  expect_dense(op, logits);
}

// Has no elements if logits have none.
SoftmaxShape cross_entropy_shape(const TensorView& logits) {
  return logits.count > 0 ? softmax_shape(logits, 1)
                          : SoftmaxShape{logits.dtype, 0, logits.shape[1], 0, 1, 0};
}

template <class T>
void expect_targets(const char* op, const TensorView& target, int64_t classes, int64_t ignored) {
  const T* values = target.as<T>();
  for (int64_t i = 0; i < target.count; ++i) {
    const int64_t t = values[i];
    require((t >= 0 && t < classes) || t == ignored, op, ": target must be from 0 to ", classes - 1,
            " or ignore_index (", ignored, "), got ", t, " at flat index ", i);
  }
}

// What both passes check; gives the arguments they share. `loss` is loss or dloss.
CrossEntropyArgs checked(const char* op, const mk_cross_entropy_desc* desc,
                         const TensorView& logits, const TensorView& target,
                         const TensorView& weight, const TensorView& loss,
                         const TensorView& total_weight) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
  expect_range(op, "reduction", desc->reduction, MK_REDUCE_NONE, MK_REDUCE_MEAN);
  require(desc->label_smoothing >= 0 && desc->label_smoothing <= 1, op,
          ": label_smoothing must be from 0 to 1, got ", desc->label_smoothing);
  check_logits(op, logits);
  const int64_t classes = logits.shape[1];

  if (target.dtype != Dtype::i64 && target.dtype != Dtype::i32 && target.dtype != Dtype::u8) {
    fail(MK_INVALID_TYPE, op, ": target must be int64, int32 or uint8, got ",
         name_of(target.dtype));
  }
  int64_t shape[MK_MAX_RANK];
  for (int i = 0, j = 0; i < logits.rank; ++i) {
    if (i != 1) shape[j++] = logits.shape[i];
  }
  expect_shape(op, target, logits.rank - 1, shape);
  expect_contiguous(op, target);
  expect_same_device(op, target, logits);
  if (weight.data != nullptr) {
    expect_same_dtype(op, weight, logits);
    expect_shape(op, weight, 1, &classes);
    expect_contiguous(op, weight);
    expect_same_device(op, weight, logits);
  }
  expect_same_dtype(op, loss, logits);
  expect_shape(op, loss, desc->reduction == MK_REDUCE_NONE ? target.rank : 0, shape);
  expect_contiguous(op, loss);
  expect_same_device(op, loss, logits);
  expect_dtype(op, total_weight, Dtype::f64);
  expect_rank(op, total_weight, 0);
  expect_same_device(op, total_weight, logits);

  if (kernels_for(logits.device).cross_entropy->check_targets) {
    // They are where only kernels can see them.
  } else if (target.dtype == Dtype::i64) {
    expect_targets<int64_t>(op, target, classes, desc->ignore_index);
  } else if (target.dtype == Dtype::i32) {
    expect_targets<int32_t>(op, target, classes, desc->ignore_index);
  } else {
    expect_targets<uint8_t>(op, target, classes, desc->ignore_index);
  }
  CrossEntropyArgs args{};
  args.shape = cross_entropy_shape(logits);
  args.target_dtype = target.dtype;
  args.ignore_index = desc->ignore_index;
  args.smoothing = desc->label_smoothing;
  args.logits = logits.data;
  args.target = target.data;
  args.weight = weight.data;
  args.total_weight = total_weight.as<double>();
  args.mean = desc->reduction == MK_REDUCE_MEAN;
  return args;
}

size_t workspace_bytes_of(const TensorView& logits) {
  const CrossEntropyKernels& kernels = *kernels_for(logits.device).cross_entropy;
  return kernels.partials(cross_entropy_shape(logits)) * 2 * sizeof(double);
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_cross_entropy_workspace(const DLTensor* logits, size_t* bytes) {
  return guarded([&] {
    const char* op = "cross_entropy";
    require(bytes != nullptr, op, ": bytes is NULL");
    const TensorView x = view(op, "logits", logits);
    check_logits(op, x);
    *bytes = workspace_bytes_of(x);
  });
}

extern "C" mk_status mk_cross_entropy_forward(const mk_cross_entropy_desc* desc,
                                              const DLTensor* logits, const DLTensor* target,
                                              const DLTensor* weight, DLTensor* loss,
                                              DLTensor* total_weight, void* workspace,
                                              size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "cross_entropy";
    const TensorView xv = view(op, "logits", logits), tv = view(op, "target", target);
    const TensorView wv = optional_view(op, "weight", weight);
    const TensorView lv = view(op, "loss", loss), sv = view(op, "total_weight", total_weight);
    CrossEntropyArgs args = checked(op, desc, xv, tv, wv, lv, sv);
    for (const TensorView* output : {&lv, &sv}) {
      for (const TensorView* input : {&xv, &tv, &wv}) {
        if (input->data != nullptr) expect_no_overlap(op, *output, *input);
      }
    }
    expect_no_overlap(op, sv, lv);
    expect_workspace(op, workspace, workspace_bytes, workspace_bytes_of(xv));
    args.partials = static_cast<double*>(workspace);
    (desc->reduction == MK_REDUCE_NONE ? args.losses : args.loss) = lv.data;
    kernels_for(xv.device).cross_entropy->forward(args);
  });
}

extern "C" mk_status mk_cross_entropy_backward(const mk_cross_entropy_desc* desc,
                                               const DLTensor* dloss, const DLTensor* logits,
                                               const DLTensor* target, const DLTensor* weight,
                                               const DLTensor* total_weight, DLTensor* dlogits) {
  return guarded([&] {
    const char* op = "cross_entropy_backward";
    const TensorView dlv = view(op, "dloss", dloss), xv = view(op, "logits", logits);
    const TensorView tv = view(op, "target", target), wv = optional_view(op, "weight", weight);
    const TensorView sv = view(op, "total_weight", total_weight),
                     dxv = view(op, "dlogits", dlogits);
    CrossEntropyArgs args = checked(op, desc, xv, tv, wv, dlv, sv);
    expect_same_dtype(op, dxv, xv);
    expect_same_shape(op, dxv, xv);
    expect_same_layout(op, dxv, xv);
    expect_same_device(op, dxv, xv);
    for (const TensorView* input : {&dlv, &xv, &tv, &wv, &sv}) {
      if (input->data != nullptr) expect_no_overlap(op, dxv, *input);
    }
    if (xv.count == 0) return;
    args.dloss = dlv.data;
    args.dloss_per_element = desc->reduction == MK_REDUCE_NONE;
    args.dlogits = dxv.data;
    kernels_for(xv.device).cross_entropy->backward(args);
  });
}
