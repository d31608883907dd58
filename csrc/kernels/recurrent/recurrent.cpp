// Entry points of recurrent layers: check, then call the table once per direction.
#include "kernels/recurrent/recurrent.h"

#include "core/tensor.h"
#include "kernels/gemm/gemm.h"
#include "kernels/indices.h"
#include "kernels/packed.h"
#include "kernels/table.h"
#include "medkern/recurrent.h"

namespace medkern {
namespace {

// What a cell is called in messages, and its gates and values saved per hidden unit.
struct CellTraits {
  const char *sequence, *sequence_backward, *step, *step_backward;
  int64_t gates, saved;
};
constexpr CellTraits kCells[4] = {
    {"lstm", "lstm_backward", "lstm_cell", "lstm_cell_backward", 4, 5},
    {"gru", "gru_backward", "gru_cell", "gru_cell_backward", 3, 4},
    {"rnn", "rnn_backward", "rnn_cell", "rnn_cell_backward", 1, 1},
    {"rnn", "rnn_backward", "rnn_cell", "rnn_cell_backward", 1, 1},
};

const RecurrentKernels& kernels_of(int32_t cell, DLDevice device) {
  const KernelTable& table = kernels_for(device);
  switch (cell) {
    case MK_LSTM:
      return *table.lstm;
    case MK_GRU:
      return *table.gru;
    case MK_RNN_TANH:
      return *table.rnn_tanh;
    default:
      return *table.rnn_relu;
  }
}

// How packed weights came to be.
struct RecurrentHeader : PackedHeader {
  int32_t cell, directions;
  Dtype dtype;
  DLDevice device;
  int64_t input, hidden;
  size_t bytes_each;  // of a direction
};
constexpr uint64_t kPackedMark = 0x6d6b5f7265637572;  // "mk_recur"

struct Shape {
  int rank;
  int64_t size[4];
};

// A layer whose every argument has been checked.
struct Layer {
  const char* op;
  int32_t cell, directions;
  bool single;                          // no axes T and D
  int64_t batch, steps, input, hidden;  // N T I H
  int64_t row_n, row_t;                 // as in RecurrentArgs
  TensorView x, lengths, h0, c0;
  TensorView weight_ih[2], weight_hh[2], bias_ih[2], bias_hh[2];
  const RecurrentHeader* packed;  // nullptr if there are weights
  Shape y, state, saved;

  int64_t gates() const { return kCells[cell].gates; }
  int64_t item() const { return static_cast<int64_t>(size_of(x.dtype)); }
};

const char* by_direction(int d, const char* first, const char* second) {
  return d == 0 ? first : second;
}

// Fails unless `x` has this shape and the dtype and device of the layer's x.
void expect_like(const Layer& l, const TensorView& x, const Shape& shape) {
  expect_same_dtype(l.op, x, l.x);
  expect_same_device(l.op, x, l.x);
  expect_shape(l.op, x, shape.rank, shape.size);
}

void expect_dense_like(const Layer& l, const TensorView& x, const Shape& shape) {
  expect_like(l, x, shape);
  expect_contiguous(l.op, x);
}

TensorView optional_like(const Layer& l, const char* name, const DLTensor* tensor,
                         const Shape& shape) {
  const TensorView x = optional_view(l.op, name, tensor);
  if (tensor != nullptr) expect_dense_like(l, x, shape);
  return x;
}

// An optional cell state or gradient of one, which only LSTM has.
TensorView optional_cell_state(const Layer& l, const char* name, const DLTensor* tensor) {
  require(tensor == nullptr || l.cell == MK_LSTM, l.op, ": ", name, " is for LSTM only");
  return optional_like(l, name, tensor, l.state);
}

// The same where LSTM can't do without.
TensorView required_cell_state(const Layer& l, const char* name, const DLTensor* tensor) {
  require(tensor != nullptr || l.cell != MK_LSTM, l.op, ": ", name, " is missing");
  return optional_cell_state(l, name, tensor);
}

// Whether rows of `columns` lie one after the other, (n, t) in row n row_n + t row_t.
bool rows_lie(const TensorView& x, int first_axis, bool single, const Layer& l, int64_t columns,
              int64_t row_n, int64_t row_t) {
  const int column_axis = first_axis + (single ? 1 : 2);
  if (x.count == 0) return true;
  return (l.batch == 1 || x.strides[first_axis] == row_n * columns) &&
         (single || l.steps == 1 || x.strides[first_axis + 1] == row_t * columns) &&
         (columns == 1 || x.strides[column_axis] == 1);
}

void expect_rows_as_x(const Layer& l, const TensorView& x, int first_axis, int64_t columns) {
  require(rows_lie(x, first_axis, l.single, l, columns, l.row_n, l.row_t), l.op, ": ", x.name,
          " must be dense in the order of x, got strides ", shape_text(x.rank, x.strides),
          " for shape ", shape_text(x));
}

void find_row_order(Layer& l) {
  l.row_n = l.steps;
  l.row_t = 1;
  if (rows_lie(l.x, 0, l.single, l, l.input, l.row_n, l.row_t)) return;
  l.row_n = 1;
  l.row_t = l.batch;
  require(!l.single && rows_lie(l.x, 0, false, l, l.input, l.row_n, l.row_t), l.op,
          ": x must be dense, contiguous or with the steps varying slowest, got strides ",
          shape_text(l.x.rank, l.x.strides), " for shape ", shape_text(l.x));
}

void check_weights(Layer& l, const mk_recurrent_layer& layer, int d) {
  TensorView &ih = l.weight_ih[d], &hh = l.weight_hh[d];
  ih = view(l.op, by_direction(d, "weight_ih", "weight_ih_reverse"), layer.weight_ih[d]);
  hh = view(l.op, by_direction(d, "weight_hh", "weight_hh_reverse"), layer.weight_hh[d]);
  if (d == 0) {
    expect_rank(l.op, hh, 2);
    l.hidden = hh.shape[1];
    require(l.hidden >= 1, l.op, ": weight_hh has a hidden size of 0: ", shape_text(hh));
  }
  const int64_t rows = checked_mul(l.op, l.gates(), l.hidden);
  expect_dense_like(l, hh, {2, {rows, l.hidden}});
  expect_dense_like(l, ih, {2, {rows, l.input}});
  l.bias_ih[d] = optional_like(l, by_direction(d, "bias_ih", "bias_ih_reverse"), layer.bias_ih[d],
                               {1, {rows}});
  l.bias_hh[d] = optional_like(l, by_direction(d, "bias_hh", "bias_hh_reverse"), layer.bias_hh[d],
                               {1, {rows}});
}

// Fails if the kernels' buffers and products can't be counted in 64 bits.
void check_sizes(const Layer& l) {
  constexpr int64_t kMostPerUnit = 16, kMostItem = 8;
  const int64_t rows = checked_mul(l.op, l.batch, checked_add(l.op, l.steps, 1));
  const int64_t columns = checked_add(l.op, l.input, checked_mul(l.op, l.hidden, kMostPerUnit));
  checked_mul(l.op, checked_mul(l.op, rows, columns), 2 * kMostItem);
  checked_mul(l.op, l.directions, l.hidden);
  const int64_t gates = l.gates() * l.hidden;
  expect_gemm_sizes(l.op, rows, gates, l.input);
  expect_gemm_sizes(l.op, rows, gates, l.hidden);
}

// What the packed weights of this layer say of them.
void check_packed(Layer& l, const mk_recurrent_layer& layer) {
  expect_packed(l.op, layer.packed, layer.packed_bytes, kHeaderBytes<RecurrentHeader>, kPackedMark,
                "mk_recurrent_pack");
  const auto& header = *static_cast<const RecurrentHeader*>(layer.packed);
  expect_packed_by(l.op, header, &kernels_of(header.cell, header.device));
  require(header.cell == l.cell && header.directions == l.directions, l.op,
          ": the weights were packed for another cell, or another number of directions");
  TensorView weights{};
  weights.name = "the packed weights";
  weights.device = header.device;
  expect_same_device(l.op, l.x, weights);
  if (header.dtype != l.x.dtype) {
    fail(MK_INVALID_TYPE, l.op, ": x must be ", name_of(header.dtype), " as the weights are, got ",
         name_of(l.x.dtype));
  }
  require(header.input == l.input, l.op, ": the weights expect x with ", header.input,
          " features, got ", l.input, ": ", shape_text(l.x));
  l.hidden = header.hidden;
  l.packed = &header;
}

// Cell, directions and name of the operation.
Layer begin_layer(const mk_recurrent_layer* layer, bool backward) {
  expect_descriptor("recurrent", layer, layer != nullptr ? layer->struct_size : 0,
                    sizeof(mk_recurrent_layer));
  expect_range("recurrent", "cell", layer->cell, MK_LSTM, MK_RNN_RELU);
  const CellTraits& traits = kCells[layer->cell];
  Layer l{};
  l.single = layer->single_step != 0;
  l.op = l.single ? (backward ? traits.step_backward : traits.step)
                  : (backward ? traits.sequence_backward : traits.sequence);
  l.cell = layer->cell;
  l.directions = layer->directions;
  expect_range(l.op, "directions", l.directions, 1, l.single ? 1 : 2);
  return l;
}

// A layer of which there are only the weights yet, to be packed.
Layer check_weights_alone(const mk_recurrent_layer* layer) {
  Layer l = begin_layer(layer, false);
  // Stands in for x, whose features, dtype and device are the weights'.
  l.x = view(l.op, "weight_ih", layer->weight_ih[0]);
  expect_float(l.op, l.x);
  expect_rank(l.op, l.x, 2);
  l.input = l.x.shape[1];
  l.batch = l.steps = 1;
  for (int d = 0; d < l.directions; ++d) check_weights(l, *layer, d);
  check_sizes(l);
  return l;
}

Layer check_layer(const mk_recurrent_layer* layer, bool backward) {
  Layer l = begin_layer(layer, backward);
  l.x = view(l.op, "x", layer->x);
  expect_float(l.op, l.x);
  expect_rank(l.op, l.x, l.single ? 2 : 3);
  l.batch = l.x.shape[0];
  l.steps = l.single ? 1 : l.x.shape[1];
  l.input = l.x.shape[l.x.rank - 1];
  find_row_order(l);
  require(layer->packed == nullptr || !backward, l.op, ": packed is for the forward pass only");
  if (layer->packed != nullptr) {
    check_packed(l, *layer);
  } else {
    for (int d = 0; d < l.directions; ++d) check_weights(l, *layer, d);
  }
  check_sizes(l);

  const int64_t saved = kCells[l.cell].saved * l.hidden;
  if (l.single) {
    l.y = l.state = {2, {l.batch, l.hidden}};
    l.saved = {2, {l.batch, saved}};
  } else {
    l.y = {3, {l.batch, l.steps, l.directions * l.hidden}};
    l.state = {3, {l.directions, l.batch, l.hidden}};
    l.saved = {4, {l.directions, l.batch, l.steps, saved}};
  }
  l.h0 = optional_like(l, "h0", layer->h0, l.state);
  l.c0 = optional_cell_state(l, "c0", layer->c0);
  require(layer->lengths == nullptr || !l.single, l.op, ": lengths is for sequences only");
  l.lengths = optional_view(l.op, "lengths", layer->lengths);
  if (layer->lengths != nullptr) {
    expect_dtype(l.op, l.lengths, Dtype::i64);
    expect_same_device(l.op, l.lengths, l.x);
    expect_shape(l.op, l.lengths, 1, &l.batch);
    expect_contiguous(l.op, l.lengths);
    expect_indices(l.op, l.lengths, 0, l.steps);
  }
  return l;
}

// The results, of which backward reads only some. Missing ones have rank 0.
struct Results {
  TensorView y, h_n, c_n, saved;
};

void expect_columns(const Layer& l, const TensorView& x) {
  require(x.count == 0 || x.shape[2] == 1 || x.strides[2] == 1, l.op, ": columns of ", x.name,
          " must be contiguous, got strides ", shape_text(x.rank, x.strides));
}

Results check_results(const Layer& l, const mk_recurrent_results* results, bool backward) {
  expect_descriptor(l.op, results, results != nullptr ? results->struct_size : 0,
                    sizeof(mk_recurrent_results));
  Results r{};
  require(results->y == nullptr || !l.single, l.op, ": y is for sequences only");
  r.y = l.single ? optional_view(l.op, "y", nullptr) : view(l.op, "y", results->y);
  if (!l.single) {
    expect_like(l, r.y, l.y);
    expect_columns(l, r.y);
    // Rows apart from each other, in whichever order.
    const int64_t columns = l.y.size[2], n = r.y.strides[0], t = r.y.strides[1];
    const bool apart =
        backward || r.y.count == 0 ||
        ((l.steps == 1 || t >= columns) && (l.batch == 1 || n >= (l.steps - 1) * t + columns)) ||
        ((l.batch == 1 || n >= columns) && (l.steps == 1 || t >= (l.batch - 1) * n + columns));
    require(apart, l.op, ": rows of y overlap, strides ", shape_text(r.y.rank, r.y.strides));
  }
  r.saved =
      backward ? view(l.op, "saved", results->saved) : optional_view(l.op, "saved", results->saved);
  if (results->saved != nullptr) {
    expect_like(l, r.saved, l.saved);
    const int64_t columns = l.saved.size[l.saved.rank - 1];
    const int first = l.single ? 0 : 1;
    expect_rows_as_x(l, r.saved, first, columns);
    require(l.directions == 1 || r.saved.count == 0 ||
                r.saved.strides[0] == l.batch * l.steps * columns,
            l.op, ": saved must be dense, got strides ", shape_text(r.saved.rank, r.saved.strides));
  }
  if (backward) return r;
  r.h_n = view(l.op, "h_n", results->h_n);
  expect_dense_like(l, r.h_n, l.state);
  r.c_n = required_cell_state(l, "c_n", results->c_n);
  return r;
}

struct Gradients {
  TensorView dy, dh_n, dc_n, dx, dh0, dc0;
  TensorView dweight_ih[2], dweight_hh[2], dbias_ih[2], dbias_hh[2];
};

Gradients check_gradients(const Layer& l, const mk_recurrent_gradients* gradients) {
  expect_descriptor(l.op, gradients, gradients != nullptr ? gradients->struct_size : 0,
                    sizeof(mk_recurrent_gradients));
  Gradients g{};
  require(gradients->dy == nullptr || !l.single, l.op, ": dy is for sequences only");
  g.dy = optional_view(l.op, "dy", gradients->dy);
  if (gradients->dy != nullptr) {
    expect_like(l, g.dy, l.y);
    expect_columns(l, g.dy);
  }
  g.dh_n = optional_like(l, "dh_n", gradients->dh_n, l.state);
  g.dc_n = optional_cell_state(l, "dc_n", gradients->dc_n);
  g.dx = optional_view(l.op, "dx", gradients->dx);
  if (gradients->dx != nullptr) {
    expect_like(l, g.dx, {l.x.rank, {l.x.shape[0], l.x.shape[1], l.single ? 0 : l.x.shape[2]}});
    expect_rows_as_x(l, g.dx, 0, l.input);
  }
  g.dh0 = view(l.op, "dh0", gradients->dh0);
  expect_dense_like(l, g.dh0, l.state);
  g.dc0 = required_cell_state(l, "dc0", gradients->dc0);
  const int64_t rows = l.gates() * l.hidden;
  for (int d = 0; d < l.directions; ++d) {
    const auto check = [&](const char* first, const char* second, const DLTensor* tensor,
                           const Shape& shape) {
      return optional_like(l, by_direction(d, first, second), tensor, shape);
    };
    g.dweight_ih[d] =
        check("dweight_ih", "dweight_ih_reverse", gradients->dweight_ih[d], {2, {rows, l.input}});
    g.dweight_hh[d] =
        check("dweight_hh", "dweight_hh_reverse", gradients->dweight_hh[d], {2, {rows, l.hidden}});
    g.dbias_ih[d] = check("dbias_ih", "dbias_ih_reverse", gradients->dbias_ih[d], {1, {rows}});
    g.dbias_hh[d] = check("dbias_hh", "dbias_hh_reverse", gradients->dbias_hh[d], {1, {rows}});
  }
  return g;
}

// At most this many tensors are inputs, or outputs, of a call.
struct ViewList {
  const TensorView* view[24];
  int count = 0;
  void add(const TensorView& x) {
    if (x.data != nullptr) view[count++] = &x;
  }
};

void add_inputs(const Layer& l, ViewList& list) {
  for (const TensorView* x : {&l.x, &l.lengths, &l.h0, &l.c0}) list.add(*x);
  for (int d = 0; d < l.directions && l.packed == nullptr; ++d) {
    for (const auto* pair : {l.weight_ih, l.weight_hh, l.bias_ih, l.bias_hh}) list.add(pair[d]);
  }
}

// No output shares memory with an input or another output.
void expect_disjoint(const char* op, const ViewList& outputs, const ViewList& inputs) {
  for (int i = 0; i < outputs.count; ++i) {
    for (int j = 0; j < inputs.count; ++j) {
      expect_no_overlap(op, *outputs.view[i], *inputs.view[j]);
    }
    for (int j = 0; j < i; ++j) expect_no_overlap(op, *outputs.view[i], *outputs.view[j]);
  }
}

// Direction d of a [D, ...] tensor.
void* slab(const TensorView& x, int d, int64_t count, int64_t item) {
  return x.data != nullptr ? x.as<char>() + d * count * item : nullptr;
}

// Columns d H .. (d + 1) H of an [N, T, D H] tensor.
StepRows columns_of(const TensorView& x, int d, const Layer& l) {
  if (x.data == nullptr) return {};
  return {x.as<char>() + d * l.hidden * l.item(), x.strides[0], x.strides[1]};
}

RecurrentArgs args_of(const Layer& l, int d) {
  const int64_t state = l.batch * l.hidden;
  RecurrentArgs a{};
  a.dtype = l.x.dtype;
  a.reverse = d == 1;
  a.batch = l.batch;
  a.steps = l.steps;
  a.input = l.input;
  a.hidden = l.hidden;
  a.row_n = l.row_n;
  a.row_t = l.row_t;
  a.lengths = l.lengths.as<int64_t>();
  a.x = l.x.data;
  a.h0 = slab(l.h0, d, state, l.item());
  a.c0 = slab(l.c0, d, state, l.item());
  a.weight_ih = l.weight_ih[d].data;
  a.weight_hh = l.weight_hh[d].data;
  a.bias_ih = l.bias_ih[d].data;
  a.bias_hh = l.bias_hh[d].data;
  if (l.packed != nullptr) {
    a.packed = static_cast<const char*>(weights_of(*l.packed)) + d * l.packed->bytes_each;
  }
  return a;
}

void add_results(const Layer& l, const Results& r, int d, RecurrentArgs& a) {
  const int64_t state = l.batch * l.hidden;
  a.y = columns_of(r.y, d, l);
  a.h_n = slab(r.h_n, d, state, l.item());
  a.c_n = slab(r.c_n, d, state, l.item());
  a.saved = slab(r.saved, d, l.batch * l.steps * kCells[l.cell].saved * l.hidden, l.item());
}

void add_gradients(const Layer& l, const Gradients& g, int d, RecurrentArgs& a) {
  const int64_t state = l.batch * l.hidden;
  a.dy = columns_of(g.dy, d, l);
  a.dh_n = slab(g.dh_n, d, state, l.item());
  a.dc_n = slab(g.dc_n, d, state, l.item());
  a.dx = g.dx.data;
  a.accumulate_dx = d > 0;
  a.dh0 = slab(g.dh0, d, state, l.item());
  a.dc0 = slab(g.dc0, d, state, l.item());
  a.dweight_ih = g.dweight_ih[d].data;
  a.dweight_hh = g.dweight_hh[d].data;
  a.dbias_ih = g.dbias_ih[d].data;
  a.dbias_hh = g.dbias_hh[d].data;
}

size_t forward_workspace(const Layer& l) {
  const RecurrentArgs a[2] = {args_of(l, 0), args_of(l, 1)};
  return kernels_of(l.cell, l.x.device).forward_workspace(a, l.directions);
}

size_t backward_workspace(const Layer& l) {
  const RecurrentArgs a[2] = {args_of(l, 0), args_of(l, 1)};
  return kernels_of(l.cell, l.x.device).backward_workspace(a, l.directions);
}

// Bytes of a direction's packed weights.
size_t packed_bytes_each(const Layer& l) {
  return (kernels_of(l.cell, l.x.device).packed_bytes(args_of(l, 0)) + 63) / 64 * 64;
}

void give_bytes(const char* op, size_t* bytes, size_t value) {
  require(bytes != nullptr, op, ": bytes is NULL");
  *bytes = value;
}

void give_shape(const char* op, int64_t* output, const Shape& shape) {
  medkern::give_shape(op, output, shape.rank, shape.size);
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_recurrent_output_shapes(const mk_recurrent_layer* layer, int64_t* y,
                                                int64_t* state, int64_t* saved) {
  return guarded([&] {
    const Layer l = check_layer(layer, false);
    give_shape(l.op, y, l.y);
    give_shape(l.op, state, l.state);
    give_shape(l.op, saved, l.saved);
  });
}

extern "C" mk_status mk_recurrent_packed_bytes(const mk_recurrent_layer* layer, size_t* bytes) {
  return guarded([&] {
    const Layer l = check_weights_alone(layer);
    give_bytes(l.op, bytes, kHeaderBytes<RecurrentHeader> + l.directions * packed_bytes_each(l));
  });
}

extern "C" mk_status mk_recurrent_pack(const mk_recurrent_layer* layer, void* packed,
                                       size_t packed_bytes) {
  return guarded([&] {
    const Layer l = check_weights_alone(layer);
    const size_t each = packed_bytes_each(l);
    const size_t needed = kHeaderBytes<RecurrentHeader> + l.directions * each;
    expect_packing_memory(l.op, packed, packed_bytes, needed);
    const RecurrentKernels& kernels = kernels_of(l.cell, l.x.device);
    auto& header = *static_cast<RecurrentHeader*>(packed);
    header = {{kPackedMark, needed, &kernels},
              l.cell,
              l.directions,
              l.x.dtype,
              l.x.device,
              l.input,
              l.hidden,
              each};
    for (int d = 0; d < l.directions; ++d) {
      kernels.pack(args_of(l, d), static_cast<char*>(weights_of(header)) + d * each);
    }
  });
}

extern "C" mk_status mk_recurrent_forward_workspace(const mk_recurrent_layer* layer,
                                                    const mk_recurrent_results* results,
                                                    size_t* bytes) {
  return guarded([&] {
    const Layer l = check_layer(layer, false);
    check_results(l, results, false);
    give_bytes(l.op, bytes, forward_workspace(l));
  });
}

extern "C" mk_status mk_recurrent_forward(const mk_recurrent_layer* layer,
                                          const mk_recurrent_results* results, void* workspace,
                                          size_t workspace_bytes) {
  return guarded([&] {
    const Layer l = check_layer(layer, false);
    const Results r = check_results(l, results, false);
    ViewList inputs, outputs;
    add_inputs(l, inputs);
    for (const TensorView* x : {&r.y, &r.h_n, &r.c_n, &r.saved}) outputs.add(*x);
    expect_disjoint(l.op, outputs, inputs);
    expect_workspace(l.op, workspace, workspace_bytes, forward_workspace(l));
    if (l.batch == 0) return;
    RecurrentArgs a[2] = {};
    for (int d = 0; d < l.directions; ++d) {
      a[d] = args_of(l, d);
      add_results(l, r, d, a[d]);
      a[d].workspace = workspace;
    }
    kernels_of(l.cell, l.x.device).forward(a, l.directions);
  });
}

extern "C" mk_status mk_recurrent_backward_workspace(const mk_recurrent_layer* layer,
                                                     size_t* bytes) {
  return guarded([&] {
    const Layer l = check_layer(layer, true);
    give_bytes(l.op, bytes, backward_workspace(l));
  });
}

extern "C" mk_status mk_recurrent_backward(const mk_recurrent_layer* layer,
                                           const mk_recurrent_results* results,
                                           const mk_recurrent_gradients* gradients, void* workspace,
                                           size_t workspace_bytes) {
  return guarded([&] {
    const Layer l = check_layer(layer, true);
    const Results r = check_results(l, results, true);
    const Gradients g = check_gradients(l, gradients);
    ViewList inputs, outputs;
    add_inputs(l, inputs);
    for (const TensorView* x : {&r.y, &r.saved, &g.dy, &g.dh_n, &g.dc_n}) inputs.add(*x);
    for (const TensorView* x : {&g.dx, &g.dh0, &g.dc0}) outputs.add(*x);
    for (int d = 0; d < l.directions; ++d) {
      for (const auto* pair : {g.dweight_ih, g.dweight_hh, g.dbias_ih, g.dbias_hh}) {
        outputs.add(pair[d]);
      }
    }
    expect_disjoint(l.op, outputs, inputs);
    expect_workspace(l.op, workspace, workspace_bytes, backward_workspace(l));
    RecurrentArgs a[2] = {};
    for (int d = 0; d < l.directions; ++d) {
      a[d] = args_of(l, d);
      add_results(l, r, d, a[d]);
      add_gradients(l, g, d, a[d]);
      a[d].workspace = workspace;
    }
    kernels_of(l.cell, l.x.device).backward(a, l.directions);
  });
}
