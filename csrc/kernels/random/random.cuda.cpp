// CUDA kernels of random numbers: what the checked arguments come to on the device.
#include "kernels/random/random.h"

#include "cuda/align.h"
#include "cuda/launch.h"
#include "cuda/variants.h"
#include "kernels/loops.cuda.h"
#include "kernels/random/random.cuda.h"

namespace medkern::cuda {
namespace {

WideTypes uniforms = MK_WIDE_TYPES("random", "random_uniform");
WideTypes normals = MK_WIDE_TYPES("random", "random_normal");
Types dropouts = MK_TYPES("random", "random_dropout");
Types masks = MK_TYPES("random", "random_mask");

// A thread takes `each` numbers at a time.
Grid grid_for(int64_t count, int64_t each) { return {blocks_for(count, kWalkThreads, each)}; }

void draw(WideTypes& kernels, const RandomArgs& a) {
  const RandomKernelArgs p{a.y,     a.seed,  a.offset, a.shift,
                           a.scale, a.below, a.count,  is_aligned(a.y)};
  launch(kernels[wide_type_of(a.dtype)], grid_for(a.count, vector_lanes(size_of(a.dtype))),
         kWalkThreads, 0, p);
}

void uniform(const RandomArgs& a) { draw(uniforms, a); }
void normal(const RandomArgs& a) { draw(normals, a); }

void dropout(const DropoutArgs& a) {
  const bool aligned = are_aligned({a.x, a.y}) && is_aligned(a.mask, 4);
  const DropoutKernelArgs p{a.x,         a.y,     a.mask,  a.seed, a.offset,
                            a.threshold, a.scale, a.count, aligned};
  launch(dropouts[type_of(a.dtype)], grid_for(a.count, 4), kWalkThreads, 0, p);
}

void apply_mask(const MaskArgs& a) {
  TensorView dx = a.dy;
  dx.data = a.dx;
  const size_t item = size_of(a.dtype);
  const Operand operands[] = {{a.dx, item}, {a.dy.data, item}, {a.mask.data, 1}};
  const MaskKernelArgs p{walk_over(loops_over({&dx, &a.dy, &a.mask}), operands), a.dx, a.dy.data,
                         a.mask.as<const uint8_t>(), a.scale};
  launch(masks[type_of(a.dtype)], {walk_blocks(p.walk)}, kWalkThreads, 0, p);
}

}  // namespace

extern const RandomKernels random_kernels;
constinit const RandomKernels random_kernels = {
    .uniform = uniform,
    .normal = normal,
    .dropout = dropout,
    .apply_mask = apply_mask,
};

}  // namespace medkern::cuda
