// CUDA kernels of pointwise operations: what the checked arguments come to on the device.
#include "kernels/pointwise/pointwise.cuda.h"
#include "cuda/launch.h"
#include "cuda/variants.h"
#include "kernels/loops.cuda.h"
#include "kernels/pointwise/pointwise.h"

namespace medkern::cuda {
namespace {

// In the order of mk_unary_op, for float32 and float64.
Kernel unary_forward[20][2] = {
    {{"unary", "unary_relu_f32"}, {"unary", "unary_relu_f64"}},
    {{"unary", "unary_leaky_relu_f32"}, {"unary", "unary_leaky_relu_f64"}},
    {{"unary", "unary_elu_f32"}, {"unary", "unary_elu_f64"}},
    {{"unary", "unary_sigmoid_f32"}, {"unary", "unary_sigmoid_f64"}},
    {{"unary", "unary_tanh_f32"}, {"unary", "unary_tanh_f64"}},
    {{"unary", "unary_silu_f32"}, {"unary", "unary_silu_f64"}},
    {{"unary", "unary_gelu_f32"}, {"unary", "unary_gelu_f64"}},
    {{"unary", "unary_softplus_f32"}, {"unary", "unary_softplus_f64"}},
    {{"unary", "unary_exp_f32"}, {"unary", "unary_exp_f64"}},
    {{"unary", "unary_expm1_f32"}, {"unary", "unary_expm1_f64"}},
    {{"unary", "unary_log_f32"}, {"unary", "unary_log_f64"}},
    {{"unary", "unary_log1p_f32"}, {"unary", "unary_log1p_f64"}},
    {{"unary", "unary_sqrt_f32"}, {"unary", "unary_sqrt_f64"}},
    {{"unary", "unary_abs_f32"}, {"unary", "unary_abs_f64"}},
    {{"unary", "unary_neg_f32"}, {"unary", "unary_neg_f64"}},
    {{"unary", "unary_square_f32"}, {"unary", "unary_square_f64"}},
    {{"unary", "unary_reciprocal_f32"}, {"unary", "unary_reciprocal_f64"}},
    {{"unary", "unary_clamp_f32"}, {"unary", "unary_clamp_f64"}},
    {{"unary", "unary_pow_f32"}, {"unary", "unary_pow_f64"}},
    {{"unary", "unary_erf_f32"}, {"unary", "unary_erf_f64"}}};
Kernel unary_backward[20][2] = {
    {{"unary", "unary_relu_backward_f32"}, {"unary", "unary_relu_backward_f64"}},
    {{"unary", "unary_leaky_relu_backward_f32"}, {"unary", "unary_leaky_relu_backward_f64"}},
    {{"unary", "unary_elu_backward_f32"}, {"unary", "unary_elu_backward_f64"}},
    {{"unary", "unary_sigmoid_backward_f32"}, {"unary", "unary_sigmoid_backward_f64"}},
    {{"unary", "unary_tanh_backward_f32"}, {"unary", "unary_tanh_backward_f64"}},
    {{"unary", "unary_silu_backward_f32"}, {"unary", "unary_silu_backward_f64"}},
    {{"unary", "unary_gelu_backward_f32"}, {"unary", "unary_gelu_backward_f64"}},
    {{"unary", "unary_softplus_backward_f32"}, {"unary", "unary_softplus_backward_f64"}},
    {{"unary", "unary_exp_backward_f32"}, {"unary", "unary_exp_backward_f64"}},
    {{"unary", "unary_expm1_backward_f32"}, {"unary", "unary_expm1_backward_f64"}},
    {{"unary", "unary_log_backward_f32"}, {"unary", "unary_log_backward_f64"}},
    {{"unary", "unary_log1p_backward_f32"}, {"unary", "unary_log1p_backward_f64"}},
    {{"unary", "unary_sqrt_backward_f32"}, {"unary", "unary_sqrt_backward_f64"}},
    {{"unary", "unary_abs_backward_f32"}, {"unary", "unary_abs_backward_f64"}},
    {{"unary", "unary_neg_backward_f32"}, {"unary", "unary_neg_backward_f64"}},
    {{"unary", "unary_square_backward_f32"}, {"unary", "unary_square_backward_f64"}},
    {{"unary", "unary_reciprocal_backward_f32"}, {"unary", "unary_reciprocal_backward_f64"}},
    {{"unary", "unary_clamp_backward_f32"}, {"unary", "unary_clamp_backward_f64"}},
    {{"unary", "unary_pow_backward_f32"}, {"unary", "unary_pow_backward_f64"}},
    {{"unary", "unary_erf_backward_f32"}, {"unary", "unary_erf_backward_f64"}}};

// For bfloat16, up to tanh.
Kernel bfloat_forward[5] = {{"unary", "unary_relu_bf16"},
                            {"unary", "unary_leaky_relu_bf16"},
                            {"unary", "unary_elu_bf16"},
                            {"unary", "unary_sigmoid_bf16"},
                            {"unary", "unary_tanh_bf16"}};
Kernel bfloat_backward[5] = {{"unary", "unary_relu_backward_bf16"},
                             {"unary", "unary_leaky_relu_backward_bf16"},
                             {"unary", "unary_elu_backward_bf16"},
                             {"unary", "unary_sigmoid_backward_bf16"},
                             {"unary", "unary_tanh_backward_bf16"}};

// In the order of mk_binary_op.
Types binaries[7] = {MK_TYPES("binary", "binary_add"),     MK_TYPES("binary", "binary_sub"),
                     MK_TYPES("binary", "binary_mul"),     MK_TYPES("binary", "binary_div"),
                     MK_TYPES("binary", "binary_maximum"), MK_TYPES("binary", "binary_minimum"),
                     MK_TYPES("binary", "binary_add_relu")};

// In the order of Dtype.
Kernel comparisons[5] = {{"binary", "compare_f32"},
                         {"binary", "compare_f64"},
                         {"binary", "compare_i32"},
                         {"binary", "compare_i64"},
                         {"binary", "compare_u8"}};
Kernel where_1{"binary", "where_1"}, where_2{"binary", "where_2"}, where_4{"binary", "where_4"},
    where_8{"binary", "where_8"};

// Starts `kernel` over the walk that `p` begins with.
template <class Args>
void launch_walk(Kernel& kernel, const Args& p) {
  launch(kernel, {walk_blocks(p.walk)}, kWalkThreads, 0, p);
}

void forward(const UnaryArgs& args) {
  const size_t item = size_of(args.dtype);
  const Operand operands[] = {{args.y, item}, {args.x, item}};
  const UnaryForwardArgs p{walk_over(args.loops, operands), args.y, args.x, args.a, args.b};
  const int type = type_of(args.dtype);
  launch_walk(type < 2 ? unary_forward[args.op][type] : bfloat_forward[args.op], p);
}

void backward(const UnaryArgs& args) {
  const size_t item = size_of(args.dtype);
  const Operand operands[] = {{args.y, item}, {args.x, item}, {args.saved, item}};
  const UnaryBackwardArgs p{
      walk_over(args.loops, operands), args.y, args.x, args.saved, args.a, args.b};
  const int type = type_of(args.dtype);
  launch_walk(type < 2 ? unary_backward[args.op][type] : bfloat_backward[args.op], p);
}

void binary(const BinaryArgs& args) {
  const size_t item = size_of(args.dtype);
  const Operand operands[] = {{args.y, item}, {args.a, item}, {args.b, item}};
  const BinaryKernelArgs p{walk_over(args.loops, operands), args.y, args.a, args.b, args.op};
  launch_walk(binaries[args.op][type_of(args.dtype)], p);
}

void compare(const CompareArgs& args) {
  const size_t item = size_of(args.dtype);
  const Operand operands[] = {{args.y, 1}, {args.a, item}, {args.b, item}};
  const BinaryKernelArgs p{walk_over(args.loops, operands), args.y, args.a, args.b, args.op};
  launch_walk(comparisons[static_cast<int>(args.dtype)], p);
}

void where(const WhereArgs& args) {
  const Operand operands[] = {
      {args.y, args.item}, {args.mask, 1}, {args.a, args.item}, {args.b, args.item}};
  const WhereKernelArgs p{walk_over(args.loops, operands), args.y, args.mask, args.a, args.b};
  launch_walk(args.item == 8   ? where_8
              : args.item == 4 ? where_4
              : args.item == 2 ? where_2
                               : where_1,
              p);
}

}  // namespace

extern const BinaryKernels binary_kernels;
constinit const BinaryKernels binary_kernels = {
    .binary = binary,
    .compare = compare,
    .where = where,
};

extern const UnaryKernels unary_kernels;
constinit const UnaryKernels unary_kernels = {
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::cuda
