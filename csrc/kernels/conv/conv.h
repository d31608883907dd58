// Convolution: what the kernels are given once every argument has been checked.
//
// Forward and backward with respect to the input are one computation, a correlation of a source
// image with the weights. Along each axis the positions of the result fall into residue classes;
// those of a class read the source at equal steps and share their window positions ("taps"):
//
//   result[out_first + j out_step] += source[in_first + j in_step + u in_tap_step]
//                                     * weight[tap_first + u tap_step],   j < count, u < taps
//
// Forward:  one class; in_step is the stride.
// Backward: `stride` classes, one for each remainder of the position by the stride, each a
//           convolution of stride 1 over dy with the taps that reach it (maybe none).
#pragma once

#include "core/dtype.h"
#include "kernels/gemm/gemm.h"
#include "kernels/image.h"
#include "kernels/moments.h"

namespace medkern {

struct AxisClass {
  int64_t out_first, out_step, count;
  int64_t in_first, in_step, in_tap_step;
  int64_t tap_first, tap_step, taps;
  int64_t taps_before;  // taps of the classes of smaller remainder
};

// The part of a source that is read, in its own coordinates (which may lie outside it: padding).
struct Region {
  int64_t first[3], size[3];
};

// How the sums are formed: as the kernels find fastest (with large weights that are kept not much
// larger than they come, compact), or directly, term by term.
enum class Algorithm : uint8_t { automatic, compact, direct };

struct ConvArgs {
  Dtype dtype;
  Window window;
  bool backward;  // the source is dy, the result dx
  int64_t groups;
  Algorithm algorithm;
  Image source, result;  // where weights are packed: only the numbers of channels are known
  Region region;         // of source
  const void* weight;    // [output channels][input channels / groups][kernel], contiguous
  const void* packed;    // what pack made of the weights, or nullptr
  int form;              // of packed
  void* arranged;        // where pack may write, on the device of the weights, or nullptr
  const void* bias;      // [result channels] or nullptr
  Activation activation;
  void* workspace;
  Dtype bias_dtype;  // that of the images, or float32 where they are of 16 bits
  double* moments;   // of the result, or nullptr
};

struct ConvWeightArgs {
  Dtype dtype;
  Window window;
  int64_t groups;
  Algorithm algorithm;
  Image x, dy;
  Region region;  // of x
  void* dweight;  // [output channels][input channels / groups][kernel], contiguous
  void* workspace;
  Dtype dweight_dtype;  // that of the images, or float32 where they are of 16 bits
};

// The number of classes along an axis whose result has `size` positions, and class `i` of them.
int64_t axis_classes(const ConvArgs& args, int axis);
AxisClass axis_class(const ConvArgs& args, int axis, int64_t i);

// The class that a tap belongs to.
AxisClass class_of_tap(const ConvArgs& args, int axis, int64_t tap);

// What all classes together read of the source.
Region region_of(const ConvArgs& args);

struct ConvKernels {
  // The form in which weights are packed for many calls. It and what pack writes depend on the
  // weights and the window alone, not on the images.
  int (*form)(const ConvArgs&);
  size_t (*packed_bytes)(const ConvArgs&);
  // Of args.arranged: memory beside `packed`, which lies on the host; 0 if there is no use for it.
  size_t (*arranged_bytes)(const ConvArgs&);
  void (*pack)(const ConvArgs&, void* packed);
  // With or without packed weights.
  size_t (*workspace)(const ConvArgs&);
  void (*run)(const ConvArgs&);
  // Whether run can give the moments of the result as well.
  bool (*gives_moments)(const ConvArgs&);
  size_t (*backward_weight_workspace)(const ConvWeightArgs&);
  void (*backward_weight)(const ConvWeightArgs&);
};

}  // namespace medkern
