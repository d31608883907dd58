// Entry points of operations on two tensors, comparison and choice: check, then call the table.
#include "kernels/pointwise/pointwise.h"
#include "kernels/table.h"

namespace medkern {
namespace {

template <int count>
const char* name_of_op(const char* kind, int op, const char* const (&names)[count]) {
  require(op >= 0 && op < count, kind, ": op must be from 0 to ", count - 1, ", got ", op);
  return names[op];
}

// What all of them ask of the result: the broadcast shape, memory of its own or exactly an input's.
void expect_result(const char* op, const TensorView& y,
                   std::initializer_list<const TensorView*> inputs) {
  int64_t shape[MK_MAX_RANK];
  const int rank = broadcast_shape(op, inputs, shape);
  expect_shape(op, y, rank, shape);
  expect_distinct(op, y);
  for (const TensorView* x : inputs) {
    expect_same_device(op, y, *x);
    expect_same_or_no_overlap(op, y, *x);
  }
}

void give_broadcast_shape(const char* op, std::initializer_list<const TensorView*> inputs,
                          int64_t* shape, int32_t* rank) {
  int64_t sizes[MK_MAX_RANK];
  require(rank != nullptr, op, ": rank is NULL");
  *rank = broadcast_shape(op, inputs, sizes);
  give_shape(op, shape, *rank, sizes);
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_binary_output_shape(const DLTensor* a, const DLTensor* b, int64_t* shape,
                                            int32_t* rank) {
  return guarded([&] {
    const char* op = "binary";
    const TensorView av = view(op, "a", a), bv = view(op, "b", b);
    give_broadcast_shape(op, {&av, &bv}, shape, rank);
  });
}

extern "C" mk_status mk_binary(mk_binary_op op, const DLTensor* a, const DLTensor* b, DLTensor* y) {
  return guarded([&] {
    const char* name =
        name_of_op("binary", int(op), {"add", "sub", "mul", "div", "maximum", "minimum", "add"});
    const TensorView av = view(name, "a", a), bv = view(name, "b", b), yv = view(name, "y", y);
    expect_float_or_bfloat(name, av);
    expect_same_dtype(name, bv, av);
    expect_same_dtype(name, yv, av);
    expect_result(name, yv, {&av, &bv});
    const BinaryArgs args{op, av.dtype, loops_over({&yv, &av, &bv}), yv.data, av.data, bv.data};
    if (yv.count > 0) kernels_for(av.device).binary->binary(args);
  });
}

extern "C" mk_status mk_compare(mk_compare_op op, const DLTensor* a, const DLTensor* b,
                                DLTensor* y) {
  return guarded([&] {
    const char* name = name_of_op("compare", int(op), {"eq", "ne", "lt", "le", "gt", "ge"});
    const TensorView av = view(name, "a", a), bv = view(name, "b", b), yv = view(name, "y", y);
    expect_wide(name, av);
    expect_same_dtype(name, bv, av);
    expect_dtype(name, yv, Dtype::u8);
    expect_result(name, yv, {&av, &bv});
    const CompareArgs args{op,      av.dtype, loops_over({&yv, &av, &bv}), yv.as<uint8_t>(),
                           av.data, bv.data};
    if (yv.count > 0) kernels_for(av.device).binary->compare(args);
  });
}

extern "C" mk_status mk_where_output_shape(const DLTensor* mask, const DLTensor* a,
                                           const DLTensor* b, int64_t* shape, int32_t* rank) {
  return guarded([&] {
    const char* op = "where";
    const TensorView mv = view(op, "mask", mask), av = view(op, "a", a), bv = view(op, "b", b);
    give_broadcast_shape(op, {&mv, &av, &bv}, shape, rank);
  });
}

extern "C" mk_status mk_where(const DLTensor* mask, const DLTensor* a, const DLTensor* b,
                              DLTensor* y) {
  return guarded([&] {
    const char* op = "where";
    const TensorView mv = view(op, "mask", mask), av = view(op, "a", a), bv = view(op, "b", b);
    const TensorView yv = view(op, "y", y);
    expect_dtype(op, mv, Dtype::u8);
    expect_same_dtype(op, bv, av);
    expect_same_dtype(op, yv, av);
    expect_result(op, yv, {&mv, &av, &bv});
    const WhereArgs args{size_of(av.dtype), loops_over({&yv, &mv, &av, &bv}),
                         yv.data,           mv.as<uint8_t>(),
                         av.data,           bv.data};
    if (yv.count > 0) kernels_for(av.device).binary->where(args);
  });
}
