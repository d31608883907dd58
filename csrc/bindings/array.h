// Array: what medkern hands to Python. A dense or strided block of memory with shape, type and
// device, which NumPy and every DLPack library can view without a copy.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/device.h"
#include "medkern.h"

namespace medkern::python {

// A few sizes or strides, at most MK_MAX_RANK: ValueError if there are more.
class Shape {
 public:
  using value_type = int64_t;

  Shape() = default;
  explicit Shape(size_t rank) { resize(rank); }
  Shape(std::initializer_list<int64_t> sizes) : Shape(sizes.begin(), sizes.end()) {}
  template <std::input_iterator Iterator>
  Shape(Iterator first, Iterator last) : Shape(static_cast<size_t>(last - first)) {
    std::copy(first, last, begin());
  }

  void resize(size_t rank) {
    if (rank > MK_MAX_RANK) throw_too_long(rank);
    std::fill(sizes_ + std::min(rank, rank_), sizes_ + rank, 0);
    rank_ = rank;
  }
  void push_back(int64_t size) {
    resize(rank_ + 1);
    back() = size;
  }
  void clear() { rank_ = 0; }

  size_t size() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  int64_t* data() { return sizes_; }
  const int64_t* data() const { return sizes_; }
  int64_t* begin() { return sizes_; }
  int64_t* end() { return sizes_ + rank_; }
  const int64_t* begin() const { return sizes_; }
  const int64_t* end() const { return sizes_ + rank_; }
  int64_t& back() { return sizes_[rank_ - 1]; }
  int64_t& operator[](size_t axis) { return sizes_[axis]; }
  const int64_t& operator[](size_t axis) const { return sizes_[axis]; }
  bool operator==(const Shape& other) const { return std::ranges::equal(*this, other); }

 private:
  [[noreturn]] static void throw_too_long(size_t rank);

  size_t rank_ = 0;
  int64_t sizes_[MK_MAX_RANK];
};

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

// Copies of an Array are the same array: one descriptor, which keeps the memory alive.
class Array {
 public:
  // Uninitialised memory of this shape; an outline while outlining.
  static Array empty(const Shape& shape, DLDataType dtype, DLDevice device, Format format);
  // A view of memory that `owner` keeps alive.
  static Array over(std::shared_ptr<void> owner, void* data, DLDataType dtype, DLDevice device,
                    const Shape& shape, const Shape& strides, bool readonly);
  // A view of any object with the buffer protocol, __dlpack__ or __cuda_array_interface__, where it
  // is. TypeError for anything else.
  static Array view(const py::object& object, const char* name);
  // The same, but what other libraries hold on the host is copied to the default device, if that is
  // another.
  static Array from_object(const py::object& object, const char* name);

  // Uninitialised memory of another shape in this array's type, device and memory format.
  Array empty_like(const Shape& shape) const;
  // This array if it is contiguous or channels-last, else a copy in its format().
  Array dense() const;
  // Contiguous, copying only if it is not.
  Array contiguous() const;
  // This array if it is on the device, else a copy there, without gaps.
  Array to(DLDevice device) const;
  // A copy on the device in memory of the same layout, gaps included, so that a kernel finds what
  // it would find here.
  Array transferred(DLDevice device) const;
  // The same for an array on the host that the next kernel writes: it gets the result at once.
  Array mirrored(DLDevice device) const;
  // A copy in this format.
  Array copy(Format format) const;
  // The same memory from element `offset` on with another shape and strides (in elements), which
  // must stay inside it.
  Array with_layout(const Shape& shape, const Shape& strides, int64_t offset = 0) const;

  // Memory of this array, from a byte on, as an array like `outline`.
  Array placed(const Array& outline, int64_t offset) const;

  // The format for results: channels_last where its memory is that and not contiguous, or is a part
  // of such memory.
  Format format() const;
  bool is_contiguous() const;
  bool is_dense() const { return is_contiguous() || is_channels_last(); }
  bool is_channels_last() const;
  // Channels-last, or some of the channels of such an array.
  bool is_channel_slice() const;

  const Shape& shape() const { return block_->shape; }
  const Shape& strides() const { return block_->strides; }
  int rank() const { return block_->tensor.ndim; }
  int64_t count() const;
  size_t bytes() const { return static_cast<size_t>(count()) * (dtype().bits / 8); }
  // From the first element to the end of the last.
  size_t extent_bytes() const;
  DLDataType dtype() const { return block_->tensor.dtype; }
  DLDevice device() const { return block_->tensor.device; }
  void* data() const { return block_->tensor.data; }
  bool readonly() const { return block_->readonly; }
  bool outline() const { return block_->outline; }
  // Fails for an outline.
  void expect_values() const;

  // For the C API, which is about to be called on the current stream; valid while a copy of this
  // Array lives, and the same for all of them.
  DLTensor* dl() const;

  // The array on the host that a mirrored one stands for, or nullptr.
  const Array* mirror() const { return block_->mirror.get(); }
  // On a CUDA device: makes `stream` wait for all work on this array.
  void precede(void* stream) const;

 private:
  struct Block {
    DLTensor tensor{};
    Shape shape, strides;
    std::shared_ptr<void> owner;     // keeps the memory alive
    DeviceMemory* memory = nullptr;  // what the owner is, on a CUDA device
    std::unique_ptr<Array> mirror;
    bool readonly = false, outline = false, touched = false;
    // The memory of a program's slot comes with each run: a part of it knows the slot's block and
    // where in its memory it begins, in bytes.
    bool is_slot = false;
    std::shared_ptr<Block> slot;
    int64_t from_slot = 0;
  };

  explicit Array(std::shared_ptr<Block> block) : block_(std::move(block)) {}

  static Array described(std::shared_ptr<void> owner, void* data, DLDataType dtype, DLDevice device,
                         const Shape& shape, const Shape& strides, bool readonly);
  static Array allocated(const Shape& shape, DLDataType dtype, DLDevice device,
                         const Shape& strides);

  std::shared_ptr<Block> block_;
  friend class Slot;
  friend void write_back();
};

// Gives the arrays on the host what a kernel has just written to those that stand for them.
void write_back();

void bind_array(py::module_& module);

}  // namespace medkern::python

namespace pybind11::detail {

template <>
struct type_caster<medkern::python::Shape> : list_caster<medkern::python::Shape, int64_t> {};

}  // namespace pybind11::detail
