// What threads of a block wait for, other than their warp: the block's barrier, counters in memory,
// and copies into shared memory.
#include <cstring>

#include "cuda/emulator/scheduler.h"

namespace medkern::cuda::emulator {
namespace {

const char* name_of(Barrier kind) {
  switch (kind) {
    case Barrier::count:
      return "__syncthreads_count";
    case Barrier::any:
      return "__syncthreads_or";
    case Barrier::all:
      return "__syncthreads_and";
    default:
      return "__syncthreads";
  }
}

bool same(Site a, Site b) {
  return a.line() == b.line() && a.column() == b.column() &&
         std::strcmp(a.file_name(), b.file_name()) == 0;
}

}  // namespace

int block_barrier(Barrier kind, bool value, Site site) {
  Block& mine = *block;
  if (mine.arrived == 0) {
    mine.kind = kind;
    mine.site = site;
    mine.count = 0;
  } else if (mine.kind != kind || !same(mine.site, site)) {
    give_up(where() + name_of(kind) + " at " + text_of(site) +
            " while others of its block are at " + name_of(mine.kind) + " at " +
            text_of(mine.site));
  }
  mine.count += value;
  if (++mine.arrived < mine.threads) {
    suspend(name_of(kind), 0, site);
    return mine.result;
  }
  mine.arrived = 0;
  mine.result = mine.count;
  for (uint32_t warp = 0; warp * 32 < mine.threads; ++warp) {
    mine.warps[warp].ready = mine.warps[warp].exists;
    mine.ready |= 1u << warp;
  }
  return mine.result;
}

void wait_for_count(const uint32_t* word, uint32_t least, Site site) {
  if (*static_cast<const volatile uint32_t*>(word) >= least) return;
  launch.count_waits.push_back({block, thread_number, word, least});
  suspend("a counter in memory", 0, site);
}

void yield(Site site) {
  launch.count_waits.push_back({block, thread_number, nullptr, 0});
  suspend("what it looks for between __nanosleep", 0, site);
}

void copy_later(void* to, const void* from, unsigned bytes, bool valid, Site site) {
  expect_aligned(static_cast<unsigned char*>(to), bytes, site);
  auto* target = static_cast<unsigned char*>(to);
  if (target < shared_begin || target + bytes > shared_begin + launch.shared_bytes) {
    refuse("cp_async to outside of shared memory", site);
  }
  if (valid) {
    expect_aligned(static_cast<const unsigned char*>(from), bytes, site);
    // What can't be read is to be reported here, not at the wait.
    static_cast<void>(*static_cast<const volatile unsigned char*>(from));
    static_cast<void>(static_cast<const volatile unsigned char*>(from)[bytes - 1]);
  }
  std::memset(to, 0xff, bytes);  // not a number until it is waited for
  Thread& mine = current_thread();
  mine.copies.push_back({to, valid ? from : nullptr, bytes, mine.commits});
  block->copies = true;
}

void commit_copies() { ++current_thread().commits; }

void wait_for_copies(unsigned left) {
  Thread& mine = current_thread();
  size_t kept = 0;
  for (const PendingCopy& copy : mine.copies) {
    if (copy.commit + left < mine.commits) {
      if (copy.from != nullptr) {
        std::memcpy(copy.to, copy.from, copy.bytes);
      } else {
        std::memset(copy.to, 0, copy.bytes);
      }
    } else {
      mine.copies[kept++] = copy;
    }
  }
  mine.copies.resize(kept);
}

}  // namespace medkern::cuda::emulator
