// What kernels compiled with -fsanitize=... call when they do what has no meaning: a misaligned
// access, an index out of an array, a shift by the whole width, a division by zero. On a device the
// first traps and the others go on with another value than here. (The compiler's own functions of
// these names print and go on; these end the launch.)
#include "cuda/emulator/scheduler.h"

namespace {

// What the compiler passes begins with the place in the source.
struct Place {
  const char* file;
  uint32_t line, column;
};
struct Pointer {
  Place place;
  const void* type;
  unsigned char alignment, access;  // the alignment is a power of two: its exponent
};

[[noreturn]] void stop(const void* data, const std::string& what) {
  using namespace medkern::cuda::emulator;
  const auto& place = *static_cast<const Place*>(data);
  const std::string file = place.file;
  give_up(where() + what + " at " + file.substr(file.rfind('/') + 1) + ":" +
          std::to_string(place.line));
}

}  // namespace

#define MK_CHECK extern "C" __attribute__((visibility("hidden"))) void

MK_CHECK __ubsan_handle_type_mismatch_v1(void* data, uintptr_t address) {
  const unsigned exponent = static_cast<const Pointer*>(data)->alignment;
  if (address % (uintptr_t{1} << exponent) == 0) stop(data, "an access to no address");
  stop(data, "a misaligned address, " + std::to_string(address % (uintptr_t{1} << exponent)) +
                 " past a multiple of " + std::to_string(1u << exponent));
}
MK_CHECK __ubsan_handle_out_of_bounds(void* data, uintptr_t index) {
  stop(data, "index " + std::to_string(static_cast<intptr_t>(index)) + " out of an array");
}
MK_CHECK __ubsan_handle_shift_out_of_bounds(void* data, uintptr_t, uintptr_t by) {
  stop(data, "a shift by " + std::to_string(static_cast<intptr_t>(by)));
}
MK_CHECK __ubsan_handle_divrem_overflow(void* data, uintptr_t, uintptr_t) {
  stop(data, "a division of integers by zero, or one that overflows");
}
