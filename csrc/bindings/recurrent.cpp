// Python bindings of recurrent layers.
#include "medkern/recurrent.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/exchange.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

int32_t cell_argument(const std::string& cell) {
  const char* names[4] = {"lstm", "gru", "rnn_tanh", "rnn_relu"};
  for (int32_t i = 0; i < 4; ++i) {
    if (cell == names[i]) return i;
  }
  throw py::value_error("cell must be 'lstm', 'gru', 'rnn_tanh' or 'rnn_relu', got '" + cell + "'");
}

// [..., N, T, C] with N and T exchanged.
Shape exchanged(Shape shape) {
  const size_t rank = shape.size();
  if (rank >= 3) std::swap(shape[rank - 3], shape[rank - 2]);
  return shape;
}

Array exchanged(const Array& x) {
  return x.with_layout(exchanged(x.shape()), exchanged(x.strides()));
}

std::optional<Array> contiguous_argument(const py::object& object, const char* name) {
  if (object.is_none()) return std::nullopt;
  return Array::from_object(object, name).contiguous();
}

// The arguments that both passes share, as a C struct and what it points to.
class LayerArguments {
 public:
  LayerArguments(int32_t cell, bool single_step) {
    layer.struct_size = sizeof layer;
    layer.cell = cell;
    layer.single_step = single_step;
  }
  LayerArguments(const LayerArguments&) = delete;
  LayerArguments& operator=(const LayerArguments&) = delete;

  void set_weights(const py::sequence& weights) {
    if (weights.size() < 1 || weights.size() > 2) {
      throw py::value_error("weights must hold 1 or 2 directions, got " +
                            std::to_string(weights.size()));
    }
    layer.directions = static_cast<int32_t>(weights.size());
    for (int d = 0; d < layer.directions; ++d) add_weights(d, weights[d]);
  }

  void set_packed(const std::shared_ptr<Memory>& packed, int32_t directions) {
    layer.directions = directions;
    layer.packed = packed->data();
    layer.packed_bytes = packed->bytes();
    packed_ = packed;
  }

  // After the weights, or what stands for them.
  void set_inputs(const py::object& x, const py::object& h0, const py::object& c0,
                  const py::object& lengths) {
    x_ = x_argument(x);
    layer.x = x_->dl();
    layer.h0 = keep(h0, "h0");
    layer.c0 = keep(c0, "c0");
    lengths_ = contiguous_argument(lengths, "lengths");
    // Their values are checked, and an outline has none, nor has a slot of a program yet.
    if (!outlining() && recording() == nullptr) layer.lengths = dl(lengths_);
  }
  bool has_lengths() const { return lengths_.has_value(); }

  // What follows from the shapes of the inputs: what the C API says of them.
  struct Sizes {
    Shape y = Shape(3), state = Shape(3), saved = Shape(4);
    std::optional<size_t> workspace;  // of the forward pass, once it was asked for
  };
  void find_sizes() {
    Sizes& s = sizes_;
    check(mk_recurrent_output_shapes(&layer, s.y.data(), s.state.data(), s.saved.data()));
  }
  void set_sizes(const Sizes& sizes) { sizes_ = sizes; }
  const Sizes& sizes() const { return sizes_; }
  size_t forward_workspace(const mk_recurrent_results& results) {
    if (!sizes_.workspace) {
      size_t bytes = 0;
      check(mk_recurrent_forward_workspace(&layer, &results, &bytes));
      sizes_.workspace = bytes;
    }
    return *sizes_.workspace;
  }

  mk_recurrent_layer layer{};

  // Copies of the weights, in the form that set_weights takes.
  py::list copied_weights() const {
    py::list directions;
    const size_t each = arrays_.size() / layer.directions;
    for (size_t first = 0; first < arrays_.size(); first += each) {
      py::list direction;
      for (size_t i = 0; i < each; ++i) {
        direction.append(arrays_[first + i].copy(Format::contiguous));
      }
      directions.append(direction);
    }
    return directions;
  }
  // That of the weights.
  DLDevice device() const { return arrays_.front().device(); }

  // Before each call of the C API: the memory may have changed that slots of a program stand for.
  void refresh() {
    x_->dl();
    for (const Array& array : arrays_) array.dl();
    layer.lengths = dl(lengths_);
  }

  const Array& x() const { return *x_; }
  bool is_lstm() const { return layer.cell == MK_LSTM; }
  Shape y_shape() const { return sizes_.y; }
  Shape state_shape() const { return single(sizes_.state, 2); }
  Shape saved_shape() const { return single(sizes_.saved, 2); }

  Array empty(const Shape& shape) const {
    return Array::empty(shape, x().dtype(), x().device(), Format::contiguous);
  }
  // New memory for [..., N, T, C] in the order of x.
  Array empty_in_order(const Shape& shape) const {
    return time_major_ ? exchanged(empty(exchanged(shape))) : empty(shape);
  }

 private:
  Shape single(const Shape& shape, size_t rank) const {
    return layer.single_step != 0 ? Shape(shape.begin(), shape.begin() + rank) : shape;
  }

  // Batch-major or time-major memory as it is, anything else copied once.
  Array x_argument(const py::object& object) {
    const Array x = Array::from_object(object, "x");
    time_major_ = x.rank() == 3 && !x.is_contiguous() && exchanged(x).is_contiguous();
    return time_major_ ? x : x.contiguous();
  }

  const DLTensor* keep(Array array) { return arrays_.emplace_back(std::move(array)).dl(); }
  const DLTensor* keep(const py::object& object, const char* name) {
    return object.is_none() ? nullptr : keep(Array::from_object(object, name).contiguous());
  }

  void add_weights(int d, const py::object& object) {
    if (!py::isinstance<py::sequence>(object) || (py::len(object) != 2 && py::len(object) != 4)) {
      throw py::type_error(
          "weights of a direction must be (weight_ih, weight_hh) or (weight_ih, weight_hh, "
          "bias_ih, "
          "bias_hh), got " +
          py::repr(object).cast<std::string>());
    }
    const auto items = py::reinterpret_borrow<py::sequence>(object);
    layer.weight_ih[d] = keep(items[0], "weight_ih");
    layer.weight_hh[d] = keep(items[1], "weight_hh");
    if (items.size() == 2) return;
    layer.bias_ih[d] = keep(items[2], "bias_ih");
    layer.bias_hh[d] = keep(items[3], "bias_hh");
  }

  std::optional<Array> x_, lengths_;
  std::vector<Array> arrays_;
  std::shared_ptr<Memory> packed_;
  bool time_major_ = false;
  Sizes sizes_;
};

// An [N, T, C] argument whose columns are contiguous.
std::optional<Array> rows_argument(const py::object& object, const char* name) {
  if (object.is_none()) return std::nullopt;
  const Array x = Array::from_object(object, name);
  return x.rank() == 3 && x.strides()[2] == 1 ? x : x.contiguous();
}

py::object cast_optional(const std::optional<Array>& array) {
  return array ? py::cast(*array) : py::none();
}

// What a forward pass gives, where it does.
struct Outcome {
  std::optional<Array> y, h_n, c_n, saved;
};

mk_recurrent_results results_of(const Outcome& o) {
  return {sizeof(mk_recurrent_results), dl(o.y), dl(o.h_n), dl(o.c_n), dl(o.saved)};
}

mk_status forward_now(LayerArguments& l, const Outcome& o, const Workspace& workspace) {
  l.refresh();
  const mk_recurrent_results results = results_of(o);
  return mk_recurrent_forward(&l.layer, &results, workspace.data(), workspace.bytes());
}

// `kept` as well where a program is recorded.
Outcome run_forward(const std::shared_ptr<LayerArguments>& kept, bool save, const py::object& out) {
  LayerArguments& l = *kept;
  const bool single_step = l.layer.single_step != 0;
  Outcome o;
  if (!single_step) {
    o.y = out.is_none() ? l.empty_in_order(l.y_shape()) : output_argument(out, l.x(), l.y_shape());
  }
  o.h_n = single_step && !out.is_none() ? output_argument(out, l.x(), l.state_shape())
                                        : l.empty(l.state_shape());
  if (l.is_lstm()) o.c_n = l.empty(l.state_shape());
  if (save) o.saved = l.empty_in_order(l.saved_shape());
  const size_t bytes = l.forward_workspace(results_of(o));
  const Workspace workspace(bytes, l.x());
  if (recording() != nullptr && !outlining()) {
    recording()->add_call([kept, o, workspace] { return forward_now(*kept, o, workspace); });
  } else {
    call_now([&] { return forward_now(*kept, o, workspace); });
  }
  return o;
}

// (y, h_n, c_n, saved), None where there is none.
py::tuple all_of(const Outcome& o) {
  return py::make_tuple(cast_optional(o.y), cast_optional(o.h_n), cast_optional(o.c_n),
                        cast_optional(o.saved));
}

py::tuple recurrent_forward(const std::string& cell, bool single_step, const py::object& x,
                            const py::sequence& weights, const py::object& h0, const py::object& c0,
                            const py::object& lengths, bool save, const py::object& out) {
  const auto l = std::make_shared<LayerArguments>(cell_argument(cell), single_step);
  l->set_weights(weights);
  l->set_inputs(x, h0, c0, lengths);
  l->find_sizes();
  return all_of(run_forward(l, save, out));
}

// Weights of a layer, or of a single step, packed for many forward passes. Kernels of CUDA devices
// take weights as they are: there it keeps copies.
class RecurrentPlan {
 public:
  RecurrentPlan(const std::string& cell, bool single_step, const py::sequence& weights)
      : cell_(cell_argument(cell)), single_step_(single_step) {
    LayerArguments l(cell_, single_step);
    l.set_weights(weights);
    directions_ = l.layer.directions;
    size_t bytes = 0;
    check(mk_recurrent_packed_bytes(&l.layer, &bytes));
    if (!is_cpu(l.device())) {
      weights_ = l.copied_weights();
      return;
    }
    packed_ = std::make_shared<Memory>(bytes, kCpu);
    call_now([&] { return mk_recurrent_pack(&l.layer, packed_->data(), bytes); });
  }

  py::tuple run(const py::object& x, const py::object& h0, const py::object& c0,
                const py::object& lengths, const py::object& out) const {
    return all_of(forward(x, h0, c0, lengths, out));
  }

  // (h_n, c_n) of a single step, as NumPy's arrays where x is one.
  py::tuple step(const py::object& x, const py::object& h0, const py::object& c0,
                 const py::object& out) const {
    const Outcome o = forward(x, h0, c0, py::none(), out);
    return py::make_tuple(numpy_if(x, *o.h_n), o.c_n ? numpy_if(x, *o.c_n) : py::none());
  }

  size_t bytes() const {
    if (packed_ != nullptr) return packed_->bytes();
    size_t bytes = 0;
    for (const auto& direction : weights_) {
      for (const auto& weight : direction) bytes += weight.cast<const Array&>().bytes();
    }
    return bytes;
  }

 private:
  Outcome forward(const py::object& x, const py::object& h0, const py::object& c0,
                  const py::object& lengths, const py::object& out) const {
    const auto l = std::make_shared<LayerArguments>(cell_, single_step_);
    if (packed_ == nullptr) {
      l->set_weights(weights_);
    } else {
      l->set_packed(packed_, directions_);
    }
    l->set_inputs(x, h0, c0, lengths);
    // To ask again for what a call of these sizes needs would take as long as a small step. What is
    // passed is checked in every call.
    const bool known = packed_ != nullptr && !outlining() && last_x_ == l->x().shape() &&
                       last_has_lengths_ == l->has_lengths();
    if (known) {
      l->set_sizes(last_);
    } else {
      l->find_sizes();
    }
    Outcome o = run_forward(l, false, out);
    if (!known && !outlining()) {
      last_x_ = l->x().shape();
      last_has_lengths_ = l->has_lengths();
      last_ = l->sizes();
    }
    return o;
  }

  int32_t cell_;
  bool single_step_;
  int32_t directions_;
  py::list weights_;
  std::shared_ptr<Memory> packed_;
  // Of the last call.
  mutable Shape last_x_;
  mutable bool last_has_lengths_ = false;
  mutable LayerArguments::Sizes last_;
};

// (dx, dh0, dc0, [(dweight_ih, dweight_hh, dbias_ih, dbias_hh) per direction]), None where there is
// none or it is not wanted.
py::tuple recurrent_backward(const std::string& cell, bool single_step, const py::object& dy_object,
                             const py::object& dh_n_object, const py::object& dc_n_object,
                             const py::object& x, const py::sequence& weights, const py::object& h0,
                             const py::object& c0, const py::object& lengths,
                             const py::object& y_object, const py::object& saved_object,
                             bool input_gradient, bool weight_gradients) {
  LayerArguments l(cell_argument(cell), single_step);
  l.set_weights(weights);
  l.set_inputs(x, h0, c0, lengths);
  l.find_sizes();
  const auto dy = rows_argument(dy_object, "dy"), y = rows_argument(y_object, "y");
  const auto dh_n = contiguous_argument(dh_n_object, "dh_n");
  const auto dc_n = contiguous_argument(dc_n_object, "dc_n");
  const Array saved = Array::from_object(saved_object, "saved");
  const mk_recurrent_results results{sizeof results, dl(y), nullptr, nullptr, saved.dl()};

  std::optional<Array> dx, dc0;
  if (input_gradient) dx = l.empty_in_order(l.x().shape());
  const Array dh0 = l.empty(l.state_shape());
  if (l.is_lstm()) dc0 = l.empty(l.state_shape());
  mk_recurrent_gradients g{};
  g.struct_size = sizeof g;
  g.dy = dl(dy);
  g.dh_n = dl(dh_n);
  g.dc_n = dl(dc_n);
  g.dx = dl(dx);
  g.dh0 = dh0.dl();
  g.dc0 = dl(dc0);
  std::vector<Array> arrays;
  py::list parameters;
  for (int d = 0; weight_gradients && d < l.layer.directions; ++d) {
    py::list each;
    const auto wanted = [&](const DLTensor* like) -> DLTensor* {
      if (like == nullptr) {
        each.append(py::none());
        return nullptr;
      }
      arrays.push_back(l.empty(Shape(like->shape, like->shape + like->ndim)));
      each.append(arrays.back());
      return arrays.back().dl();
    };
    g.dweight_ih[d] = wanted(l.layer.weight_ih[d]);
    g.dweight_hh[d] = wanted(l.layer.weight_hh[d]);
    g.dbias_ih[d] = wanted(l.layer.bias_ih[d]);
    g.dbias_hh[d] = wanted(l.layer.bias_hh[d]);
    parameters.append(py::tuple(each));
  }
  size_t bytes = 0;
  check(mk_recurrent_backward_workspace(&l.layer, &bytes));
  const Workspace workspace(bytes, l.x());
  call_now([&] { return mk_recurrent_backward(&l.layer, &results, &g, workspace.data(), bytes); });
  return py::make_tuple(cast_optional(dx), dh0, cast_optional(dc0), parameters);
}

}  // namespace

void bind_recurrent(py::module_& module) {
  using py::arg;
  module.def("recurrent_forward", recurrent_forward, arg("cell"), arg("single_step"), arg("x"),
             arg("weights"), arg("h0"), arg("c0"), arg("lengths"), arg("save"), arg("out"));
  py::class_<RecurrentPlan>(module, "RecurrentPlan")
      .def(py::init<const std::string&, bool, const py::sequence&>(), arg("cell"),
           arg("single_step"), arg("weights"))
      .def("run", &RecurrentPlan::run, arg("x"), arg("h0"), arg("c0"), arg("lengths"), arg("out"))
      .def("step", &RecurrentPlan::step, arg("x"), arg("h0"), arg("c0"), arg("out"))
      .def_property_readonly("nbytes", &RecurrentPlan::bytes);
  module.def("recurrent_backward", recurrent_backward, arg("cell"), arg("single_step"), arg("dy"),
             arg("dh_n"), arg("dc_n"), arg("x"), arg("weights"), arg("h0"), arg("c0"),
             arg("lengths"), arg("y"), arg("saved"), arg("input_gradient"),
             arg("weight_gradients"));
}

}  // namespace medkern::python
