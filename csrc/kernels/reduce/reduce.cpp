// Entry points of reductions: check, then call the table.
#include "kernels/reduce/reduce.h"

#include "kernels/indices.h"
#include "kernels/table.h"

namespace medkern {
namespace {

// Which axes of a tensor are reduced.
struct Axes {
  bool reduced[MK_MAX_RANK];
  bool keepdim;
};

const char* reduce_name(const mk_reduce_desc* desc) {
  constexpr const char* names[] = {"sum", "mean", "var", "max", "min"};
  expect_descriptor("reduce", desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
  expect_range("reduce", "op", desc->op, MK_SUM, MK_MIN);
  return names[desc->op];
}

Axes axes_of(const char* op, const mk_reduce_desc* desc, const TensorView& x) {
  Axes axes{};
  axes.keepdim = desc->keepdim != 0;
  expect_range(op, "dims_count", desc->dims_count, -1, MK_MAX_RANK);
  for (int i = 0; i < x.rank; ++i) axes.reduced[i] = desc->dims_count < 0;
  for (int i = 0; i < desc->dims_count; ++i) {
    const int32_t dim = desc->dims[i];
    require(dim >= -x.rank && dim < x.rank, op, ": dim must be from ", -x.rank, " to ", x.rank - 1,
            " for ", x.name, " of shape ", shape_text(x), ", got ", dim);
    const int axis = dim < 0 ? dim + x.rank : dim;
    require(!axes.reduced[axis], op, ": dim ", dim, " is given twice");
    axes.reduced[axis] = true;
  }
  return axes;
}

int reduced_shape(const Axes& axes, const TensorView& x, int64_t shape[MK_MAX_RANK]) {
  int rank = 0;
  for (int i = 0; i < x.rank; ++i) {
    if (!axes.reduced[i]) {
      shape[rank++] = x.shape[i];
    } else if (axes.keepdim) {
      shape[rank++] = 1;
    }
  }
  return rank;
}

// The axes of x that are reduced, or those that are kept, as a tensor of their own.
TensorView part_of(const Axes& axes, const TensorView& x, bool reduced) {
  TensorView part = x;
  part.rank = 0;
  part.count = 1;
  for (int i = 0; i < x.rank; ++i) {
    if (axes.reduced[i] != reduced) continue;
    part.shape[part.rank] = x.shape[i];
    part.strides[part.rank++] = x.strides[i];
    part.count *= x.shape[i];
  }
  return part;
}

// The result with its kept axes only: of the shape of part_of(x, false).
TensorView without_reduced(const Axes& axes, const TensorView& x, const TensorView& y) {
  if (!axes.keepdim) return y;
  TensorView same_rank = x;
  for (int i = 0; i < y.rank; ++i) {
    same_rank.shape[i] = y.shape[i];
    same_rank.strides[i] = y.strides[i];
  }
  return part_of(axes, same_rank, false);
}

// Strides that give the flat index over the reduced axes.
TensorView flat_index(const TensorView& part) {
  TensorView index = part;
  int64_t step = 1;
  for (int i = part.rank - 1; i >= 0; --i) {
    index.strides[i] = step;
    step *= part.shape[i];
  }
  return index;
}

bool is_extreme(mk_reduce_op op) { return op == MK_MAX || op == MK_MIN; }

Loops reduced_loops(const TensorView& part, bool with_index) {
  const TensorView index = flat_index(part);
  return with_index ? loops_over({&part, &index}) : loops_over({&part});
}

// The cut of the reduced axes, for the kernels of x's device.
Chunks chunks_of(const TensorView& kept, const TensorView& part, const Loops& loops) {
  bool side_by_side = false;
  for (int i = 0; i < kept.rank; ++i) side_by_side |= kept.shape[i] > 1 && kept.strides[i] == 1;
  Chunks chunks{};
  chunks.elements =
      kernels_for(part.device).reduce->chunk_elements(side_by_side, kept.count, part.count);
  chunks.rows = 1;
  for (int i = 0; i < loops.rank - 1; ++i) chunks.rows *= loops.size[i];
  chunks.length = loops.size[loops.rank - 1];
  chunks.pieces = (chunks.length + chunks.elements - 1) / chunks.elements;
  chunks.rows_per_chunk = chunks.length < chunks.elements ? chunks.elements / chunks.length : 1;
  chunks.count = (chunks.rows + chunks.rows_per_chunk - 1) / chunks.rows_per_chunk * chunks.pieces;
  return chunks;
}

// Bytes of scratch memory, in whole cache lines per array.
struct Scratch {
  int64_t values, places, centers;
};

int64_t lines(const char* op, int64_t a, int64_t b) {
  return checked_mul(op, checked_add(op, checked_mul(op, a, b), 7) / 8, 64);
}

Scratch scratch_of(const char* op, mk_reduce_op kind, const Axes& axes, const TensorView& x) {
  const TensorView part = part_of(axes, x, true), kept = part_of(axes, x, false);
  if (part.count == 0 || kept.count == 0) return {};
  const int64_t chunks = chunks_of(kept, part, reduced_loops(part, is_extreme(kind))).count;
  Scratch scratch{};
  scratch.values = lines(op, chunks, kept.count);
  scratch.places = is_extreme(kind) ? scratch.values : 0;
  scratch.centers = kind == MK_VAR ? lines(op, 1, kept.count) : 0;
  return scratch;
}

// The checks of mk_reduce_take and mk_reduce_put, and their arguments.
PickArgs pick_args(const char* op, const mk_reduce_desc* desc, const TensorView& full,
                   const TensorView& small, const TensorView& indices) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
  const Axes axes = axes_of(op, desc, full);
  int64_t shape[MK_MAX_RANK];
  const int rank = reduced_shape(axes, full, shape);
  expect_float(op, full);
  expect_same_dtype(op, small, full);
  expect_dtype(op, indices, Dtype::i64);
  expect_shape(op, small, rank, shape);
  expect_shape(op, indices, rank, shape);
  expect_same_device(op, small, full);
  expect_same_device(op, indices, full);
  const TensorView part = part_of(axes, full, true), kept = part_of(axes, full, false);
  expect_indices(op, indices, 0, part.count - 1);
  const TensorView small_kept = without_reduced(axes, full, small);
  const TensorView indices_kept = without_reduced(axes, full, indices);
  PickArgs args{};
  args.dtype = full.dtype;
  args.outputs = kept.count;
  args.elements = part.count;
  if (kept.count > 0 && part.count > 0) {
    args.kept = loops_over({&kept, &small_kept, &indices_kept});
    args.reduced = reduced_loops(part, true);
  }
  args.rank = part.rank;
  for (int i = 0; i < part.rank; ++i) {
    args.size[i] = part.shape[i];
    args.stride[i] = part.strides[i];
  }
  args.full = full.data;
  args.small = small.data;
  args.indices = indices.as<int64_t>();
  return args;
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_reduce_output_shape(const mk_reduce_desc* desc, const DLTensor* x,
                                            int64_t* shape, int32_t* rank) {
  return guarded([&] {
    const char* op = reduce_name(desc);
    const TensorView xv = view(op, "x", x);
    int64_t sizes[MK_MAX_RANK];
    require(rank != nullptr, op, ": rank is NULL");
    *rank = reduced_shape(axes_of(op, desc, xv), xv, sizes);
    give_shape(op, shape, *rank, sizes);
  });
}

extern "C" mk_status mk_reduce_workspace(const mk_reduce_desc* desc, const DLTensor* x,
                                         size_t* bytes) {
  return guarded([&] {
    const char* op = reduce_name(desc);
    const TensorView xv = view(op, "x", x);
    require(bytes != nullptr, op, ": bytes is NULL");
    const Scratch scratch = scratch_of(op, desc->op, axes_of(op, desc, xv), xv);
    *bytes = static_cast<size_t>(
        checked_add(op, checked_add(op, scratch.values, scratch.places), scratch.centers));
  });
}

extern "C" mk_status mk_reduce(const mk_reduce_desc* desc, const DLTensor* x, DLTensor* y,
                               DLTensor* indices, void* workspace, size_t workspace_bytes) {
  return guarded([&] {
    const char* op = reduce_name(desc);
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    const TensorView iv = indices != nullptr ? view(op, "indices", indices) : yv;
    const Axes axes = axes_of(op, desc, xv);
    int64_t shape[MK_MAX_RANK];
    const int rank = reduced_shape(axes, xv, shape);
    expect_float(op, xv);
    expect_same_dtype(op, yv, xv);
    expect_shape(op, yv, rank, shape);
    expect_same_device(op, yv, xv);
    expect_distinct(op, yv);
    expect_no_overlap(op, yv, xv);
    if (indices != nullptr) {
      require(is_extreme(desc->op), op, ": has no indices");
      expect_dtype(op, iv, Dtype::i64);
      expect_shape(op, iv, rank, shape);
      expect_same_device(op, iv, xv);
      expect_distinct(op, iv);
      expect_no_overlap(op, iv, xv);
      expect_no_overlap(op, iv, yv);
    }
    const TensorView part = part_of(axes, xv, true), kept = part_of(axes, xv, false);
    const TensorView y_kept = without_reduced(axes, xv, yv);
    const TensorView i_kept = without_reduced(axes, xv, iv);
    require(part.count > 0 || kept.count == 0 || !is_extreme(desc->op), op, ": x of shape ",
            shape_text(xv), " has no elements to choose from");
    const Scratch scratch = scratch_of(op, desc->op, axes, xv);
    expect_workspace(op, workspace, workspace_bytes,
                     static_cast<size_t>(scratch.values + scratch.places + scratch.centers));
    if (kept.count == 0) return;

    ReduceArgs args{};
    args.op = desc->op;
    args.dtype = xv.dtype;
    args.correction = desc->correction;
    args.kept = loops_over({&kept, &y_kept, &i_kept});
    if (part.count > 0) {
      args.reduced = reduced_loops(part, is_extreme(desc->op));
      args.chunks = chunks_of(kept, part, args.reduced);
    }
    args.outputs = kept.count;
    args.elements = part.count;
    args.x = xv.data;
    args.y = yv.data;
    args.indices = indices != nullptr ? iv.as<int64_t>() : nullptr;
    char* memory = static_cast<char*>(workspace);
    args.values = reinterpret_cast<double*>(memory);
    args.places = reinterpret_cast<int64_t*>(memory + scratch.values);
    args.centers = reinterpret_cast<double*>(memory + scratch.values + scratch.places);
    kernels_for(xv.device).reduce->reduce(args);
  });
}

extern "C" mk_status mk_reduce_take(const mk_reduce_desc* desc, const DLTensor* x,
                                    const DLTensor* indices, DLTensor* y) {
  return guarded([&] {
    const char* op = "reduce_take";
    const TensorView xv = view(op, "x", x), iv = view(op, "indices", indices);
    const TensorView yv = view(op, "y", y);
    const PickArgs args = pick_args(op, desc, xv, yv, iv);
    expect_distinct(op, yv);
    for (const TensorView* t : {&xv, &iv}) expect_no_overlap(op, yv, *t);
    if (args.outputs > 0) kernels_for(xv.device).reduce->take(args);
  });
}

extern "C" mk_status mk_reduce_put(const mk_reduce_desc* desc, const DLTensor* dy,
                                   const DLTensor* indices, DLTensor* dx) {
  return guarded([&] {
    const char* op = "reduce_put";
    const TensorView dyv = view(op, "dy", dy), iv = view(op, "indices", indices);
    const TensorView dxv = view(op, "dx", dx);
    const PickArgs args = pick_args(op, desc, dxv, dyv, iv);
    expect_distinct(op, dxv);
    for (const TensorView* t : {&dyv, &iv}) expect_no_overlap(op, dxv, *t);
    if (args.outputs > 0 && args.elements > 0) kernels_for(dxv.device).reduce->put(args);
  });
}
