// The words of reports: who, where, and what everybody waits for.
#include <cstring>

#include "cuda/emulator/scheduler.h"

namespace medkern::cuda::emulator {
namespace {

constexpr size_t kMostLines = 24;

std::string triple(uint32_t x, uint32_t y, uint32_t z) {
  return "(" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
}

std::string hexadecimal(uint32_t value) {
  std::string text = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[value >> shift & 15];
  return text;
}

// What a thread of a block that stands still does.
std::string state_of(const Thread& thread) {
  if (thread.fiber == nullptr) return "returned";
  std::string text = std::string("waiting for ") + thread.waits_for;
  if (thread.mask != 0 && thread.mask != ~0u) text += " of lanes " + hexadecimal(thread.mask);
  return text + " at " + text_of(thread.site);
}

}  // namespace

std::string text_of(Site site) {
  const char* slash = std::strrchr(site.file_name(), '/');
  return std::string(slash != nullptr ? slash + 1 : site.file_name()) + ":" +
         std::to_string(site.line());
}

std::string where() {
  return std::string(launch.kernel->name) + ", block " +
         triple(blockIdx.x, blockIdx.y, blockIdx.z) + ", thread " +
         triple(threadIdx.x, threadIdx.y, threadIdx.z) + ": ";
}

std::string waiting_threads() {
  std::string text;
  size_t lines = 0;
  for (const Block* one : launch.blocks) {
    for (uint32_t first = 0; first < one->threads;) {
      const std::string state = state_of(one->thread[first]);
      uint32_t last = first;
      while (last + 1 < one->threads && state_of(one->thread[last + 1]) == state) ++last;
      if (one->live > 0 && lines++ < kMostLines) {
        text += "\n  block " + triple(one->index.x, one->index.y, one->index.z) + ", threads " +
                std::to_string(first) + " to " + std::to_string(last) + ": " + state;
      }
      first = last + 1;
    }
  }
  if (lines > kMostLines) text += "\n  and " + std::to_string(lines - kMostLines) + " more";
  return text;
}

void refuse(const char* what, Site site) { give_up(where() + what + " at " + text_of(site)); }

}  // namespace medkern::cuda::emulator
