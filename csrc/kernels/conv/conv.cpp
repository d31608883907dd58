// Entry points of convolution: check, then call the table.
#include "kernels/conv/conv.h"

#include <atomic>
#include <initializer_list>

#include "kernels/packed.h"
#include "kernels/table.h"
#include "medkern/conv.h"

namespace medkern {
namespace {

constexpr int64_t kMost = INT32_MAX;

std::atomic<Algorithm> automatic_means{Algorithm::automatic};

Algorithm algorithm_of(const char* op, int32_t algorithm) {
  expect_range(op, "algorithm", algorithm, MK_ALGORITHM_AUTOMATIC, MK_ALGORITHM_COMPACT);
  const Algorithm automatic = automatic_means;
  if (algorithm == MK_ALGORITHM_DIRECT || automatic == Algorithm::direct) return Algorithm::direct;
  return algorithm == MK_ALGORITHM_COMPACT ? Algorithm::compact : automatic;
}

// "conv2d", "conv_transpose3d", ...
const char* name_of(const mk_conv_desc* desc, bool transpose) {
  static constexpr const char* kNames[2][3] = {
      {"conv1d", "conv2d", "conv3d"}, {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}};
  const bool known = desc != nullptr && desc->spatial_rank >= 1 && desc->spatial_rank <= 3;
  return known ? kNames[transpose][desc->spatial_rank - 1] : transpose ? "conv_transpose" : "conv";
}

// Checks the descriptor and a weight's form: [outer, inner, kernel], where groups divide `outer`.
Window conv_window(const char* op, const mk_conv_desc* desc, const TensorView& weight) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof(mk_conv_desc));
  expect_range(op, "spatial_rank", desc->spatial_rank, 1, 3);
  expect_rank(op, weight, desc->spatial_rank + 2);
  expect_contiguous(op, weight);
  const Window window = window_of(op, desc->spatial_rank, weight.shape + 2, desc->stride,
                                  desc->padding, desc->dilation);
  expect_range(op, "groups", desc->groups, 1, kMost);
  require(weight.shape[0] % desc->groups == 0, op, ": groups ", desc->groups, " must divide the ",
          weight.shape[0], " channels of the first axis of ", weight.name, " ", shape_text(weight));
  return window;
}

// The checks every pass makes of an image against the first tensor.
void expect_conv_image(const char* op, const mk_conv_desc* desc, const TensorView& x,
                       const TensorView& first) {
  expect_image(op, x, desc->spatial_rank);
  expect_float_or_half(op, first);
  expect_same_dtype(op, x, first);
  expect_same_device(op, x, first);
  expect_dense(op, x);
}

// Beside images of 16 bits, float32 will do as well.
void expect_dtype_beside(const char* op, const TensorView& x, const TensorView& image) {
  if (!is_half(image.dtype) || x.dtype != Dtype::f32) expect_same_dtype(op, x, image);
}

void expect_channels(const char* op, const mk_conv_desc* desc, const TensorView& x,
                     const TensorView& weight, int64_t expected, const char* kind) {
  require(x.shape[1] == expected, op, ": ", weight.name, " expects ", expected, " ", kind,
          " channels, got ", x.name, " with ", x.shape[1], " (", x.name, " ", shape_text(x), ", ",
          weight.name, " ", shape_text(weight), ", groups ", desc->groups, ")");
}

// (N, channels, spatial...) from sizes in 3-D.
struct ImageShape {
  int64_t shape[5];
  ImageShape(const mk_conv_desc* desc, int64_t n, int64_t channels, const int64_t size[3])
      : shape{n, channels} {
    for (int i = 0; i < desc->spatial_rank; ++i) shape[2 + i] = size[3 - desc->spatial_rank + i];
  }
};

// An image of which only the shape is known yet.
Image shape_only(const mk_conv_desc* desc, int64_t n, int64_t channels, const int64_t size[3]) {
  const ImageShape shape(desc, n, channels, size);
  TensorView x{};
  x.rank = desc->spatial_rank + 2;
  for (int i = 0; i < x.rank; ++i) x.shape[i] = shape.shape[i];
  return image_of(x);
}

// Fails if scratch memory for these can't be counted in 64 bits.
void expect_workspace_sizes(const char* op, const Image& image, const Region& region,
                            const TensorView& weight, const TensorView& other) {
  constexpr int64_t kBytes = 8, kVectors = 32;  // of an element; channels rounded up to them
  int64_t taps = kVectors * kBytes;
  for (int i = 2; i < weight.rank; ++i) taps = checked_mul(op, taps, weight.shape[i]);
  int64_t elements = checked_mul(op, image.n, checked_add(op, image.c, kVectors));
  for (int i = 0; i < 3; ++i) elements = checked_mul(op, elements, region.size[i]);
  checked_mul(op, elements, 2 * kBytes);
  checked_mul(op, checked_add(op, weight.count, other.count), kVectors * kVectors * kBytes);
}

ConvArgs conv_args(const char* op, const mk_conv_desc* desc, const Window& window, bool backward,
                   const TensorView& source, const TensorView& weight, const Image& result) {
  ConvArgs args{};
  args.dtype = source.dtype;
  args.window = window;
  args.backward = backward;
  args.groups = desc->groups;
  args.algorithm = algorithm_of(op, desc->algorithm);
  args.source = image_of(source);
  args.result = result;
  args.region = region_of(args);
  args.weight = weight.data;
  expect_workspace_sizes(op, args.source, args.region, weight, source);
  return args;
}

// Arguments of the forward pass, without result, bias and activation.
ConvArgs forward_args(const char* op, const mk_conv_desc* desc, const TensorView& x,
                      const TensorView& weight) {
  const Window window = conv_window(op, desc, weight);
  expect_conv_image(op, desc, x, x);
  expect_same_dtype(op, weight, x);
  expect_same_device(op, weight, x);
  expect_channels(op, desc, x, weight, checked_mul(op, weight.shape[1], desc->groups), "input");
  int64_t size[3];
  window_output_size(op, window, image_of(x).size, false, size);
  return conv_args(op, desc, window, false, x, weight,
                   shape_only(desc, x.shape[0], weight.shape[0], size));
}

ConvArgs transpose_args(const char* op, const mk_conv_desc* desc, const TensorView& x,
                        const TensorView& weight) {
  const Window window = conv_window(op, desc, weight);
  expect_conv_image(op, desc, x, x);
  expect_same_dtype(op, weight, x);
  expect_same_device(op, weight, x);
  expect_channels(op, desc, x, weight, weight.shape[0], "input");
  const Image image = image_of(x);
  int64_t size[3];
  for (int i = 0; i < 3; ++i) {
    const int j = i - (3 - desc->spatial_rank);
    const int64_t extra = j >= 0 ? desc->output_padding[j] : 0;
    expect_range(op, "output_padding", extra, 0, window.stride[i] - 1);
    require(image.size[i] >= 1, op, ": x must have at least one position along each axis, got ",
            shape_text(x));
    const int64_t steps = checked_mul(op, image.size[i] - 1, window.stride[i]);
    const int64_t extent = window.dilation[i] * (window.kernel[i] - 1) + 1;
    size[i] = checked_add(op, steps, extent + extra - window.pad_before[i] - window.pad_after[i]);
    require(size[i] >= 1, op, ": padding ", window.pad_before[i], " and ", window.pad_after[i],
            " leaves nothing of an output of size ",
            size[i] + window.pad_before[i] + window.pad_after[i]);
  }
  const int64_t channels = checked_mul(op, weight.shape[1], desc->groups);
  return conv_args(op, desc, window, true, x, weight, shape_only(desc, x.shape[0], channels, size));
}

// The shapes of x, dy and weight belong together. `given` says which one the message calls x.
Window backward_window(const char* op, const mk_conv_desc* desc, const TensorView& dy,
                       const TensorView& weight, const TensorView& x) {
  const Window window = conv_window(op, desc, weight);
  expect_conv_image(op, desc, dy, dy);
  expect_conv_image(op, desc, x, dy);
  expect_same_device(op, weight, dy);
  expect_channels(op, desc, dy, weight, weight.shape[0], "output");
  expect_channels(op, desc, x, weight, checked_mul(op, weight.shape[1], desc->groups), "input");
  int64_t size[3];
  window_output_size(op, window, image_of(x).size, false, size);
  const ImageShape shape(desc, x.shape[0], weight.shape[0], size);
  expect_shape(op, dy, desc->spatial_rank + 2, shape.shape);
  return window;
}

ConvArgs backward_input_args(const char* op, const mk_conv_desc* desc, const TensorView& dy,
                             const TensorView& weight, const TensorView& dx) {
  const Window window = backward_window(op, desc, dy, weight, dx);
  expect_same_dtype(op, weight, dy);
  return conv_args(op, desc, window, true, dy, weight, image_of(dx));
}

ConvWeightArgs backward_weight_args(const char* op, const mk_conv_desc* desc, const TensorView& dy,
                                    const TensorView& x, const TensorView& dweight) {
  const Window window = backward_window(op, desc, dy, dweight, x);
  expect_dtype_beside(op, dweight, dy);
  const ConvArgs forward = conv_args(op, desc, window, false, x, dweight, image_of(dy));
  expect_workspace_sizes(op, forward.source, forward.region, dweight, dy);
  ConvWeightArgs args{};
  args.dtype = dy.dtype;
  args.window = window;
  args.groups = desc->groups;
  args.algorithm = forward.algorithm;
  args.x = forward.source;
  args.dy = forward.result;
  args.region = forward.region;
  args.dweight = dweight.data;
  args.dweight_dtype = dweight.dtype;
  return args;
}

void give_bytes(const char* op, size_t* bytes, size_t value) {
  require(bytes != nullptr, op, ": bytes is NULL");
  *bytes = value;
}

void give_image_shape(const char* op, const mk_conv_desc* desc, const ConvArgs& args,
                      int64_t* shape) {
  const ImageShape result(desc, args.result.n, args.result.c, args.result.size);
  give_shape(op, shape, desc->spatial_rank + 2, result.shape);
}

// Chunks of the moments of the result, 0 if they aren't given. One channel is not worth it: to a
// norm it is a run of memory.
int64_t moment_chunks(const char* op, const ConvKernels& kernels, const ConvArgs& args) {
  int64_t pixels = args.result.n;
  for (int i = 0; i < 3; ++i) pixels = checked_mul(op, pixels, args.result.size[i]);
  if (pixels == 0 || args.result.c <= 1 || !kernels.gives_moments(args)) return 0;
  return (pixels - 1) / kMomentRows + 1;
}

void expect_moments(const char* op, const TensorView& moments, const ConvKernels& kernels,
                    const ConvArgs& args, std::initializer_list<const TensorView*> others) {
  const int64_t shape[3] = {moment_chunks(op, kernels, args), 2, args.result.c};
  require(shape[0] > 0, op, ": moments are not given here: ask mk_conv_moment_chunks");
  expect_dtype(op, moments, Dtype::f64);
  expect_shape(op, moments, 3, shape);
  expect_contiguous(op, moments);
  for (const TensorView* other : others) {
    if (other->data == nullptr) continue;
    expect_same_device(op, moments, *other);
    expect_no_overlap(op, moments, *other);
  }
}

// Forward and transposed: checks bias, activation and y, and runs.
void run_forward(const char* op, const mk_conv_desc* desc, ConvArgs& args, const TensorView& x,
                 const TensorView& weight, const DLTensor* bias, int32_t activation,
                 const TensorView& y, const DLTensor* moments, void* workspace,
                 size_t workspace_bytes) {
  const TensorView biasv = optional_view(op, "bias", bias);
  const ImageShape shape(desc, args.result.n, args.result.c, args.result.size);
  args.activation = activation_of(op, activation);
  if (bias != nullptr) {
    expect_dtype_beside(op, biasv, x);
    expect_same_device(op, biasv, x);
    expect_shape(op, biasv, 1, &args.result.c);
    expect_contiguous(op, biasv);
    expect_no_overlap(op, y, biasv);
  }
  expect_same_dtype(op, y, x);
  expect_same_device(op, y, x);
  expect_shape(op, y, desc->spatial_rank + 2, shape.shape);
  expect_image_layout(op, y);
  expect_no_overlap(op, y, x);
  if (weight.data != nullptr) expect_no_overlap(op, y, weight);
  const ConvKernels& kernels = *kernels_for(x.device).conv;
  expect_workspace(op, workspace, workspace_bytes, kernels.workspace(args));
  if (moments != nullptr) {
    const TensorView mv = view(op, "moments", moments);
    expect_moments(op, mv, kernels, args, {&x, &weight, &biasv, &y});
    args.moments = mv.as<double>();
  }
  args.result = image_of(y);
  args.bias = biasv.data;
  args.bias_dtype = biasv.dtype;
  args.workspace = workspace;
  if (y.count > 0) kernels.run(args);
}

// How packed weights came to be.
struct ConvHeader : PackedHeader {
  mk_conv_desc desc;
  bool transposed;
  int form;
  TensorView weight;    // without data
  const void* weights;  // of another header; nullptr if they lie behind this one
};
constexpr uint64_t kPackedMark = 0x6d6b5f7061636b64;  // "mk_packd"

// Arguments for packing: no images yet, only their channels.
ConvArgs pack_args(const char* op, const mk_conv_desc* desc, bool transposed,
                   const TensorView& weight) {
  expect_float_or_half(op, weight);
  ConvArgs args{};
  args.dtype = weight.dtype;
  args.window = conv_window(op, desc, weight);
  args.backward = transposed;
  args.groups = desc->groups;
  args.algorithm = algorithm_of(op, desc->algorithm);
  const int64_t inner = checked_mul(op, weight.shape[1], desc->groups);
  args.source.c = transposed ? weight.shape[0] : inner;
  args.result.c = transposed ? inner : weight.shape[0];
  args.weight = weight.data;
  expect_workspace_sizes(op, args.source, args.region, weight, weight);
  args.form = kernels_for(weight.device).conv->form(args);
  return args;
}

const ConvHeader& packed_header(const char* op, const void* packed, size_t bytes) {
  expect_packed(op, packed, bytes, kHeaderBytes<ConvHeader>, kPackedMark, "mk_conv_pack");
  const auto& header = *static_cast<const ConvHeader*>(packed);
  expect_packed_by(op, header, kernels_for(header.weight.device).conv);
  return header;
}

// Arguments of a forward pass with packed weights, without result, bias and activation.
ConvArgs packed_args(const char* op, const ConvHeader& header, const TensorView& x) {
  ConvArgs args =
      (header.transposed ? transpose_args : forward_args)(op, &header.desc, x, header.weight);
  args.packed = header.weights != nullptr ? header.weights : weights_of(header);
  args.form = header.form;
  return args;
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_conv_set_algorithm(int32_t algorithm) {
  return guarded([&] {
    expect_range("mk_conv_set_algorithm", "algorithm", algorithm, MK_ALGORITHM_AUTOMATIC,
                 MK_ALGORITHM_DIRECT);
    automatic_means = algorithm == MK_ALGORITHM_DIRECT ? Algorithm::direct : Algorithm::automatic;
  });
}

extern "C" int32_t mk_conv_get_algorithm(void) {
  return automatic_means.load() == Algorithm::direct ? MK_ALGORITHM_DIRECT : MK_ALGORITHM_AUTOMATIC;
}

extern "C" mk_status mk_conv_output_shape(const mk_conv_desc* desc, const DLTensor* x,
                                          const DLTensor* weight, int64_t* shape) {
  return guarded([&] {
    const char* op = name_of(desc, false);
    const ConvArgs args = forward_args(op, desc, view(op, "x", x), view(op, "weight", weight));
    give_image_shape(op, desc, args, shape);
  });
}

extern "C" mk_status mk_conv_workspace(const mk_conv_desc* desc, const DLTensor* x,
                                       const DLTensor* weight, size_t* bytes) {
  return guarded([&] {
    const char* op = name_of(desc, false);
    const TensorView xv = view(op, "x", x);
    const ConvArgs args = forward_args(op, desc, xv, view(op, "weight", weight));
    give_bytes(op, bytes, kernels_for(xv.device).conv->workspace(args));
  });
}

extern "C" mk_status mk_conv_forward(const mk_conv_desc* desc, const DLTensor* x,
                                     const DLTensor* weight, const DLTensor* bias,
                                     int32_t activation, DLTensor* y, DLTensor* moments,
                                     void* workspace, size_t workspace_bytes) {
  return guarded([&] {
    const char* op = name_of(desc, false);
    const TensorView xv = view(op, "x", x), wv = view(op, "weight", weight), yv = view(op, "y", y);
    ConvArgs args = forward_args(op, desc, xv, wv);
    run_forward(op, desc, args, xv, wv, bias, activation, yv, moments, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_conv_moment_chunks(const mk_conv_desc* desc, const DLTensor* x,
                                           const DLTensor* weight, int32_t per_sample,
                                           int64_t* chunks) {
  return guarded([&] {
    const char* op = name_of(desc, false);
    const TensorView xv = view(op, "x", x);
    const ConvArgs args = forward_args(op, desc, xv, view(op, "weight", weight));
    require(chunks != nullptr, op, ": chunks is NULL");
    const int64_t* size = args.result.size;
    *chunks = moment_chunks(op, *kernels_for(xv.device).conv, args);
    if (per_sample && size[0] * size[1] * size[2] % kMomentRows != 0) *chunks = 0;
  });
}

extern "C" mk_status mk_conv_transpose_output_shape(const mk_conv_desc* desc, const DLTensor* x,
                                                    const DLTensor* weight, int64_t* shape) {
  return guarded([&] {
    const char* op = name_of(desc, true);
    const ConvArgs args = transpose_args(op, desc, view(op, "x", x), view(op, "weight", weight));
    give_image_shape(op, desc, args, shape);
  });
}

extern "C" mk_status mk_conv_transpose_workspace(const mk_conv_desc* desc, const DLTensor* x,
                                                 const DLTensor* weight, size_t* bytes) {
  return guarded([&] {
    const char* op = name_of(desc, true);
    const TensorView xv = view(op, "x", x);
    const ConvArgs args = transpose_args(op, desc, xv, view(op, "weight", weight));
    give_bytes(op, bytes, kernels_for(xv.device).conv->workspace(args));
  });
}

extern "C" mk_status mk_conv_transpose_forward(const mk_conv_desc* desc, const DLTensor* x,
                                               const DLTensor* weight, const DLTensor* bias,
                                               int32_t activation, DLTensor* y, void* workspace,
                                               size_t workspace_bytes) {
  return guarded([&] {
    const char* op = name_of(desc, true);
    const TensorView xv = view(op, "x", x), wv = view(op, "weight", weight), yv = view(op, "y", y);
    ConvArgs args = transpose_args(op, desc, xv, wv);
    run_forward(op, desc, args, xv, wv, bias, activation, yv, nullptr, workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_conv_backward_input_workspace(const mk_conv_desc* desc, const DLTensor* dy,
                                                      const DLTensor* weight, const DLTensor* dx,
                                                      size_t* bytes) {
  return guarded([&] {
    const char* op = "conv_backward_input";
    const TensorView dyv = view(op, "dy", dy), wv = view(op, "weight", weight);
    const ConvArgs args = backward_input_args(op, desc, dyv, wv, view(op, "dx", dx));
    give_bytes(op, bytes, kernels_for(dyv.device).conv->workspace(args));
  });
}

extern "C" mk_status mk_conv_backward_input(const mk_conv_desc* desc, const DLTensor* dy,
                                            const DLTensor* weight, DLTensor* dx, void* workspace,
                                            size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "conv_backward_input";
    const TensorView dyv = view(op, "dy", dy), wv = view(op, "weight", weight);
    const TensorView dxv = view(op, "dx", dx);
    ConvArgs args = backward_input_args(op, desc, dyv, wv, dxv);
    for (const TensorView* input : {&dyv, &wv}) expect_no_overlap(op, dxv, *input);
    const ConvKernels& kernels = *kernels_for(dyv.device).conv;
    expect_workspace(op, workspace, workspace_bytes, kernels.workspace(args));
    args.workspace = workspace;
    if (dxv.count > 0) kernels.run(args);
  });
}

extern "C" mk_status mk_conv_backward_weight_workspace(const mk_conv_desc* desc, const DLTensor* dy,
                                                       const DLTensor* x, const DLTensor* dweight,
                                                       size_t* bytes) {
  return guarded([&] {
    const char* op = "conv_backward_weight";
    const TensorView dyv = view(op, "dy", dy), xv = view(op, "x", x);
    const ConvWeightArgs args =
        backward_weight_args(op, desc, dyv, xv, view(op, "dweight", dweight));
    give_bytes(op, bytes, kernels_for(dyv.device).conv->backward_weight_workspace(args));
  });
}

extern "C" mk_status mk_conv_backward_weight(const mk_conv_desc* desc, const DLTensor* dy,
                                             const DLTensor* x, DLTensor* dweight, void* workspace,
                                             size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "conv_backward_weight";
    const TensorView dyv = view(op, "dy", dy), xv = view(op, "x", x);
    const TensorView dwv = view(op, "dweight", dweight);
    ConvWeightArgs args = backward_weight_args(op, desc, dyv, xv, dwv);
    for (const TensorView* input : {&dyv, &xv}) expect_no_overlap(op, dwv, *input);
    const ConvKernels& kernels = *kernels_for(dyv.device).conv;
    expect_workspace(op, workspace, workspace_bytes, kernels.backward_weight_workspace(args));
    args.workspace = workspace;
    if (dwv.count > 0) kernels.backward_weight(args);
  });
}

extern "C" mk_status mk_conv_packed_bytes(const mk_conv_desc* desc, int32_t transposed,
                                          const DLTensor* weight, size_t* bytes) {
  return guarded([&] {
    const char* op = name_of(desc, transposed);
    const TensorView wv = view(op, "weight", weight);
    const ConvArgs args = pack_args(op, desc, transposed, wv);
    give_bytes(op, bytes,
               kHeaderBytes<ConvHeader> + kernels_for(wv.device).conv->packed_bytes(args));
  });
}

extern "C" mk_status mk_conv_arranged_bytes(const mk_conv_desc* desc, int32_t transposed,
                                            const DLTensor* weight, size_t* bytes) {
  return guarded([&] {
    const char* op = name_of(desc, transposed);
    const TensorView wv = view(op, "weight", weight);
    const ConvArgs args = pack_args(op, desc, transposed, wv);
    give_bytes(op, bytes, kernels_for(wv.device).conv->arranged_bytes(args));
  });
}

extern "C" mk_status mk_conv_pack(const mk_conv_desc* desc, int32_t transposed,
                                  const DLTensor* weight, void* packed, size_t packed_bytes) {
  return mk_conv_pack_arranged(desc, transposed, weight, nullptr, packed, packed_bytes);
}

extern "C" mk_status mk_conv_pack_arranged(const mk_conv_desc* desc, int32_t transposed,
                                           const DLTensor* weight, DLTensor* arranged, void* packed,
                                           size_t packed_bytes) {
  return guarded([&] {
    const char* op = name_of(desc, transposed);
    const TensorView wv = view(op, "weight", weight);
    ConvArgs args = pack_args(op, desc, transposed, wv);
    const ConvKernels& kernels = *kernels_for(wv.device).conv;
    if (arranged != nullptr) {
      const TensorView av = view(op, "arranged", arranged);
      const auto bytes = static_cast<int64_t>(kernels.arranged_bytes(args));
      expect_dtype(op, av, Dtype::u8);
      expect_same_device(op, av, wv);
      expect_shape(op, av, 1, &bytes);
      expect_contiguous(op, av);
      expect_no_overlap(op, av, wv);
      args.arranged = bytes > 0 ? av.data : nullptr;
    }
    const size_t needed = kHeaderBytes<ConvHeader> + kernels.packed_bytes(args);
    expect_packing_memory(op, packed, packed_bytes, needed);
    auto& header = *static_cast<ConvHeader*>(packed);
    header = {{kPackedMark, needed, &kernels}, *desc, transposed != 0, args.form, wv, nullptr};
    header.weight.data = nullptr;
    kernels.pack(args, weights_of(header));
  });
}

extern "C" mk_status mk_conv_packed_output_shape(const void* packed, size_t packed_bytes,
                                                 const DLTensor* x, int64_t* shape) {
  return guarded([&] {
    const ConvHeader& header = packed_header("conv_plan", packed, packed_bytes);
    const char* op = name_of(&header.desc, header.transposed);
    give_image_shape(op, &header.desc, packed_args(op, header, view(op, "x", x)), shape);
  });
}

extern "C" mk_status mk_conv_packed_workspace(const void* packed, size_t packed_bytes,
                                              const DLTensor* x, size_t* bytes) {
  return guarded([&] {
    const ConvHeader& header = packed_header("conv_plan", packed, packed_bytes);
    const char* op = name_of(&header.desc, header.transposed);
    const TensorView xv = view(op, "x", x);
    const ConvArgs args = packed_args(op, header, xv);
    give_bytes(op, bytes, kernels_for(xv.device).conv->workspace(args));
  });
}

extern "C" mk_status mk_conv_packed_forward(const void* packed, size_t packed_bytes,
                                            const DLTensor* x, const DLTensor* bias,
                                            int32_t activation, DLTensor* y, void* workspace,
                                            size_t workspace_bytes) {
  return guarded([&] {
    const ConvHeader& header = packed_header("conv_plan", packed, packed_bytes);
    const char* op = name_of(&header.desc, header.transposed);
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    ConvArgs args = packed_args(op, header, xv);
    run_forward(op, &header.desc, args, xv, header.weight, bias, activation, yv, nullptr, workspace,
                workspace_bytes);
  });
}

extern "C" mk_status mk_conv_shared_bytes(size_t* bytes) {
  return guarded([&] { give_bytes("conv_plan", bytes, kHeaderBytes<ConvHeader>); });
}

extern "C" mk_status mk_conv_share(const void* packed, size_t packed_bytes,
                                   const int64_t padding[3][2], void* shared, size_t shared_bytes) {
  return guarded([&] {
    const ConvHeader& header = packed_header("conv_plan", packed, packed_bytes);
    const char* op = name_of(&header.desc, header.transposed);
    require(padding != nullptr, op, ": padding is NULL");
    mk_conv_desc desc = header.desc;
    bool steps = header.transposed;
    for (int i = 0; i < desc.spatial_rank; ++i) {
      steps |= desc.stride[i] != 1;
      for (int side = 0; side < 2; ++side) desc.padding[i][side] = padding[i][side];
    }
    require(!steps, op, ": only weights of stride 1, not transposed, serve another padding");
    // What is packed depends on strides and taps then, not on the padding.
    const ConvArgs args = pack_args(op, &desc, false, header.weight);
    require(args.form == header.form, op, ": the weights are packed otherwise for this padding");
    expect_packing_memory(op, shared, shared_bytes, kHeaderBytes<ConvHeader>);
    auto& other = *static_cast<ConvHeader*>(shared);
    other = header;
    other.bytes = shared_bytes;
    other.desc = desc;
    if (other.weights == nullptr) other.weights = weights_of(header);
  });
}
