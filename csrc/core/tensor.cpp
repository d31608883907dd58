#include "core/tensor.h"

namespace medkern {
namespace {

constexpr int64_t kMostBytes = INT64_MAX;

// "float16", "uint32", ...; types NumPy has no name for by their DLPack code.
std::string dtype_text(DLDataType type) {
  const char* kind = type.code == kDLFloat    ? "float"
                     : type.code == kDLBfloat ? "bfloat"
                     : type.code == kDLInt    ? "int"
                     : type.code == kDLUInt   ? "uint"
                                              : nullptr;
  std::string text = kind != nullptr ? kind + std::to_string(type.bits)
                                     : "DLPack type code " + std::to_string(type.code) + " of " +
                                           std::to_string(type.bits) + " bits";
  if (type.lanes != 1) text += " with " + std::to_string(type.lanes) + " lanes";
  return text;
}

Dtype dtype_of(const char* op, const char* name, DLDataType type) {
  if (type.lanes == 1) {
    if (type.code == kDLFloat && type.bits == 32) return Dtype::f32;
    if (type.code == kDLFloat && type.bits == 64) return Dtype::f64;
    if (type.code == kDLFloat && type.bits == 16) return Dtype::f16;
    if (type.code == kDLBfloat && type.bits == 16) return Dtype::bf16;
    if (type.code == kDLInt && type.bits == 32) return Dtype::i32;
    if (type.code == kDLInt && type.bits == 64) return Dtype::i64;
    if (type.code == kDLUInt && type.bits == 8) return Dtype::u8;
    if (type.code == kDLBool && type.bits == 8) return Dtype::u8;
  }
  fail(MK_INVALID_TYPE, op, ": ", name,
       " must be float32, float64, float16, bfloat16, int32, int64 or uint8, got ",
       dtype_text(type));
}

// Bytes from the first element to one past the last.
int64_t extent_bytes(const TensorView& x) {
  if (x.count == 0) return 0;
  int64_t last = 0;
  for (int i = 0; i < x.rank; ++i) last += (x.shape[i] - 1) * x.strides[i];
  return (last + 1) * static_cast<int64_t>(size_of(x.dtype));
}

}  // namespace

const char* name_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return "float32";
    case Dtype::f64:
      return "float64";
    case Dtype::i32:
      return "int32";
    case Dtype::i64:
      return "int64";
    case Dtype::u8:
      return "uint8";
    case Dtype::f16:
      return "float16";
    case Dtype::bf16:
      return "bfloat16";
  }
  return "unknown";
}

TensorView view(const char* op, const char* name, const DLTensor* tensor) {
  require(tensor != nullptr, op, ": ", name, " is missing");
  TensorView x{};
  x.name = name;
  x.device = tensor->device;
  x.rank = tensor->ndim;
  require(x.rank >= 0 && x.rank <= MK_MAX_RANK, op, ": ", name, " must have at most ", MK_MAX_RANK,
          " dimensions, got ", x.rank);
  require(x.rank == 0 || tensor->shape != nullptr, op, ": ", name, " has no shape");
  x.dtype = dtype_of(op, name, tensor->dtype);

  x.count = 1;
  for (int i = 0; i < x.rank; ++i) {
    x.shape[i] = tensor->shape[i];
    require(x.shape[i] >= 0, op, ": ", name,
            " has a negative size: ", shape_text(x.rank, tensor->shape));
    x.count = checked_mul(op, x.count, x.shape[i]);
  }
  int64_t dense = 1, last = 0;
  for (int i = x.rank - 1; i >= 0; --i) {
    x.strides[i] = tensor->strides != nullptr ? tensor->strides[i] : dense;
    require(x.strides[i] >= 0 || x.shape[i] <= 1, op, ": ", name,
            " has a negative stride: ", x.strides[i], " in dimension ", i);
    if (x.strides[i] < 0) x.strides[i] = 0;  // of a size of 0 or 1: never used
    if (x.count > 0) {
      dense = checked_mul(op, dense, x.shape[i]);
      if (x.shape[i] > 1) {
        last = checked_add(op, last, checked_mul(op, x.shape[i] - 1, x.strides[i]));
      }
    }
  }
  const int64_t item = static_cast<int64_t>(size_of(x.dtype));
  if (x.count > 0) {
    if (last >= kMostBytes / item) {
      fail(MK_OUT_OF_MEMORY, op, ": ", name,
           " spans more bytes than 64 bits can count: ", shape_text(x));
    }
    require(tensor->data != nullptr, op, ": ", name, " has no memory: data is NULL");
  }
  x.data = static_cast<char*>(tensor->data) + (tensor->data != nullptr ? tensor->byte_offset : 0);
  require(x.count == 0 || reinterpret_cast<uintptr_t>(x.data) % item == 0, op, ": ", name,
          " is not aligned to its element size of ", item, " bytes");
  return x;
}

TensorView optional_view(const char* op, const char* name, const DLTensor* tensor) {
  if (tensor != nullptr) return view(op, name, tensor);
  TensorView x{};
  x.name = name;
  return x;
}

std::ostream& operator<<(std::ostream& out, const ShapeText& text) {
  out << '(';
  for (int i = 0; i < text.rank; ++i) out << (i > 0 ? ", " : "") << text.shape[i];
  return out << (text.rank == 1 ? ",)" : ")");
}

void expect_rank(const char* op, const TensorView& x, int rank) {
  require(x.rank == rank, op, ": ", x.name, " must have ", rank, " dimensions, got ", x.rank, ": ",
          shape_text(x));
}

void expect_shape(const char* op, const TensorView& x, int rank, const int64_t* shape) {
  bool same = x.rank == rank;
  for (int i = 0; same && i < rank; ++i) same = x.shape[i] == shape[i];
  require(same, op, ": ", x.name, " must have shape ", shape_text(rank, shape), ", got ",
          shape_text(x));
}

void expect_same_shape(const char* op, const TensorView& x, const TensorView& like) {
  expect_shape(op, x, like.rank, like.shape);
}

void expect_float(const char* op, const TensorView& x) {
  if (x.dtype != Dtype::f32 && x.dtype != Dtype::f64) {
    fail(MK_INVALID_TYPE, op, ": ", x.name, " must be float32 or float64, got ", name_of(x.dtype));
  }
}

void expect_float_or_half(const char* op, const TensorView& x) {
  const bool half = is_half(x.dtype);
  if (!half || x.device.device_type != kDLCUDA) expect_float(op, x);
}

void expect_float_or_bfloat(const char* op, const TensorView& x) {
  if (x.device.device_type != kDLCUDA) return expect_float(op, x);
  if (x.dtype != Dtype::f32 && x.dtype != Dtype::f64 && x.dtype != Dtype::bf16) {
    fail(MK_INVALID_TYPE, op, ": ", x.name, " must be float32, float64 or bfloat16, got ",
         name_of(x.dtype));
  }
}

void expect_wide(const char* op, const TensorView& x) {
  if (is_half(x.dtype)) {
    fail(MK_INVALID_TYPE, op, ": ", x.name,
         " must be float32, float64, int32, int64 or uint8, got ", name_of(x.dtype));
  }
}

void expect_dtype(const char* op, const TensorView& x, Dtype dtype) {
  if (x.dtype != dtype) {
    fail(MK_INVALID_TYPE, op, ": ", x.name, " must be ", name_of(dtype), ", got ",
         name_of(x.dtype));
  }
}

void expect_same_dtype(const char* op, const TensorView& x, const TensorView& like) {
  if (x.dtype != like.dtype) {
    fail(MK_INVALID_TYPE, op, ": ", x.name, " must be ", name_of(like.dtype), " as ", like.name,
         " is, got ", name_of(x.dtype));
  }
}

void expect_same_device(const char* op, const TensorView& x, const TensorView& like) {
  if (x.device.device_type != like.device.device_type ||
      x.device.device_id != like.device.device_id) {
    fail(MK_DEVICE_ERROR, op, ": ", x.name, " and ", like.name, " must be on the same device");
  }
}

void expect_contiguous(const char* op, const TensorView& x) {
  require(is_contiguous(x), op, ": ", x.name, " must be contiguous, got strides ",
          shape_text(x.rank, x.strides), " for shape ", shape_text(x));
}

void expect_dense(const char* op, const TensorView& x) {
  require(is_contiguous(x) || is_channels_last(x), op, ": ", x.name,
          " must be contiguous or channels-last, got strides ", shape_text(x.rank, x.strides),
          " for shape ", shape_text(x));
}

void expect_image_layout(const char* op, const TensorView& x) {
  require(is_contiguous(x) || is_channel_slice(x), op, ": ", x.name,
          " must be contiguous, channels-last or channels of a channels-last image, got strides ",
          shape_text(x.rank, x.strides), " for shape ", shape_text(x));
}

void expect_same_layout(const char* op, const TensorView& x, const TensorView& like) {
  bool same = true;
  for (int i = 0; i < x.rank; ++i) same &= x.shape[i] <= 1 || x.strides[i] == like.strides[i];
  require(same || x.count == 0, op, ": ", x.name, " must have the memory layout of ", like.name,
          ": strides ", shape_text(like.rank, like.strides), ", got ",
          shape_text(x.rank, x.strides));
}

void expect_no_overlap(const char* op, const TensorView& output, const TensorView& input) {
  const int64_t output_bytes = extent_bytes(output), input_bytes = extent_bytes(input);
  if (output_bytes == 0 || input_bytes == 0) return;
  const auto a = reinterpret_cast<uintptr_t>(output.data);
  const auto b = reinterpret_cast<uintptr_t>(input.data);
  require(a + output_bytes <= b || b + input_bytes <= a, op, ": ", output.name,
          " must not share memory with ", input.name);
}

void expect_same_or_no_overlap(const char* op, const TensorView& output, const TensorView& input) {
  bool same = output.data == input.data && output.rank == input.rank && output.dtype == input.dtype;
  for (int i = 0; same && i < output.rank; ++i) {
    same = output.shape[i] == input.shape[i] &&
           (output.shape[i] == 1 || output.strides[i] == input.strides[i]);
  }
  if (!same) expect_no_overlap(op, output, input);
}

void expect_distinct(const char* op, const TensorView& output) {
  if (output.count == 0) return;
  // From the smallest stride up each one must step over all that is below it.
  bool placed[MK_MAX_RANK] = {};
  int64_t reach = 0;  // offset of the last element so far
  for (int round = 0; round < output.rank; ++round) {
    int next = -1;
    for (int i = 0; i < output.rank; ++i) {
      if (!placed[i] && (next < 0 || output.strides[i] < output.strides[next])) next = i;
    }
    placed[next] = true;
    if (output.shape[next] == 1) continue;
    require(output.strides[next] > reach, op, ": elements of ", output.name,
            " share memory: strides ", shape_text(output.rank, output.strides), " for shape ",
            shape_text(output));
    reach += (output.shape[next] - 1) * output.strides[next];
  }
}

void expect_range(const char* op, const char* name, int64_t value, int64_t low, int64_t high) {
  require(value >= low && value <= high, op, ": ", name, " must be ",
          high == INT64_MAX ? "at least " : "from ", low,
          high == INT64_MAX ? "" : " to " + std::to_string(high), ", got ", value);
}

void expect_descriptor(const char* op, const void* desc, size_t struct_size, size_t bytes) {
  require(desc != nullptr, op, ": desc is NULL");
  require(struct_size >= bytes, op, ": desc.struct_size must be at least ", bytes, ", got ",
          struct_size);
}

void expect_workspace(const char* op, const void* workspace, size_t bytes, size_t needed) {
  require(bytes >= needed && (workspace != nullptr || needed == 0), op, ": workspace needs ",
          needed, " bytes, got ", workspace != nullptr ? bytes : 0);
  require(reinterpret_cast<uintptr_t>(workspace) % 64 == 0, op,
          ": workspace must be aligned to 64 bytes");
}

bool is_contiguous(const TensorView& x) {
  if (x.count == 0) return true;
  int64_t dense = 1;
  for (int i = x.rank - 1; i >= 0; --i) {
    if (x.shape[i] != 1 && x.strides[i] != dense) return false;
    dense *= x.shape[i];
  }
  return true;
}

namespace {

// Whether pixels of `pixel` elements follow each other without gaps, channels fastest.
bool has_pixels(const TensorView& x, int64_t pixel) {
  if (x.count == 0) return true;
  if (x.shape[1] != 1 && x.strides[1] != 1) return false;
  int64_t dense = pixel;
  for (int i = x.rank - 1; i >= 2; --i) {
    if (x.shape[i] != 1 && x.strides[i] != dense) return false;
    dense *= x.shape[i];
  }
  return x.shape[0] == 1 || x.strides[0] == dense;
}

}  // namespace

bool is_channels_last(const TensorView& x) { return x.rank >= 3 && has_pixels(x, x.shape[1]); }

bool is_channel_slice(const TensorView& x) {
  if (x.rank < 3) return false;
  int64_t pixel = x.shape[1];
  for (int i = 0; i < x.rank; ++i) {
    if (i != 1 && x.shape[i] > 1) pixel = x.strides[i];  // in the end that of the innermost one
  }
  return pixel >= x.shape[1] && has_pixels(x, pixel);
}

int64_t checked_mul(const char* op, int64_t a, int64_t b) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product)) {
    fail(MK_OUT_OF_MEMORY, op, ": a size overflows 64 bits: ", a, " * ", b);
  }
  return product;
}

int64_t checked_add(const char* op, int64_t a, int64_t b) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) {
    fail(MK_OUT_OF_MEMORY, op, ": a size overflows 64 bits: ", a, " + ", b);
  }
  return sum;
}

void give_shape(const char* op, int64_t* output, int rank, const int64_t* shape) {
  require(output != nullptr || rank == 0, op, ": shape is NULL");
  for (int i = 0; i < rank; ++i) output[i] = shape[i];
}

}  // namespace medkern
