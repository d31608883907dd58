// Entry points of gemm, linear and bias_backward: check, then call the table.
#include "kernels/gemm/gemm.h"

#include <atomic>

#include "kernels/packed.h"
#include "kernels/table.h"
#include "medkern/gemm.h"

namespace medkern {
namespace {

std::atomic<mk_precision> precision_in_use{MK_PRECISION_FLOAT32};

}  // namespace

mk_precision matmul_precision() { return precision_in_use; }

Activation activation_of(const char* op, int32_t activation) {
  require(activation == MK_ACTIVATION_NONE || activation == MK_ACTIVATION_RELU, op,
          ": activation must be 0 (none) or 1 (relu), got ", activation);
  return activation == MK_ACTIVATION_RELU ? Activation::relu : Activation::none;
}

void expect_gemm_sizes(const char* op, int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kMargin = 64, kBytes = 32;  // of panels and tiles; of an element, four times
  for (const int64_t size : {m, n, k}) checked_add(op, size, kMargin);
  const int64_t a = checked_mul(op, m + kMargin, k + kMargin);
  const int64_t b = checked_mul(op, k + kMargin, n + kMargin);
  checked_mul(op, checked_add(op, a, b), kBytes);
}

namespace {

// The last two dimensions as a matrix, transposed on request.
struct Matrix {
  const void* data;
  int64_t rows, columns, row_stride, column_stride;
};

Matrix matrix_of(const TensorView& x, bool transpose = false) {
  const int r = x.rank - 2, c = x.rank - 1;
  Matrix m{x.data, x.shape[r], x.shape[c], x.strides[r], x.strides[c]};
  if (transpose) {
    return {m.data, m.columns, m.rows, m.column_stride, m.row_stride};
  }
  return m;
}

// A contiguous tensor as a matrix with one row per element of its leading axes.
Matrix rows_of(const TensorView& x, bool transpose = false) {
  const int64_t columns = x.shape[x.rank - 1];
  int64_t rows = 1;
  for (int i = 0; i < x.rank - 1; ++i) rows *= x.shape[i];
  if (transpose) return {x.data, columns, rows, 1, columns};
  return {x.data, rows, columns, columns, 1};
}

GemmArgs product(const char* op, Dtype dtype, const Matrix& a, const Matrix& b) {
  expect_gemm_sizes(op, a.rows, b.columns, a.columns);
  GemmArgs args{};
  args.dtype = dtype;
  args.m = a.rows;
  args.n = b.columns;
  args.k = a.columns;
  args.a = a.data;
  args.a_row = a.row_stride;
  args.a_col = a.columns > 1 ? a.column_stride : 1;
  args.b = b.data;
  args.b_row = b.row_stride;
  args.b_col = b.columns > 1 ? b.column_stride : 1;
  args.c_row = b.columns;
  return args;
}

// Of all items of two batches of matrices.
GemmArgs products(const char* op, const TensorView& a, const TensorView& b) {
  GemmArgs args = product(op, a.dtype, matrix_of(a), matrix_of(b));
  if (a.rank == 2) return args;
  args.items = a.shape[0];
  args.a_item = a.strides[0];
  args.b_item = b.strides[0];
  args.c_item = args.m * args.n;
  checked_mul(op, args.items, checked_mul(op, args.m, args.n) * 8);
  return args;
}

void give_bytes(const char* op, size_t* bytes, size_t value) {
  require(bytes != nullptr, op, ": bytes is NULL");
  *bytes = value;
}

void run(const char* op, DLDevice device, GemmArgs& args, void* workspace, size_t bytes) {
  const GemmKernels& kernels = *kernels_for(device).gemm;
  expect_workspace(op, workspace, bytes, kernels.workspace(args));
  args.workspace = workspace;
  kernels.run(args);
}

void expect_operand(const char* op, const TensorView& x, const TensorView& first) {
  expect_same_dtype(op, x, first);
  expect_same_device(op, x, first);
}

void expect_result(const char* op, const TensorView& y, int rank, const int64_t* shape,
                   std::initializer_list<const TensorView*> inputs) {
  expect_operand(op, y, **inputs.begin());
  expect_shape(op, y, rank, shape);
  expect_contiguous(op, y);
  for (const TensorView* x : inputs) expect_no_overlap(op, y, *x);
}

void expect_bias(const char* op, const TensorView& bias, int64_t n, const TensorView& first) {
  if (bias.data == nullptr && bias.rank == 0) return;
  expect_operand(op, bias, first);
  expect_shape(op, bias, 1, &n);
  expect_contiguous(op, bias);
}

void check_gemm(const char* op, const TensorView& a, const TensorView& b) {
  require(a.rank == 2 || a.rank == 3, op, ": a must have 2 or 3 dimensions, got ", a.rank, ": ",
          shape_text(a));
  expect_rank(op, b, a.rank);
  expect_float_or_half(op, a);
  expect_operand(op, b, a);
  require(a.rank == 2 || a.shape[0] == b.shape[0], op, ": a and b must have the same batch size, ",
          "got a ", shape_text(a), ", b ", shape_text(b));
  require(a.shape[a.rank - 1] == b.shape[b.rank - 2], op, ": a has ", a.shape[a.rank - 1],
          " columns, b has ", b.shape[b.rank - 2], " rows (a ", shape_text(a), ", b ",
          shape_text(b), ")");
}

void check_linear(const char* op, const TensorView& x, const TensorView& weight, int weight_axis) {
  require(x.rank >= 1, op, ": ", x.name, " must have at least 1 dimension, got 0");
  expect_rank(op, weight, 2);
  expect_float_or_half(op, x);
  expect_operand(op, weight, x);
  expect_contiguous(op, x);
  require(x.shape[x.rank - 1] == weight.shape[weight_axis], op, ": weight expects ",
          weight.shape[weight_axis], weight_axis == 1 ? " input" : " output", " features, got ",
          x.name, " with ", x.shape[x.rank - 1], " (", x.name, " ", shape_text(x), ", weight ",
          shape_text(weight), ")");
}

void check_linear_weight(const char* op, const TensorView& dy, const TensorView& x) {
  for (const TensorView* t : {&dy, &x}) {
    require(t->rank >= 1, op, ": ", t->name, " must have at least 1 dimension, got 0");
    expect_contiguous(op, *t);
  }
  expect_float_or_half(op, dy);
  expect_operand(op, x, dy);
  bool same = dy.rank == x.rank;
  for (int i = 0; same && i < x.rank - 1; ++i) same = dy.shape[i] == x.shape[i];
  require(same, op, ": dy and x must have the same leading axes, got dy ", shape_text(dy), ", x ",
          shape_text(x));
}

// How a packed weight came to be.
struct LinearHeader : PackedHeader {
  TensorView weight;  // without data
};
constexpr uint64_t kPackedMark = 0x6d6b5f6c696e6561;  // "mk_linea"

// Bytes of a packed weight, its header included.
size_t packed_bytes_of(const char* op, const TensorView& weight) {
  expect_rank(op, weight, 2);
  expect_float_or_half(op, weight);
  expect_gemm_sizes(op, 0, weight.shape[0], weight.shape[1]);
  const GemmKernels& kernels = *kernels_for(weight.device).gemm;
  return kHeaderBytes<LinearHeader> +
         kernels.packed_b_bytes(weight.dtype, weight.shape[1], weight.shape[0]);
}

const LinearHeader& packed_header(const char* op, const void* packed, size_t bytes) {
  expect_packed(op, packed, bytes, kHeaderBytes<LinearHeader>, kPackedMark, "mk_linear_pack");
  const auto& header = *static_cast<const LinearHeader*>(packed);
  expect_packed_by(op, header, kernels_for(header.weight.device).gemm);
  return header;
}

// The product of x with a packed weight, without result, bias and activation.
GemmArgs packed_product(const char* op, const LinearHeader& header, const TensorView& x) {
  check_linear(op, x, header.weight, 1);
  GemmArgs args = product(op, x.dtype, rows_of(x), matrix_of(header.weight, true));
  args.b = weights_of(header);
  args.b_packed = true;
  return args;
}

// Shape of `x` with another last size.
struct Leading {
  int64_t shape[MK_MAX_RANK];
  Leading(const TensorView& x, int64_t last) {
    for (int i = 0; i < x.rank; ++i) shape[i] = x.shape[i];
    shape[x.rank - 1] = last;
  }
};

BiasBackwardArgs bias_args(const char* op, const TensorView& dy, int32_t axis) {
  expect_float_or_half(op, dy);
  expect_dense(op, dy);
  expect_range(op, "axis", axis, 0, dy.rank - 1);
  BiasBackwardArgs args{dy.dtype, dy.dtype, 1, dy.shape[axis], 1, dy.data, nullptr, nullptr};
  // Channels-last memory is a row of channels per pixel.
  const bool rows = !is_contiguous(dy);
  require(!rows || axis == 1, op, ": a channels-last dy needs axis 1, got ", axis);
  for (int i = 0; i < dy.rank; ++i) {
    int64_t& size = i < axis || rows ? args.outer : args.inner;
    if (i != axis) size = checked_mul(op, size, dy.shape[i]);
  }
  return args;
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_set_matmul_precision(int32_t precision) {
  return guarded([&] {
    expect_range("set_matmul_precision", "precision", precision, MK_PRECISION_FLOAT32,
                 MK_PRECISION_BF16);
    precision_in_use = static_cast<mk_precision>(precision);
  });
}

extern "C" int32_t mk_get_matmul_precision(void) { return matmul_precision(); }

extern "C" mk_status mk_gemm_workspace(const DLTensor* a, const DLTensor* b, size_t* bytes) {
  return guarded([&] {
    const char* op = "gemm";
    const TensorView av = view(op, "a", a), bv = view(op, "b", b);
    check_gemm(op, av, bv);
    give_bytes(op, bytes, kernels_for(av.device).gemm->workspace(products(op, av, bv)));
  });
}

extern "C" mk_status mk_gemm(const DLTensor* a, const DLTensor* b, const DLTensor* bias,
                             int32_t activation, DLTensor* c, void* workspace,
                             size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "gemm";
    const TensorView av = view(op, "a", a), bv = view(op, "b", b), cv = view(op, "c", c);
    const TensorView biasv = optional_view(op, "bias", bias);
    check_gemm(op, av, bv);
    GemmArgs args = products(op, av, bv);
    args.activation = activation_of(op, activation);
    expect_bias(op, biasv, args.n, av);
    const int64_t shape[3] = {args.items, args.m, args.n};
    expect_result(op, cv, av.rank, shape + 3 - av.rank, {&av, &bv, &biasv});
    args.bias = biasv.data;
    args.c = cv.data;
    if (cv.count > 0) run(op, av.device, args, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_linear_workspace(const DLTensor* x, const DLTensor* weight, size_t* bytes) {
  return guarded([&] {
    const char* op = "linear";
    const TensorView xv = view(op, "x", x), wv = view(op, "weight", weight);
    check_linear(op, xv, wv, 1);
    const GemmArgs args = product(op, xv.dtype, rows_of(xv), matrix_of(wv, true));
    give_bytes(op, bytes, kernels_for(xv.device).gemm->workspace(args));
  });
}

extern "C" mk_status mk_linear_forward(const DLTensor* x, const DLTensor* weight,
                                       const DLTensor* bias, int32_t activation, DLTensor* y,
                                       void* workspace, size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "linear";
    const TensorView xv = view(op, "x", x), wv = view(op, "weight", weight), yv = view(op, "y", y);
    const TensorView biasv = optional_view(op, "bias", bias);
    check_linear(op, xv, wv, 1);
    GemmArgs args = product(op, xv.dtype, rows_of(xv), matrix_of(wv, true));
    args.activation = activation_of(op, activation);
    expect_bias(op, biasv, args.n, xv);
    expect_result(op, yv, xv.rank, Leading(xv, args.n).shape, {&xv, &wv, &biasv});
    args.bias = biasv.data;
    args.c = yv.data;
    if (yv.count > 0) run(op, xv.device, args, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_linear_packed_bytes(const DLTensor* weight, size_t* bytes) {
  return guarded([&] {
    const char* op = "linear_plan";
    give_bytes(op, bytes, packed_bytes_of(op, view(op, "weight", weight)));
  });
}

extern "C" mk_status mk_linear_pack(const DLTensor* weight, void* packed, size_t packed_bytes) {
  return guarded([&] {
    const char* op = "linear_plan";
    const TensorView wv = view(op, "weight", weight);
    const size_t needed = packed_bytes_of(op, wv);
    expect_packing_memory(op, packed, packed_bytes, needed);
    const GemmKernels& kernels = *kernels_for(wv.device).gemm;
    auto& header = *static_cast<LinearHeader*>(packed);
    header = {{kPackedMark, needed, &kernels}, wv};
    header.weight.data = nullptr;
    const Matrix b = matrix_of(wv, true);
    kernels.pack_b(wv.dtype, b.rows, b.columns, b.data, b.row_stride, b.column_stride,
                   weights_of(header));
  });
}

extern "C" mk_status mk_linear_packed_output_shape(const void* packed, size_t packed_bytes,
                                                   const DLTensor* x, int64_t* shape) {
  return guarded([&] {
    const char* op = "linear";
    const LinearHeader& header = packed_header(op, packed, packed_bytes);
    const TensorView xv = view(op, "x", x);
    const GemmArgs args = packed_product(op, header, xv);
    give_shape(op, shape, xv.rank, Leading(xv, args.n).shape);
  });
}

extern "C" mk_status mk_linear_packed_workspace(const void* packed, size_t packed_bytes,
                                                const DLTensor* x, size_t* bytes) {
  return guarded([&] {
    const char* op = "linear";
    const LinearHeader& header = packed_header(op, packed, packed_bytes);
    const GemmArgs args = packed_product(op, header, view(op, "x", x));
    give_bytes(op, bytes, kernels_for(header.weight.device).gemm->workspace(args));
  });
}

extern "C" mk_status mk_linear_packed_forward(const void* packed, size_t packed_bytes,
                                              const DLTensor* x, const DLTensor* bias,
                                              int32_t activation, DLTensor* y, void* workspace,
                                              size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "linear";
    const LinearHeader& header = packed_header(op, packed, packed_bytes);
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    const TensorView biasv = optional_view(op, "bias", bias);
    GemmArgs args = packed_product(op, header, xv);
    args.activation = activation_of(op, activation);
    expect_bias(op, biasv, args.n, xv);
    expect_result(op, yv, xv.rank, Leading(xv, args.n).shape, {&xv, &biasv});
    args.bias = biasv.data;
    args.c = yv.data;
    if (yv.count > 0) run(op, xv.device, args, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_linear_backward_input_workspace(const DLTensor* dy, const DLTensor* weight,
                                                        size_t* bytes) {
  return guarded([&] {
    const char* op = "linear_backward_input";
    const TensorView dyv = view(op, "dy", dy), wv = view(op, "weight", weight);
    check_linear(op, dyv, wv, 0);
    const GemmArgs args = product(op, dyv.dtype, rows_of(dyv), matrix_of(wv));
    give_bytes(op, bytes, kernels_for(dyv.device).gemm->workspace(args));
  });
}

extern "C" mk_status mk_linear_backward_input(const DLTensor* dy, const DLTensor* weight,
                                              DLTensor* dx, void* workspace,
                                              size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "linear_backward_input";
    const TensorView dyv = view(op, "dy", dy), wv = view(op, "weight", weight);
    const TensorView dxv = view(op, "dx", dx);
    check_linear(op, dyv, wv, 0);
    GemmArgs args = product(op, dyv.dtype, rows_of(dyv), matrix_of(wv));
    expect_result(op, dxv, dyv.rank, Leading(dyv, args.n).shape, {&dyv, &wv});
    args.c = dxv.data;
    if (dxv.count > 0) run(op, dyv.device, args, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_linear_backward_weight_workspace(const DLTensor* dy, const DLTensor* x,
                                                         size_t* bytes) {
  return guarded([&] {
    const char* op = "linear_backward_weight";
    const TensorView dyv = view(op, "dy", dy), xv = view(op, "x", x);
    check_linear_weight(op, dyv, xv);
    const GemmArgs args = product(op, dyv.dtype, rows_of(dyv, true), rows_of(xv));
    give_bytes(op, bytes, kernels_for(dyv.device).gemm->workspace(args));
  });
}

extern "C" mk_status mk_linear_backward_weight(const DLTensor* dy, const DLTensor* x,
                                               DLTensor* dweight, void* workspace,
                                               size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "linear_backward_weight";
    const TensorView dyv = view(op, "dy", dy), xv = view(op, "x", x);
    const TensorView dwv = view(op, "dweight", dweight);
    check_linear_weight(op, dyv, xv);
    GemmArgs args = product(op, dyv.dtype, rows_of(dyv, true), rows_of(xv));
    const int64_t shape[2] = {args.m, args.n};
    expect_result(op, dwv, 2, shape, {&dyv, &xv});
    args.c = dwv.data;
    if (dwv.count > 0) run(op, dyv.device, args, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_bias_backward_workspace(const DLTensor* dy, int32_t axis, size_t* bytes) {
  return guarded([&] {
    const char* op = "bias_backward";
    const TensorView dyv = view(op, "dy", dy);
    const BiasBackwardArgs args = bias_args(op, dyv, axis);
    give_bytes(op, bytes, kernels_for(dyv.device).gemm->bias_backward_workspace(args));
  });
}

extern "C" mk_status mk_bias_backward(const DLTensor* dy, int32_t axis, DLTensor* dbias,
                                      void* workspace, size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "bias_backward";
    const TensorView dyv = view(op, "dy", dy), dbv = view(op, "dbias", dbias);
    BiasBackwardArgs args = bias_args(op, dyv, axis);
    TensorView like = dyv;
    if (is_half(dyv.dtype) && dbv.dtype == Dtype::f32) like.dtype = Dtype::f32;
    expect_operand(op, dbv, like);
    expect_shape(op, dbv, 1, &args.channels);
    expect_contiguous(op, dbv);
    expect_no_overlap(op, dbv, dyv);
    args.dbias_dtype = dbv.dtype;
    const GemmKernels& kernels = *kernels_for(dyv.device).gemm;
    expect_workspace(op, workspace, workspace_bytes, kernels.bias_backward_workspace(args));
    args.dbias = dbv.data;
    args.workspace = workspace;
    if (dbv.count > 0) kernels.bias_backward(args);
  });
}
