// Calls of the C API: run at once, or recorded in a Program that runs them many times.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "bindings/array.h"

namespace medkern::python {

// A block of a device's caching allocator, used on the stream that is current when it comes and
// when it goes.
class Memory {
 public:
  Memory() = default;
  Memory(size_t bytes, DLDevice device) { allocate(bytes, device); }
  ~Memory() { release(); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void allocate(size_t bytes, DLDevice device) {
    check(mk_device_alloc(device, bytes, &data_));
    device_ = device;
    bytes_ = bytes;
  }
  void release() {
    if (data_ != nullptr) mk_device_free(device_, data_);
    data_ = nullptr;
  }
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  DLDevice device_ = kCpu;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// An array whose memory comes with each run of a program.
class Slot {
 public:
  explicit Slot(const Array& outline);
  const Array& array() const { return array_; }
  // Whether `given` has the type, the layout and the device of the slot.
  bool fits(const Array& given) const;
  // `given`, or a copy where kernels that were chosen for aligned memory could not read it.
  Array suited(const Array& given) const;
  // Fails unless it fits.
  void fill(const Array& given) const;
  void clear() const;
  // New memory for it.
  Array memory() const;

 private:
  Array array_;
};

// Calls that have been bound to their arguments, run one after the other. What a binding makes of
// its arguments is made once; the C API checks them in every run. On a CUDA device the second run
// makes a graph of them, on memory of its own, and from then on a run is a copy of what comes, one
// launch, and a copy of what goes.
class Program {
 public:
  explicit Program(DLDevice device) : device_(device) {}
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Calls function(*arguments), a binding, to record what it calls of the C API.
  void record(const py::object& function, const py::args& arguments);
  // Adds a call of any Python function.
  void add(const py::object& function, const py::args& arguments);
  // An array like `outline`, in place of which each run is given one: to be read, or, as a result,
  // to be written.
  Array slot(const Array& outline, bool result);
  // Runs all calls with these arrays in the slots, in the order in which those were made.
  void run(std::vector<Array> arrays);
  // The same with `inputs` in the first slots and new arrays in the others, which are the result.
  // None, and nothing is run, unless every input is an array (NumPy's or one's own) that fits.
  std::optional<std::vector<Array>> run_plain(const py::list& inputs);
  // Whether runs are launches of a graph by now.
  bool is_graph() const { return graph_ != nullptr; }

  void add_call(std::function<mk_status()> call) { calls_.push_back(std::move(call)); }
  // Scratch memory that all calls share; it is there during a run.
  std::shared_ptr<Memory> scratch(size_t bytes);

 private:
  mk_status run_calls() const;
  void capture();
  void replay(const std::vector<Array>& arrays);

  DLDevice device_;
  std::vector<std::function<mk_status()>> calls_;
  std::vector<Slot> slots_;
  std::vector<bool> results_;  // for each slot, whether it is one
  std::shared_ptr<Memory> scratch_ = std::make_shared<Memory>();
  size_t scratch_bytes_ = 0;
  bool native_ = true;  // no calls of Python functions
  bool ran_ = false;
  void* graph_ = nullptr;
  std::vector<Array> fixed_;     // what the graph has in the slots
  void* last_stream_ = nullptr;  // of its last launch
};

// The program that this thread records, or nullptr.
Program* recording();

// Scratch memory for the length of a call.
class Workspace {
 public:
  Workspace(size_t bytes, const Array& like) : bytes_(bytes) {
    if (bytes == 0 || outlining()) return;
    memory_ = recording() != nullptr ? recording()->scratch(bytes)
                                     : std::make_shared<Memory>(bytes, like.device());
  }
  void* data() const { return memory_ != nullptr ? memory_->data() : nullptr; }
  size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Memory> memory_;
  size_t bytes_;
};

// What the C API takes for an argument: a tensor for an array, memory and its size for a workspace,
// a pointer for a descriptor, numbers as they are.
inline auto c_arguments(const Array& array) { return std::tuple(array.dl()); }
inline auto c_arguments(const std::optional<Array>& array) {
  return std::tuple(array ? array->dl() : nullptr);
}
inline auto c_arguments(const std::optional<int64_t>& number) {
  return std::tuple(number ? &*number : nullptr);
}
inline auto c_arguments(const Workspace& workspace) {
  return std::tuple(workspace.data(), workspace.bytes());
}
inline auto c_arguments(const std::shared_ptr<Memory>& memory) {
  return std::tuple(memory->data(), memory->bytes());
}
template <class T>
auto c_arguments(const T& value) {
  static_assert(!std::is_pointer_v<T>, "what it points to may be gone when it is run");
  if constexpr (std::is_class_v<T>) {
    return std::tuple(&value);
  } else {
    return std::tuple(value);
  }
}

template <class Function, class... Arguments>
mk_status invoke(Function function, const Arguments&... arguments) {
  return std::apply(function, std::tuple_cat(c_arguments(arguments)...));
}

// Runs `body`, a call of the C API, without the interpreter lock and raises if it fails.
template <class Body>
void unlocked(Body&& body) {
  mk_status status;
  {
    py::gil_scoped_release released;
    status = body();
  }
  check(status);
}

// The same for a kernel: nothing is run while outlining, and it can't be recorded.
template <class Body>
void call_now(Body&& body) {
  if (outlining()) return;
  if (recording() != nullptr) throw std::logic_error("this call can't be recorded");
  unlocked(body);
  write_back();
}

// The same for a function of the C API, given with its arguments, which can be recorded.
template <class Function, class... Arguments>
void call(Function function, const Arguments&... arguments) {
  if (recording() != nullptr && !outlining()) {
    recording()->add_call([function, arguments...] { return invoke(function, arguments...); });
  } else {
    call_now([&] { return invoke(function, arguments...); });
  }
}

}  // namespace medkern::python
