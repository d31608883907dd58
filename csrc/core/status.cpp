#include "core/status.h"

#include <new>

namespace medkern {
namespace {

thread_local std::string last_error;

}  // namespace

mk_status record_current_exception() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    try {
      last_error = error.what();
    } catch (...) {
      last_error.clear();
    }
    return error.status();
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";  // short enough for the small-string buffer: no allocation
    return MK_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    try {
      last_error = std::string("internal error: ") + error.what();
    } catch (...) {
      last_error.clear();
    }
    return MK_INTERNAL;
  } catch (...) {
    last_error = "internal error";
    return MK_INTERNAL;
  }
}

}  // namespace medkern

extern "C" const char* mk_last_error(void) { return medkern::last_error.c_str(); }
