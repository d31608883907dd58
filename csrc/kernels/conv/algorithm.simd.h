// The ways to compute a convolution (forward, or backward with respect to the input).
//
// conv.simd.cpp holds the list of them, best first, and is the one place that chooses.
#pragma once

#include "kernels/conv/conv.h"

namespace medkern::MK_ISA {

struct ConvAlgorithm {
  // Whether this is the way to compute a convolution of these sizes whose weights are packed for
  // this call only. The last one of the list computes everything.
  bool (*fits)(const ConvArgs&);
  // Whether it is the way to keep weights that are packed once for many calls; `run` then has to
  // compute with them whatever the sizes. Reads the window and the numbers of channels only.
  bool (*keeps)(const ConvArgs&);
  // What packed weights take, 64-byte aligned, and packing them; the same for both uses.
  size_t (*packed_bytes)(const ConvArgs&);
  void (*pack)(const ConvArgs&, void* packed);
  // Scratch memory of `run` besides them.
  size_t (*workspace)(const ConvArgs&);
  // Computes the result from args.packed.
  void (*run)(const ConvArgs&);
};

// One that computes with both types, each by the functions of Of<T>, whatever the images' sizes.
template <template <class> class Of>
constexpr ConvAlgorithm algorithm_of_types(bool (*fits)(const ConvArgs&)) {
  return {
      .fits = fits,
      .keeps = fits,
      .packed_bytes =
          [](const ConvArgs& a) {
            return a.dtype == Dtype::f32 ? Of<float>::packed_bytes(a) : Of<double>::packed_bytes(a);
          },
      .pack =
          [](const ConvArgs& a, void* packed) {
            a.dtype == Dtype::f32 ? Of<float>::pack(a, packed) : Of<double>::pack(a, packed);
          },
      .workspace =
          [](const ConvArgs& a) {
            return a.dtype == Dtype::f32 ? Of<float>::workspace(a) : Of<double>::workspace(a);
          },
      .run =
          [](const ConvArgs& a) { a.dtype == Dtype::f32 ? Of<float>::run(a) : Of<double>::run(a); },
  };
}

extern const ConvAlgorithm columns_algorithm;
extern const ConvAlgorithm depthwise_algorithm;
extern const ConvAlgorithm direct_algorithm;
extern const ConvAlgorithm few_results_algorithm;
extern const ConvAlgorithm winograd_algorithm;
extern const ConvAlgorithm winograd_pairs_algorithm;
extern const ConvAlgorithm winograd_pairs_panels_algorithm;
extern const ConvAlgorithm winograd_panels_algorithm;

}  // namespace medkern::MK_ISA
