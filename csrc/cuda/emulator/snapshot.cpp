#include "cuda/emulator/snapshot.h"

#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/emulator/memory.h"

namespace medkern::cuda::emulator {
namespace {

struct Saved {
  Allocation* of;
  std::vector<unsigned char> before, results;
};

std::vector<Saved>& saved() {
  static auto* all = new std::vector<Saved>;
  return *all;
}
bool first_run;

// Called from where a kernel first touches the memory, which is open by then.
void save(Allocation& opened) {
  for (const Saved& one : saved()) {
    if (one.of == &opened) return;
  }
  saved().push_back({&opened, {opened.begin, opened.begin + opened.bytes}, {}});
  // The first run has left alone what only a later one touches.
  if (!first_run) saved().back().results = saved().back().before;
}

void put(const Saved& one, const std::vector<unsigned char>& content) {
  std::memcpy(one.of->begin, content.data(), content.size());
}

std::string word_at(const unsigned char* begin, size_t offset, size_t bytes) {
  uint32_t word = 0;
  std::memcpy(&word, begin + offset, bytes - offset < 4 ? bytes - offset : 4);
  float number;
  std::memcpy(&number, &word, sizeof number);
  char text[64];
  std::snprintf(text, sizeof text, "0x%08x (as a float %g)", word, static_cast<double>(number));
  return text;
}

}  // namespace

void begin_snapshots() {
  std::string none;
  close_memory(none, true);
  saved().clear();
  first_run = true;
  on_open(save);
}

void keep_results() {
  first_run = false;
  for (Saved& one : saved()) {
    const OpenNow open(*one.of);
    one.results.assign(one.of->begin, one.of->begin + one.of->bytes);
    put(one, one.before);
  }
}

bool same_results(std::string& report) {
  bool same = true;
  for (const Saved& one : saved()) {
    const OpenNow open(*one.of);
    const unsigned char* now = one.of->begin;
    if (same && std::memcmp(now, one.results.data(), one.of->bytes) != 0) {
      same = false;
      size_t at = 0;
      while (now[at] == one.results[at]) ++at;
      at = at / 4 * 4;
      report = "the results depend on the order of threads: at byte " + std::to_string(at) +
               " of an allocation of " + std::to_string(one.of->bytes) + " bytes it leaves " +
               word_at(one.results.data(), at, one.of->bytes) + " or " +
               word_at(now, at, one.of->bytes);
    }
    put(one, one.before);
  }
  return same;
}

void end_snapshots() {
  on_open(nullptr);
  for (const Saved& one : saved()) {
    if (one.results.empty()) continue;
    const OpenNow open(*one.of);
    put(one, one.results);
  }
  saved().clear();
}

}  // namespace medkern::cuda::emulator
