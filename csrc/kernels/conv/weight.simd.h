// The ways to the gradient of the weights, each in a file of its own; weight.simd.cpp chooses.
#pragma once

#include "kernels/conv/conv.h"

namespace medkern::MK_ISA {

// weight_depthwise.simd.cpp
bool weight_is_depthwise(const ConvWeightArgs& args);
size_t weight_depthwise_workspace(const ConvWeightArgs& args);
void weight_depthwise(const ConvWeightArgs& args);

// weight_winograd.simd.cpp
bool weight_takes_winograd(const ConvWeightArgs& args);
size_t weight_winograd_workspace(const ConvWeightArgs& args);
void weight_winograd(const ConvWeightArgs& args);

}  // namespace medkern::MK_ISA
