// A kernel that CUDA does not have.
#pragma once

#include "core/status.h"

namespace medkern::cuda {

// Fills any slot of a table with a function that fails.
struct Absent {
  template <class Result, class... Args>
  using Function = Result (*)(Args...);

  template <class Result, class... Args>
  constexpr operator Function<Result, Args...>() const {
    return [](Args...) -> Result {
      fail(MK_DEVICE_ERROR, "this operation has no CUDA kernel; move its tensors to the CPU");
    };
  }
};
constexpr Absent absent;

}  // namespace medkern::cuda
