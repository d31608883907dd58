// Entry points of layer normalization: check, then call the table.
#include "kernels/norm/checks.h"
#include "kernels/norm/norm.h"
#include "kernels/table.h"
#include "medkern/norm.h"

namespace medkern {
namespace {

// Checks x against the descriptor and gives its rows.
LayerNormArgs layer_args(const char* op, const mk_layer_norm_desc* desc, const TensorView& x) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
  check_eps(op, desc->eps);
  expect_float_or_bfloat(op, x);
  const int rank = desc->normalized_rank;
  expect_range(op, "the number of axes in normalized_shape", rank, 1, MK_MAX_RANK);
  bool matches = x.rank >= rank;
  for (int i = 0; matches && i < rank; ++i) {
    matches = x.shape[x.rank - rank + i] == desc->normalized_shape[i];
  }
  require(matches, op, ": x must end in normalized_shape ",
          shape_text(rank, desc->normalized_shape), ", got shape ", shape_text(x));
  expect_contiguous(op, x);
  LayerNormArgs args{};
  args.dtype = x.dtype;
  args.rows = args.width = 1;
  args.eps = desc->eps;
  for (int i = 0; i < x.rank - rank; ++i) args.rows = checked_mul(op, args.rows, x.shape[i]);
  for (int i = 0; i < rank; ++i) {
    args.width = checked_mul(op, args.width, desc->normalized_shape[i]);
  }
  args.x = x.data;
  return args;
}

size_t workspace_bytes_of(const LayerNormKernels& kernels, const LayerNormArgs& args) {
  return kernels.partials(args.rows, args.width) * sizeof(double);
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_layer_norm_workspace(const mk_layer_norm_desc* desc, const DLTensor* x,
                                             size_t* bytes) {
  return guarded([&] {
    const char* op = "layer_norm";
    require(bytes != nullptr, op, ": bytes is NULL");
    const TensorView xv = view(op, "x", x);
    *bytes = workspace_bytes_of(*kernels_for(xv.device).layer_norm, layer_args(op, desc, xv));
  });
}

extern "C" mk_status mk_layer_norm_forward(const mk_layer_norm_desc* desc, const DLTensor* x,
                                           const DLTensor* weight, const DLTensor* bias,
                                           DLTensor* y, DLTensor* mean, DLTensor* rstd) {
  return guarded([&] {
    const char* op = "layer_norm";
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    const TensorView wv = optional_view(op, "weight", weight), bv = optional_view(op, "bias", bias);
    const TensorView mv = view(op, "mean", mean), sv = view(op, "rstd", rstd);
    LayerNormArgs args = layer_args(op, desc, xv);
    const int rank = desc->normalized_rank;
    check_like(op, yv, xv);
    for (const TensorView* t : {&wv, &bv})
      check_parameter(op, *t, xv, rank, desc->normalized_shape);
    for (const TensorView* t : {&mv, &sv}) check_statistic(op, *t, xv, xv.rank - rank, xv.shape);
    check_outputs(op, {&yv, &mv, &sv}, {&xv, &wv, &bv});
    args.weight = wv.data;
    args.bias = bv.data;
    args.y = yv.data;
    args.mean = mv.as<double>();
    args.rstd = sv.as<double>();
    kernels_for(xv.device).layer_norm->forward(args);
  });
}

extern "C" mk_status mk_layer_norm_backward(const mk_layer_norm_desc* desc, const DLTensor* dy,
                                            const DLTensor* x, const DLTensor* weight,
                                            const DLTensor* mean, const DLTensor* rstd,
                                            DLTensor* dx, DLTensor* dweight, DLTensor* dbias,
                                            void* workspace, size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "layer_norm_backward";
    const TensorView dyv = view(op, "dy", dy), xv = view(op, "x", x);
    const TensorView wv = optional_view(op, "weight", weight), dxv = optional_view(op, "dx", dx);
    const TensorView mv = view(op, "mean", mean), sv = view(op, "rstd", rstd);
    const TensorView dwv = optional_view(op, "dweight", dweight);
    const TensorView dbv = optional_view(op, "dbias", dbias);
    LayerNormArgs args = layer_args(op, desc, xv);
    const int rank = desc->normalized_rank;
    check_like(op, dyv, xv);
    if (dx != nullptr) check_like(op, dxv, xv);
    for (const TensorView* t : {&wv, &dwv, &dbv})
      check_parameter(op, *t, xv, rank, desc->normalized_shape);
    for (const TensorView* t : {&mv, &sv}) check_statistic(op, *t, xv, xv.rank - rank, xv.shape);
    check_outputs(op, {&dxv, &dwv, &dbv}, {&dyv, &xv, &wv, &mv, &sv});
    const LayerNormKernels& kernels = *kernels_for(xv.device).layer_norm;
    expect_workspace(op, workspace, workspace_bytes, workspace_bytes_of(kernels, args));
    args.weight = wv.data;
    args.mean = mv.as<double>();
    args.rstd = sv.as<double>();
    args.partials = static_cast<double*>(workspace);
    args.dy = dyv.data;
    args.dx = dxv.data;
    args.dweight = dwv.data;
    args.dbias = dbv.data;
    kernels.backward(args);
  });
}
