// Entry points of batch, group and instance normalization: check, cut the work, call the table.
#include "kernels/norm/norm.h"

#include "kernels/moments.h"
#include "kernels/norm/checks.h"
#include "kernels/table.h"
#include "medkern/norm.h"

namespace medkern {
namespace {

constexpr int kForwardCoefficients = 3, kBackwardCoefficients = 6;

NormShape norm_shape(const char* op, const TensorView& x, bool over_batch, int64_t groups) {
  expect_float_or_bfloat(op, x);
  require(x.rank >= 2 && x.rank <= 5, op, ": x must have 2 to 5 dimensions, got ", x.rank, ": ",
          shape_text(x));
  expect_dense(op, x);
  NormShape s{x.dtype, false, over_batch, x.shape[0], x.shape[1], 1, groups};
  for (int i = 2; i < x.rank; ++i) s.s = checked_mul(op, s.s, x.shape[i]);
  // Where both are true the order of loops is free: one channel is a run, one position a row.
  s.channels_last = s.c > 1 && (s.s == 1 || !is_contiguous(x));
  return s;
}

NormCut cut_of(const NormKernels& kernels, const NormShape& s, int64_t runs) {
  NormCut cut;
  cut.width = s.channels_last ? s.c : 1;
  cut.units = !s.channels_last ? runs : s.over_batch ? 1 : s.n;
  cut.length = cut.units > 0 ? s.n * s.c * s.s / (cut.units * cut.width) : 0;
  cut.chunk = s.channels_last ? kernels.rows_of_chunk(s.dtype, cut.length, s.c) : kNormRunChunk;
  cut.chunks = (cut.length + cut.chunk - 1) / cut.chunk;
  return cut;
}

NormCut moments_cut(const NormKernels& kernels, const NormShape& s) {
  return cut_of(kernels, s, s.n * (s.over_batch ? s.c : s.groups));
}
NormCut sums_cut(const NormKernels& kernels, const NormShape& s) {
  return cut_of(kernels, s, s.n * s.c);
}

int64_t partials_count(const NormCut& cut) { return cut.units * cut.chunks * 2 * cut.width; }

int64_t coefficients_count(const NormShape& s, int arrays) {
  return (s.over_batch ? 1 : s.n) * s.c * arrays;
}

// Enough for either pass. Nothing overflows: every term is a small multiple of x's element count.
size_t workspace_bytes_of(const NormKernels& kernels, const NormShape& s) {
  if (s.n * s.c * s.s == 0) return 0;
  const int64_t forward = partials_count(moments_cut(kernels, s));
  const int64_t backward = partials_count(sums_cut(kernels, s));
  return sizeof(double) *
         ((forward > backward ? forward : backward) + coefficients_count(s, kBackwardCoefficients));
}

// The channel norms differ in these only.
struct Kind {
  const char* op;
  bool over_batch;
  int64_t num_groups;  // 0: as many as channels
};

NormShape shape_of(const Kind& kind, const TensorView& x) {
  const int64_t channels = x.rank >= 2 ? x.shape[1] : 0;
  const int64_t groups = kind.num_groups > 0 ? kind.num_groups : channels;
  const NormShape s = norm_shape(kind.op, x, kind.over_batch, groups);
  require(groups == 0 || s.c % groups == 0, kind.op, ": num_groups must divide the ", s.c,
          " channels of x, got ", groups);
  return s;
}

// Shapes of the vectors that go with x.
struct Sizes {
  int64_t channel[1];
  int64_t statistic[2];
  int statistic_rank;
};

Sizes sizes_of(const NormShape& s) {
  if (s.over_batch) return {{s.c}, {s.c, 0}, 1};
  return {{s.c}, {s.n, s.groups}, 2};
}

bool is_relu(const char* op, int32_t activation) {
  expect_range(op, "activation", activation, MK_ACTIVATION_NONE, MK_ACTIVATION_RELU);
  return activation == MK_ACTIVATION_RELU;
}

// Moments that come with x, for statistics of the batch or of samples of whole chunks.
void check_moments(const char* op, const TensorView& moments, const TensorView& x,
                   const NormShape& s, bool taken) {
  require(taken, op, ": moments go with arrays on CUDA devices only");
  require(s.channels_last, op, ": moments go with channels-last x of more than one channel only");
  require(s.over_batch || s.s % kMomentRows == 0, op, ": moments of ", kMomentRows,
          " pixels need samples of a multiple of that, got x ", shape_text(x));
  const int64_t pixels = s.n * s.s;
  const int64_t shape[3] = {(pixels + kMomentRows - 1) / kMomentRows, 2, s.c};
  check_statistic(op, moments, x, 3, shape);
}

void forward(const Kind& kind, bool training, double momentum, double eps, int32_t activation,
             const DLTensor* x, const DLTensor* moments, const DLTensor* weight,
             const DLTensor* bias, DLTensor* running_mean, DLTensor* running_var, DLTensor* y,
             DLTensor* mean, DLTensor* rstd, void* workspace, size_t workspace_bytes) {
  const char* op = kind.op;
  check_eps(op, eps);
  const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
  const TensorView wv = optional_view(op, "weight", weight), bv = optional_view(op, "bias", bias);
  const TensorView rmv = optional_view(op, "running_mean", running_mean);
  const TensorView rvv = optional_view(op, "running_var", running_var);
  const TensorView mv = view(op, "mean", mean), sv = view(op, "rstd", rstd);
  const NormShape s = shape_of(kind, xv);
  const Sizes sizes = sizes_of(s);
  check_like(op, yv, xv);
  for (const TensorView* t : {&wv, &bv, &rmv, &rvv}) check_parameter(op, *t, xv, 1, sizes.channel);
  for (const TensorView* t : {&mv, &sv})
    check_statistic(op, *t, xv, sizes.statistic_rank, sizes.statistic);
  const TensorView gv = optional_view(op, "moments", moments);
  check_outputs(op, {&yv, &mv, &sv, &rmv, &rvv}, {&xv, &wv, &bv, &gv});
  require((rmv.data == nullptr) == (rvv.data == nullptr) || s.c == 0, op,
          ": running_mean and running_var must be given both or not at all");
  if (training) {
    require(s.c == 0 || s.n * s.s != 1, op,
            ": training needs more than one value per channel, got x ", shape_text(xv));
  } else {
    require(rmv.data != nullptr || s.c == 0, op,
            ": running_mean and running_var must be given when training is False");
  }
  const NormKernels& kernels = *kernels_for(xv.device).norm;
  const size_t needed = workspace_bytes_of(kernels, s);
  expect_workspace(op, workspace, workspace_bytes, needed);
  if (moments != nullptr) {
    require(training, op, ": moments are used in training only");
    check_moments(op, gv, xv, s, kernels.takes_moments);
  }

  NormForwardArgs args{};
  args.given = gv.as<double>();
  args.shape = s;
  args.moments = moments_cut(kernels, s);
  args.training = training;
  args.relu = is_relu(op, activation);
  args.eps = eps;
  args.momentum = momentum;
  args.x = xv.data;
  args.weight = wv.data;
  args.bias = bv.data;
  args.y = yv.data;
  args.running_mean = rmv.data;
  args.running_var = rvv.data;
  args.mean = mv.as<double>();
  args.rstd = sv.as<double>();
  if (needed > 0) {
    args.coefficients = static_cast<double*>(workspace);
    args.partials = args.coefficients + coefficients_count(s, kForwardCoefficients);
  }
  kernels.forward(args);
}

void backward(const Kind& kind, bool training, int32_t activation, const DLTensor* dy,
              const DLTensor* x, const DLTensor* weight, const DLTensor* bias, const DLTensor* mean,
              const DLTensor* rstd, DLTensor* dx, DLTensor* dweight, DLTensor* dbias,
              void* workspace, size_t workspace_bytes) {
  const char* op = kind.op;
  const TensorView dyv = view(op, "dy", dy), xv = view(op, "x", x);
  const TensorView wv = optional_view(op, "weight", weight), bv = optional_view(op, "bias", bias);
  const TensorView dxv = optional_view(op, "dx", dx);
  const TensorView mv = view(op, "mean", mean), sv = view(op, "rstd", rstd);
  const TensorView dwv = optional_view(op, "dweight", dweight);
  const TensorView dbv = optional_view(op, "dbias", dbias);
  const NormShape s = shape_of(kind, xv);
  const Sizes sizes = sizes_of(s);
  check_like(op, dyv, xv);
  if (dx != nullptr) check_like(op, dxv, xv);
  for (const TensorView* t : {&wv, &bv, &dwv, &dbv}) check_parameter(op, *t, xv, 1, sizes.channel);
  for (const TensorView* t : {&mv, &sv})
    check_statistic(op, *t, xv, sizes.statistic_rank, sizes.statistic);
  check_outputs(op, {&dxv, &dwv, &dbv}, {&dyv, &xv, &wv, &bv, &mv, &sv});
  const NormKernels& kernels = *kernels_for(xv.device).norm;
  const size_t needed = workspace_bytes_of(kernels, s);
  expect_workspace(op, workspace, workspace_bytes, needed);

  NormBackwardArgs args{};
  args.shape = s;
  args.sums = sums_cut(kernels, s);
  args.training = training;
  args.relu = is_relu(op, activation);
  args.dy = dyv.data;
  args.x = xv.data;
  args.weight = wv.data;
  args.bias = bv.data;
  args.mean = mv.as<double>();
  args.rstd = sv.as<double>();
  args.dx = dxv.data;
  args.dweight = dwv.data;
  args.dbias = dbv.data;
  if (needed > 0) {
    args.coefficients = static_cast<double*>(workspace);
    args.partials = args.coefficients + coefficients_count(s, kBackwardCoefficients);
  }
  kernels.backward(args);
}

void workspace_of(const Kind& kind, const DLTensor* x, size_t* bytes) {
  require(bytes != nullptr, kind.op, ": bytes is NULL");
  const TensorView xv = view(kind.op, "x", x);
  const NormShape s = shape_of(kind, xv);
  *bytes = workspace_bytes_of(*kernels_for(xv.device).norm, s);
}

Kind group_norm(const char* op, const mk_group_norm_desc* desc) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
  expect_range(op, "num_groups", desc->num_groups, 1, INT64_MAX);
  return {op, false, desc->num_groups};
}

// Instance normalization of a single value would give 0 whatever the value is.
void check_instances(const char* op, const DLTensor* x) {
  const TensorView xv = view(op, "x", x);
  require(xv.rank >= 3, op, ": x must have 3 to 5 dimensions, got ", xv.rank, ": ", shape_text(xv));
  int64_t positions = 1;
  for (int i = 2; i < xv.rank; ++i) positions = checked_mul(op, positions, xv.shape[i]);
  require(positions != 1 || xv.count == 0, op,
          ": x must have more than one value per channel and sample, got ", shape_text(xv));
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_batch_norm_workspace(const DLTensor* x, size_t* bytes) {
  return guarded([&] { workspace_of({"batch_norm", true, 0}, x, bytes); });
}

extern "C" mk_status mk_batch_norm_forward(const mk_batch_norm_desc* desc, const DLTensor* x,
                                           const DLTensor* moments, const DLTensor* weight,
                                           const DLTensor* bias, DLTensor* running_mean,
                                           DLTensor* running_var, DLTensor* y, DLTensor* mean,
                                           DLTensor* rstd, void* workspace,
                                           size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "batch_norm";
    expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
    require(desc->momentum >= 0 && desc->momentum <= 1, op, ": momentum must be from 0 to 1, got ",
            desc->momentum);
    forward({op, true, 0}, desc->training != 0, desc->momentum, desc->eps, desc->activation, x,
            moments, weight, bias, running_mean, running_var, y, mean, rstd, workspace,
            workspace_bytes);
  });
}

extern "C" mk_status mk_batch_norm_backward(const mk_batch_norm_desc* desc, const DLTensor* dy,
                                            const DLTensor* x, const DLTensor* weight,
                                            const DLTensor* bias, const DLTensor* mean,
                                            const DLTensor* rstd, DLTensor* dx, DLTensor* dweight,
                                            DLTensor* dbias, void* workspace,
                                            size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "batch_norm_backward";
    expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
    backward({op, true, 0}, desc->training != 0, desc->activation, dy, x, weight, bias, mean, rstd,
             dx, dweight, dbias, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_group_norm_workspace(const mk_group_norm_desc* desc, const DLTensor* x,
                                             size_t* bytes) {
  return guarded([&] { workspace_of(group_norm("group_norm", desc), x, bytes); });
}

extern "C" mk_status mk_group_norm_forward(const mk_group_norm_desc* desc, const DLTensor* x,
                                           const DLTensor* moments, const DLTensor* weight,
                                           const DLTensor* bias, DLTensor* y, DLTensor* mean,
                                           DLTensor* rstd, void* workspace,
                                           size_t workspace_bytes) {
  return guarded([&] {
    const Kind kind = group_norm("group_norm", desc);
    forward(kind, true, 0, desc->eps, desc->activation, x, moments, weight, bias, nullptr, nullptr,
            y, mean, rstd, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_group_norm_backward(const mk_group_norm_desc* desc, const DLTensor* dy,
                                            const DLTensor* x, const DLTensor* weight,
                                            const DLTensor* bias, const DLTensor* mean,
                                            const DLTensor* rstd, DLTensor* dx, DLTensor* dweight,
                                            DLTensor* dbias, void* workspace,
                                            size_t workspace_bytes) {
  return guarded([&] {
    backward(group_norm("group_norm_backward", desc), true, desc->activation, dy, x, weight, bias,
             mean, rstd, dx, dweight, dbias, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_instance_norm_workspace(const DLTensor* x, size_t* bytes) {
  return guarded([&] { workspace_of({"instance_norm", false, 0}, x, bytes); });
}

extern "C" mk_status mk_instance_norm_forward(double eps, int32_t activation, const DLTensor* x,
                                              const DLTensor* moments, const DLTensor* weight,
                                              const DLTensor* bias, DLTensor* y, DLTensor* mean,
                                              DLTensor* rstd, void* workspace,
                                              size_t workspace_bytes) {
  return guarded([&] {
    check_instances("instance_norm", x);
    forward({"instance_norm", false, 0}, true, 0, eps, activation, x, moments, weight, bias,
            nullptr, nullptr, y, mean, rstd, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_instance_norm_backward(int32_t activation, const DLTensor* dy,
                                               const DLTensor* x, const DLTensor* weight,
                                               const DLTensor* bias, const DLTensor* mean,
                                               const DLTensor* rstd, DLTensor* dx,
                                               DLTensor* dweight, DLTensor* dbias, void* workspace,
                                               size_t workspace_bytes) {
  return guarded([&] {
    check_instances("instance_norm_backward", x);
    backward({"instance_norm_backward", false, 0}, true, activation, dy, x, weight, bias, mean,
             rstd, dx, dweight, dbias, workspace, workspace_bytes);
  });
}
