// Failures inside the library are C++ exceptions of one type; at the C API they become a status and
// a thread-local message.
#pragma once

#include <exception>
#include <sstream>
#include <string>
#include <utility>

#include "core/denormals.h"
#include "core/parallel.h"
#include "medkern/base.h"

namespace medkern {

class Error : public std::exception {
 public:
  Error(mk_status status, std::string message) : status_(status), message_(std::move(message)) {}
  mk_status status() const { return status_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  mk_status status_;
  std::string message_;
};

// Throws an Error whose message is the parts written one after the other.
template <class... Parts>
[[noreturn]] void fail(mk_status status, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(status, text.str());
}

// Fails with MK_INVALID_ARGUMENT unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) fail(MK_INVALID_ARGUMENT, parts...);
}

// Records the exception being handled as this thread's last error and gives its status.
mk_status record_current_exception() noexcept;

// The body of every C entry point: runs `body` with denormals flushed, turning exceptions into a
// status.
template <class Body>
mk_status guarded(Body&& body) noexcept {
  try {
    DenormalsFlushed flushed;
    forget_promised_workers();
    body();
    return MK_OK;
  } catch (...) {
    return record_current_exception();
  }
}

}  // namespace medkern
