// Convolution on the CPU: the choice of the algorithm.
#include "kernels/conv/conv.h"
#include "kernels/conv/algorithm.simd.h"

namespace medkern::MK_ISA {

size_t conv_backward_weight_workspace(const ConvWeightArgs& args);
void conv_backward_weight(const ConvWeightArgs& args);

namespace {

// The first that fits is taken.
constexpr const ConvAlgorithm* kAlgorithms[] = {
    &few_results_algorithm, &winograd_pairs_algorithm,  &winograd_pairs_panels_algorithm,
    &winograd_algorithm,    &winograd_panels_algorithm, &columns_algorithm,
    &depthwise_algorithm,   &direct_algorithm,
};

int algorithm_for_call(const ConvArgs& a) {
  int i = 0;
  while (!kAlgorithms[i]->fits(a)) ++i;
  return i;
}

int form(const ConvArgs& a) {
  int i = 0;
  while (!kAlgorithms[i]->keeps(a)) ++i;
  return i;
}

size_t packed_bytes(const ConvArgs& a) { return kAlgorithms[a.form]->packed_bytes(a); }

size_t arranged_bytes(const ConvArgs&) { return 0; }

void pack(const ConvArgs& a, void* packed) { kAlgorithms[a.form]->pack(a, packed); }

// Scratch memory begins with the packed weights, where they are not given.
size_t packed_scratch(const ConvArgs& a, const ConvAlgorithm& algorithm) {
  return a.packed != nullptr ? 0 : (algorithm.packed_bytes(a) + 63) / 64 * 64;
}

size_t workspace(const ConvArgs& a) {
  const ConvAlgorithm& algorithm =
      *kAlgorithms[a.packed != nullptr ? a.form : algorithm_for_call(a)];
  return packed_scratch(a, algorithm) + algorithm.workspace(a);
}

void run(const ConvArgs& args) {
  const Image& y = args.result;
  if (y.n * y.c * y.size[0] * y.size[1] * y.size[2] == 0) return;
  ConvArgs a = args;
  if (a.packed == nullptr) {
    a.form = algorithm_for_call(a);
    const size_t bytes = packed_scratch(a, *kAlgorithms[a.form]);
    pack(a, a.workspace);
    a.packed = a.workspace;
    a.workspace = static_cast<char*>(a.workspace) + bytes;
  }
  kAlgorithms[a.form]->run(a);
}

// A norm on the CPU reads what is still in the cache.
bool gives_moments(const ConvArgs&) { return false; }

}  // namespace

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

}  // namespace medkern::MK_ISA
