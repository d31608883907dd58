// Python binding of programs: calls of the C API that have been bound to their arguments.
#include <map>

#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

thread_local Program* t_recording = nullptr;

// What the memory of an empty slot points to: aligned, so that it passes for memory, and never
// read.
alignas(64) char g_nowhere[64];

// Of memory that kernels of CUDA devices read in their largest steps: which they take, and how much
// scratch memory they want, was found out with g_nowhere.
constexpr size_t kAlignment = 16;

// Recording in this thread while it lives.
class Recording {
 public:
  explicit Recording(Program* program) : before_(t_recording) { t_recording = program; }
  ~Recording() { t_recording = before_; }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  Program* before_;
};

// A stream on which graphs are made and nothing runs.
void* capture_stream(DLDevice device) {
  static std::map<int32_t, void*> streams;
  void*& stream = streams[device.device_id];
  if (stream == nullptr) check(mk_stream_create(device, &stream));
  return stream;
}

bool operator==(DLDataType a, DLDataType b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

}  // namespace

Program* recording() { return t_recording; }

Slot::Slot(const Array& outline)
    : array_(Array::described(nullptr, g_nowhere, outline.dtype(), outline.device(),
                              outline.shape(), outline.strides(), false)) {
  array_.block_->is_slot = true;
}

bool Slot::fits(const Array& given) const {
  bool fits = !given.outline() && given.dtype() == array_.dtype() &&
              given.shape() == array_.shape() && same_device(given.device(), array_.device());
  for (int i = 0; fits && i < array_.rank(); ++i) {
    fits = array_.shape()[i] <= 1 || given.strides()[i] == array_.strides()[i];
  }
  return fits;
}

Array Slot::suited(const Array& given) const {
  const bool aligned = reinterpret_cast<uintptr_t>(given.data()) % kAlignment == 0;
  return is_cpu(given.device()) || aligned ? given : given.transferred(given.device());
}

void Slot::fill(const Array& given) const {
  if (!fits(given) && array_.count() > 0) {
    throw py::value_error("run: an array has not the type, the layout or the device of its slot");
  }
  array_.block_->tensor.data = given.count() > 0 ? given.dl()->data : given.data();
}

void Slot::clear() const { array_.block_->tensor.data = g_nowhere; }

Array Slot::memory() const {
  return Array::allocated(array_.shape(), array_.dtype(), array_.device(), array_.strides());
}

Program::~Program() {
  if (is_cpu(device_) || !ran_) return;
  mk_stream_synchronize(device_, last_stream_);  // what it works on goes as well
  if (graph_ != nullptr) mk_graph_destroy(device_, graph_);
}

void Program::record(const py::object& function, const py::args& arguments) {
  const Recording scope(this);
  function(*arguments);
}

void Program::add(const py::object& function, const py::args& arguments) {
  native_ = false;
  add_call([function, arguments] {
    py::gil_scoped_acquire locked;
    function(*arguments);
    return MK_OK;
  });
}

Array Program::slot(const Array& outline, bool result) {
  results_.push_back(result);
  return slots_.emplace_back(outline).array();
}

std::shared_ptr<Memory> Program::scratch(size_t bytes) {
  scratch_bytes_ = std::max(scratch_bytes_, bytes);
  return scratch_;
}

void Program::run(std::vector<Array> arrays) {
  if (arrays.size() != slots_.size()) {
    throw py::value_error("run: the program takes " + std::to_string(slots_.size()) +
                          " arrays, got " + std::to_string(arrays.size()));
  }
  // Whatever happens, nothing of the caller's is kept.
  struct Cleared {
    Program& program;
    ~Cleared() {
      for (const Slot& slot : program.slots_) slot.clear();
      if (program.graph_ == nullptr) program.scratch_->release();
    }
  } const cleared{*this};
  if (graph_ == nullptr) {
    if (scratch_bytes_ > 0) scratch_->allocate(scratch_bytes_, device_);
    // The first run is a plain one: it loads the kernels.
    if (!is_cpu(device_) && native_ && ran_) capture();
  }
  for (size_t i = 0; i < arrays.size(); ++i) {
    if (graph_ == nullptr && !results_[i]) arrays[i] = slots_[i].suited(arrays[i]);
    slots_[i].fill(arrays[i]);
  }
  if (!is_cpu(device_)) last_stream_ = current_stream(device_);
  if (graph_ != nullptr) {
    replay(arrays);
  } else {
    call_now([&] { return run_calls(); });
    ran_ = true;
  }
}

mk_status Program::run_calls() const {
  for (const auto& call : calls_) {
    const mk_status status = call();
    if (status != MK_OK) return status;
  }
  return MK_OK;
}

void Program::capture() {
  fixed_.clear();
  for (const Slot& slot : slots_) {
    fixed_.push_back(slot.memory());
    slot.fill(fixed_.back());
  }
  void* const before = current_stream(device_);
  check(mk_stream_set(device_, capture_stream(device_)));
  mk_status status = mk_graph_begin(device_);
  if (status == MK_OK) {
    py::gil_scoped_release released;
    status = run_calls();
    void* graph = nullptr;
    const mk_status end = mk_graph_end(device_, &graph);
    if (status == MK_OK) status = end;
    if (status == MK_OK) {
      graph_ = graph;
    } else if (end == MK_OK) {
      mk_graph_destroy(device_, graph);
    }
  }
  mk_stream_set(device_, before);
  // What a graph can't take runs as it is.
  if (graph_ == nullptr) native_ = false;
}

void Program::replay(const std::vector<Array>& arrays) {
  const auto move = [&](const Array& from, const Array& to) {
    copy_bytes(device_, to.dl()->data, device_, from.dl()->data, from.extent_bytes());
  };
  for (size_t i = 0; i < arrays.size(); ++i) {
    if (!results_[i]) move(arrays[i], fixed_[i]);
  }
  check(mk_graph_launch(device_, graph_));
  for (size_t i = 0; i < arrays.size(); ++i) {
    if (results_[i]) move(fixed_[i], arrays[i]);
  }
}

std::optional<std::vector<Array>> Program::run_plain(const py::list& inputs) {
  if (inputs.size() > slots_.size()) return std::nullopt;
  std::vector<Array> arrays;
  arrays.reserve(slots_.size());
  for (const py::handle input : inputs) {
    if (!py::isinstance<py::array>(input) && !py::isinstance<Array>(input)) return std::nullopt;
    arrays.push_back(Array::from_object(py::reinterpret_borrow<py::object>(input), "input"));
    if (!slots_[arrays.size() - 1].fits(arrays.back())) return std::nullopt;
  }
  while (arrays.size() < slots_.size()) {
    const Array& like = slots_[arrays.size()].array();
    arrays.push_back(Array::empty(like.shape(), like.dtype(), like.device(), like.format()));
  }
  run(arrays);
  arrays.erase(arrays.begin(), arrays.begin() + static_cast<int64_t>(inputs.size()));
  return arrays;
}

void bind_program(py::module_& module) {
  using py::arg;
  py::class_<Program>(module, "Program")
      .def(py::init([](const py::object& device) {
             return std::make_unique<Program>(device_argument(device));
           }),
           arg("device") = py::none())
      .def("record", &Program::record, arg("function"))
      .def("add", &Program::add, arg("function"))
      .def("slot", &Program::slot, arg("outline"), arg("result") = false)
      .def_property_readonly("is_graph", &Program::is_graph)
      .def("run", &Program::run, arg("arrays"))
      .def("run_plain", &Program::run_plain, arg("inputs"));
}

}  // namespace medkern::python
