// CUDA kernels of convolution, forward and backward with respect to the input: what is brought into
// order before, tiles and splits.
#include "kernels/conv/conv.h"

#include <numeric>

#include "core/status.h"
#include "cuda/launch.h"
#include "kernels/conv/conv_wgmma.h"

namespace medkern::cuda {

size_t conv_backward_weight_workspace(const ConvWeightArgs& args);
void conv_backward_weight(const ConvWeightArgs& args);

namespace {

constexpr int64_t kMostTaps = 31;     // of the three axes, together: a bit each
constexpr int64_t kMostTable = 2048;  // taps in shared memory
constexpr int64_t kTapBytes = 16;
constexpr int64_t kFewChannels = 4;
constexpr int64_t kShortestSplit = 576;

struct TileKind {
  int64_t rows, columns;
  uint32_t threads;
  size_t shared_bytes;
  int64_t together;  // blocks that run on one multiprocessor
  double cost;       // of as many, in those of a small one alone
};
constexpr TileKind kKinds[] = {
    {128, 128, 256, 3 * 256 * 32 * 4, 1, 3.2},
    {128, 64, 128, 3 * 192 * 32 * 4, 2, 3.4},
    {64, 64, 128, 3 * 128 * 32 * 4, 3, 3.0},
};
constexpr TileKind kPlain{64, 64, 256, 2 * 16 * 66 * 8, 4, 4.0};

// [precision][kind]
Kernel tile_kernels[3][3] = {
    {{"conv", "conv_f32_large"}, {"conv", "conv_f32_narrow"}, {"conv", "conv_f32_small"}},
    {{"conv", "conv_tf32_large"}, {"conv", "conv_tf32_narrow"}, {"conv", "conv_tf32_small"}},
    {{"conv", "conv_bf16_large"}, {"conv", "conv_bf16_narrow"}, {"conv", "conv_bf16_small"}},
};
Kernel plain_f32{"conv", "conv_plain_f32"}, plain_f64{"conv", "conv_plain_f64"};
Kernel reduce_f32{"conv", "conv_reduce_f32"};
// [precision][narrow or small]
Kernel few_kernels[3][2] = {
    {{"conv_few", "conv_few_f32_narrow"}, {"conv_few", "conv_few_f32_small"}},
    {{"conv_few", "conv_few_tf32_narrow"}, {"conv_few", "conv_few_tf32_small"}},
    {{"conv_few", "conv_few_bf16_narrow"}, {"conv_few", "conv_few_bf16_small"}},
};
// [float16 or bfloat16][kind]
Kernel half_kernels[2][3] = {{{"conv_half", "conv_half_f16_large"},
                              {"conv_half", "conv_half_f16_narrow"},
                              {"conv_half", "conv_half_f16_small"}},
                             {{"conv_half", "conv_half_bf16_large"},
                              {"conv_half", "conv_half_bf16_narrow"},
                              {"conv_half", "conv_half_bf16_small"}}};
Kernel half_plain[2] = {{"conv_half", "conv_half_f16_plain"},
                        {"conv_half", "conv_half_bf16_plain"}};
Kernel half_reduce[2] = {{"conv_half", "conv_half_f16_reduce"},
                         {"conv_half", "conv_half_bf16_reduce"}};
Kernel half_depthwise[2] = {{"conv_depthwise", "conv_depthwise_f16"},
                            {"conv_depthwise", "conv_depthwise_bf16"}};
Kernel depthwise_vectors{"conv_depthwise", "conv_depthwise_f32_vectors"};
Kernel depthwise_f32{"conv_depthwise", "conv_depthwise_f32"};
Kernel depthwise_f64{"conv_depthwise", "conv_depthwise_f64"};

// What pack leaves behind the header, in host memory: where the weights lie as they came, and as
// kernels take them, with so many channels of a group; nullptr if they are arranged for every call.
struct PackedWeights {
  const void *weight, *arranged;
  int64_t padded;
};

// Most taps of a class along an axis.
int64_t most_taps(const ConvArgs& a, int axis) {
  const Window& w = a.window;
  if (!a.backward) return w.kernel[axis];
  return divide_up(w.kernel[axis], w.stride[axis] / std::gcd(w.stride[axis], w.dilation[axis]));
}

// One image has less than 2^31 elements, or memory between its ends.
bool image_fits(const Image& image) {
  Image one = image;
  one.n = 1;
  return fits_32_bits(one);
}

// Packed weights as the kernels take them, if with `padded` channels. Images too large for tiles
// want them without padding: then they are arranged once more.
const void* kept_weights(const ConvArgs& a, int64_t padded) {
  if (a.packed == nullptr) return nullptr;
  const auto& packed = *static_cast<const PackedWeights*>(a.packed);
  return packed.padded == padded ? packed.arranged : nullptr;
}

struct Plan {
  bool depthwise;            // one source channel for each result channel
  bool few;                  // channels, which are not padded then
  bool fast, arrange;        // by tensor cores; the source has to be arranged
  bool warpgroups;           // of compute capability 9.0 (conv_wgmma.cuda.cpp)
  int64_t channels, padded;  // of a group
  int64_t columns, taps, splits;
  const void* kept;  // weights, or nullptr: they are arranged at the beginning of the workspace
  size_t source_at, partial_at, bytes;
};

Plan plan_of(const ConvArgs& a) {
  Plan p{};
  p.channels = a.source.c / a.groups;
  p.columns = a.result.c / a.groups;
  p.taps = taps_of(a.window);
  int64_t sum = 0, product = 1, classes = 1, pixels = 1;
  for (int i = 0; i < 3; ++i) {
    sum += most_taps(a, i);
    product *= most_taps(a, i);
    classes *= axis_classes(a, i);
    pixels *= a.result.size[i];
  }
  const int64_t vector = vector_of(a.dtype);
  const bool half = is_half(a.dtype);
  const Image arranged = arranged_image(a.source, a.groups, vector, nullptr);
  p.arrange = !has_vectors(a.source, a.groups, vector);
  p.depthwise = p.channels == 1 && (!a.backward || p.columns == 1) && a.groups > 1;
  p.few = !p.depthwise && a.dtype == Dtype::f32 && p.channels <= kFewChannels && sum <= kMostTaps &&
          product * p.channels <= kMostTable && image_fits(a.source);
  p.fast = !p.depthwise && !p.few && (half || a.dtype == Dtype::f32) && sum <= kMostTaps &&
           product <= kMostTable && image_fits(p.arrange ? arranged : a.source);
  p.arrange &= p.fast;
  p.padded = p.fast ? padded_channels(p.channels, vector) : p.channels;
  p.warpgroups = p.fast && takes_warpgroups(a);
  p.splits = p.warpgroups ? warpgroup_splits(a) : 1;
  if (p.fast && !p.warpgroups && classes == 1) {
    // By the size of one image: a sample has the same bits alone and in a batch.
    const int64_t tiles = divide_up(pixels, 64) * divide_up(p.columns, 64) * a.groups;
    p.splits = std::max<int64_t>(std::min(kSplitProcessors / std::max<int64_t>(tiles, 1),
                                          product * p.padded / kShortestSplit),
                                 1);
  }
  Scratch scratch;
  p.kept = kept_weights(a, p.padded);
  if (p.kept == nullptr) scratch.take(a.groups * p.columns * p.taps * p.padded, a.dtype);
  p.source_at = scratch.take(p.arrange ? pixels_of(arranged) * arranged.c : 0, a.dtype);
  p.partial_at =
      scratch.take(p.splits > 1 ? p.splits * a.result.n * pixels * a.result.c : 0, Dtype::f32);
  p.bytes = scratch.bytes;
  return p;
}

// As many images at a time as lie within 2^31 elements of each other.
int64_t images_together(const ConvArgs& a, const Plan& plan, const Image& source) {
  if (!(plan.fast || plan.few) || source.stride_n <= 0) return a.result.n;
  return std::clamp<int64_t>(INT32_MAX / source.stride_n, 1, std::max<int64_t>(a.result.n, 1));
}

// Tiles give them, of whole sums; images that are not taken together must begin with a chunk.
bool gives_moments(const ConvArgs& a) {
  const Plan plan = plan_of(a);
  if (!plan.fast || plan.splits > 1 || a.backward) return false;
  if (plan.warpgroups) return warpgroups_give_moments(a);
  const Image& y = a.result;
  const Image source =
      plan.arrange ? arranged_image(a.source, a.groups, vector_of(a.dtype), nullptr) : a.source;
  return y.size[0] * y.size[1] * y.size[2] % kMomentRows == 0 ||
         images_together(a, plan, source) == y.n;
}

int32_t narrow(int64_t value) {
  require(value >= -(int64_t{1} << 30) && value <= INT32_MAX,
          "conv: CUDA kernels take positions and steps of less than 2^31, got ", value);
  return static_cast<int32_t>(value);
}

const TileKind& choose(int64_t pixels, int64_t columns, int64_t times, bool few) {
  const TileKind* best = nullptr;
  double least = 0;
  for (const TileKind& kind : kKinds) {
    if (few && &kind == &kKinds[0]) continue;
    const int64_t blocks = divide_up(pixels, kind.rows) * divide_up(columns, kind.columns) * times;
    const double cost = divide_up(blocks, multiprocessors() * kind.together) * kind.cost;
    if (best == nullptr || cost < least) {
      best = &kind;
      least = cost;
    }
  }
  return *best;
}

// Starts the classes that p.axis holds.
void launch_classes(const ConvArgs& a, const Plan& plan, const ConvKernelArgs& p) {
  int64_t pixels = p.images, classes = 1, taps = 1;
  for (int axis = 0; axis < 3; ++axis) {
    int64_t count = 0, most = 0;
    for (int i = 0; i < p.classes[axis]; ++i) {
      count = std::max<int64_t>(count, p.axis[axis][i].count);
      most = std::max<int64_t>(most, p.axis[axis][i].taps);
    }
    pixels *= count;
    taps *= most;
    classes *= p.classes[axis];
  }
  if (plan.depthwise) {
    const bool vectors = a.dtype == Dtype::f32 && plan.columns == 1 &&
                         has_vectors(a.source, 1, 4) && has_vectors(a.result, 1, 4);
    Kernel& kernel = vectors                 ? depthwise_vectors
                     : is_half(a.dtype)      ? half_depthwise[half_number(a.dtype)]
                     : a.dtype == Dtype::f32 ? depthwise_f32
                                             : depthwise_f64;
    const int64_t threads = divide_up(pixels, 2) * a.result.c / (vectors ? 4 : 1);
    launch(kernel, {blocks_for(threads, 256), 1, static_cast<uint32_t>(classes)}, 256, 0, p);
    return;
  }
  const int64_t times = plan.splits * a.groups;
  const bool tiles = plan.fast || plan.few;
  const TileKind& kind = tiles ? choose(pixels, plan.columns, times * classes, plan.few) : kPlain;
  const auto number = &kind - kKinds;
  Kernel& kernel = plan.few                ? few_kernels[matmul_precision()][number - 1]
                   : is_half(a.dtype)      ? (plan.fast ? half_kernels[half_number(a.dtype)][number]
                                                        : half_plain[half_number(a.dtype)])
                   : plan.fast             ? tile_kernels[matmul_precision()][number]
                   : a.dtype == Dtype::f32 ? plain_f32
                                           : plain_f64;
  if (plan.few) taps = divide_up(taps * plan.channels, slice_of(a.dtype)) * slice_of(a.dtype);
  const Grid grid{
      static_cast<uint32_t>(divide_up(pixels, kind.rows) * divide_up(plan.columns, kind.columns)),
      static_cast<uint32_t>(times), static_cast<uint32_t>(classes)};
  launch(kernel, grid, kind.threads, kind.shared_bytes + (tiles ? taps * kTapBytes : 0), p);
}

// All classes, as many at a time as the arguments hold.
void launch_all(const ConvArgs& a, const Plan& plan, ConvKernelArgs& p) {
  int64_t first[3], count[3];
  for (int i = 0; i < 3; ++i) count[i] = axis_classes(a, i);
  const auto fill = [&](int axis) {
    p.classes[axis] =
        static_cast<int32_t>(std::min<int64_t>(count[axis] - first[axis], kMostClasses));
    for (int i = 0; i < p.classes[axis]; ++i) {
      p.axis[axis][i] = device_class(axis_class(a, axis, first[axis] + i));
    }
  };
  for (first[0] = 0; first[0] < count[0]; first[0] += kMostClasses) {
    fill(0);
    for (first[1] = 0; first[1] < count[1]; first[1] += kMostClasses) {
      fill(1);
      for (first[2] = 0; first[2] < count[2]; first[2] += kMostClasses) {
        fill(2);
        launch_classes(a, plan, p);
      }
    }
  }
}

void reduce(const ConvArgs& a, const Plan& plan, const ConvKernelArgs& p) {
  ConvReduceArgs r{};
  r.partial = p.partial;
  r.result = p.result;
  r.bias = p.bias;
  r.splits = static_cast<int32_t>(plan.splits);
  r.channels = static_cast<int32_t>(a.result.c);
  r.relu = p.relu;
  r.half_bias = p.half_bias;
  int64_t pixels = p.images;
  for (int i = 0; i < 3; ++i) {
    r.size[i] = divider_of(a.result.size[i]);
    pixels *= a.result.size[i];
  }
  r.pixels = static_cast<int32_t>(pixels);
  Kernel& kernel = is_half(a.dtype) ? half_reduce[half_number(a.dtype)] : reduce_f32;
  launch(kernel, {blocks_for(pixels * a.result.c, 256)}, 256, 0, r);
}

int form(const ConvArgs&) { return 0; }

void arrange(const ConvArgs& a, const Plan& plan, const void* weight, void* arranged) {
  if (plan.depthwise) {  // [tap][result channel]
    arrange_weights(a.dtype, weight, false, 1, 1, a.result.c, a.result.c, plan.taps, arranged);
  } else {
    arrange_weights(a.dtype, weight, a.backward, a.groups, plan.columns, plan.channels, plan.padded,
                    plan.taps, arranged);
  }
}

size_t packed_bytes(const ConvArgs&) { return sizeof(PackedWeights); }

size_t arranged_bytes(const ConvArgs& a) {
  const Plan p = plan_of(a);
  return a.groups * p.columns * p.taps * p.padded * size_of(a.dtype);
}

void pack(const ConvArgs& a, void* packed) {
  const Plan plan = plan_of(a);
  if (a.arranged != nullptr) arrange(a, plan, a.weight, a.arranged);
  const bool enough = a.arranged != nullptr && plan.padded == plan.channels;
  *static_cast<PackedWeights*>(packed) = {enough ? nullptr : a.weight, a.arranged, plan.padded};
}

size_t workspace(const ConvArgs& a) { return plan_of(a).bytes; }

void run(const ConvArgs& a) {
  const Image& y = a.result;
  expect_conv_sizes("conv", a.source);
  expect_conv_sizes("conv", y);
  const Plan plan = plan_of(a);
  require(plan.depthwise || plan.splits * a.groups <= UINT16_MAX,
          "conv: CUDA kernels take up to 65535 groups, got ", a.groups);
  char* scratch = static_cast<char*>(a.workspace);
  const void* weight =
      a.packed != nullptr ? static_cast<const PackedWeights*>(a.packed)->weight : a.weight;
  const void* weights = plan.kept;
  if (weights == nullptr) {
    arrange(a, plan, weight, scratch);
    weights = scratch;
  }
  Image source = a.source;
  if (plan.arrange) {
    arrange_image(a.dtype, source, a.groups, scratch + plan.source_at);
    source = arranged_image(source, a.groups, vector_of(a.dtype), scratch + plan.source_at);
  }

  ConvKernelArgs p{};
  p.source = device_image(source);
  p.result = device_image(y);
  p.weights = weights;
  p.bias = a.bias;
  p.partial = plan.splits > 1 ? scratch + plan.partial_at : nullptr;
  p.groups = static_cast<int32_t>(a.groups);
  p.channels = static_cast<int32_t>(plan.padded);
  p.columns = static_cast<int32_t>(plan.columns);
  for (int i = 0; i < 3; ++i) p.kernel[i] = static_cast<int32_t>(a.window.kernel[i]);
  const int64_t k = plan.taps * plan.padded;  // of the only class, if there are splits
  const int64_t slice = slice_of(a.dtype);
  p.split_k =
      plan.splits > 1 ? narrow(divide_up(divide_up(k, plan.splits), slice) * slice) : INT32_MAX;
  p.relu = a.activation == Activation::relu;
  p.half_bias = is_half(a.bias_dtype);
  p.channel_counts = divider_of(plan.padded);

  if (plan.warpgroups) {
    run_warpgroups(a, source, weights, p.partial);
    p.images = static_cast<int32_t>(y.n);
    if (p.partial != nullptr) reduce(a, plan, p);
    return;
  }

  const int64_t item = static_cast<int64_t>(size_of(a.dtype));
  const int64_t together = images_together(a, plan, source);
  const int64_t pixels = y.size[0] * y.size[1] * y.size[2];
  for (int64_t first = 0; first < y.n; first += together) {
    p.images = static_cast<int32_t>(std::min(together, y.n - first));
    p.source.data = static_cast<char*>(source.data) + first * source.stride_n * item;
    p.result.data = static_cast<char*>(y.data) + first * y.stride_n * item;
    if (a.moments != nullptr) p.moments = a.moments + first * pixels / kMomentRows * 2 * y.c;
    launch_all(a, plan, p);
    if (p.partial != nullptr) reduce(a, plan, p);
  }
}

}  // namespace

ConvAxisClass device_class(const AxisClass& c) {
  narrow(c.in_first + (c.count - 1) * c.in_step);
  return {narrow(c.out_first), narrow(c.out_step),    narrow(c.count),     narrow(c.in_first),
          narrow(c.in_step),   narrow(c.in_tap_step), narrow(c.tap_first), narrow(c.tap_step),
          narrow(c.taps),      divider_of(c.count),   divider_of(c.taps)};
}

extern const ConvKernels conv_kernels;
constinit const ConvKernels conv_kernels = {
    .form = form,
    .packed_bytes = packed_bytes,
    .arranged_bytes = arranged_bytes,
    .pack = pack,
    .workspace = workspace,
    .run = run,
    .gives_moments = gives_moments,
    .backward_weight_workspace = conv_backward_weight_workspace,
    .backward_weight = conv_backward_weight,
};

}  // namespace medkern::cuda
