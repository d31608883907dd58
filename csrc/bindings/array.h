// Array: what medkern hands to Python. A dense or strided block of memory with shape, type and
// device, which NumPy and every DLPack library can view without a copy.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "medkern.h"

namespace medkern::python {

namespace py = pybind11;

using Shape = std::vector<int64_t>;

// Raises the Python exception that belongs to a status.
void check(mk_status status);

[[noreturn]] void throw_device_error(const std::string& message);

// Whether this thread outlines: new arrays are outlines, which have a shape, a type and strides but
// no values and take no memory, and kernels don't run. So a network can be followed from call to
// call without computing it.
bool outlining();

enum class Format { contiguous, channels_last };

// The strides, in elements, of an array without gaps.
Shape dense_strides(const Shape& shape, Format format);

class Array {
 public:
  // Uninitialised memory of this shape; an outline while outlining.
  static Array empty(const Shape& shape, DLDataType dtype, DLDevice device, Format format);
  // A view of memory that `owner` keeps alive.
  static Array over(std::shared_ptr<void> owner, void* data, DLDataType dtype, DLDevice device,
                    Shape shape, Shape strides, bool readonly);
  // A view of any object with the buffer protocol or __dlpack__. TypeError for anything else.
  static Array from_object(const py::object& object, const char* name);

  // Uninitialised memory of another shape in this array's type, device and memory format.
  Array empty_like(const Shape& shape) const;
  // This array if it is contiguous or channels-last, else a copy in its format().
  Array dense() const;
  // Contiguous, copying only if it is not.
  Array contiguous() const;
  // A copy in this format.
  Array copy(Format format) const;
  // The same memory from element `offset` on with another shape and strides (in elements), which
  // must stay inside it.
  Array with_layout(Shape shape, Shape strides, int64_t offset = 0) const;

  // The format for results: channels_last where its memory is that and not contiguous, or is a part
  // of such memory.
  Format format() const;
  bool is_contiguous() const;
  bool is_dense() const { return is_contiguous() || is_channels_last(); }
  bool is_channels_last() const;
  // Channels-last, or some of the channels of such an array.
  bool is_channel_slice() const;

  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  int64_t count() const;
  DLDataType dtype() const { return tensor_.dtype; }
  DLDevice device() const { return tensor_.device; }
  void* data() const { return tensor_.data; }
  bool readonly() const { return readonly_; }
  bool outline() const { return outline_; }
  // Fails for an outline.
  void expect_values() const;
  py::dtype numpy_dtype() const;

  // For the C API; valid while this Array lives.
  DLTensor* dl() const;

 private:
  Array() = default;

  std::shared_ptr<void> owner_;  // keeps the memory alive
  Shape shape_, strides_;
  bool readonly_ = false, outline_ = false;
  mutable DLTensor tensor_{};
};

// Scratch memory for the length of a call.
class Workspace {
 public:
  explicit Workspace(size_t bytes) : bytes_(bytes) {
    if (bytes > 0 && !outlining()) check(mk_alloc(bytes, &memory_));
  }
  ~Workspace() { mk_free(memory_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return memory_; }
  size_t bytes() const { return bytes_; }

 private:
  void* memory_ = nullptr;
  size_t bytes_;
};

// Runs a C API call without the interpreter lock and raises if it fails. Does nothing while
// outlining.
template <class Call>
void call(Call&& body) {
  if (outlining()) return;
  mk_status status;
  {
    py::gil_scoped_release released;
    status = body();
  }
  check(status);
}

void bind_array(py::module_& module);

}  // namespace medkern::python
