// Splitting work over the thread pool. Work is cut into tasks by shape, never by the number of
// threads, so results are the same bits at any number of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace medkern {

// The most workers a loop may use (worker numbers are below this); sizes per-worker scratch memory.
// It stays the same to the end of the C API call that asked, even if another thread sets the number
// of threads meanwhile.
int max_workers();

// Called where a C API call begins.
void forget_promised_workers();

namespace detail {
void run_tasks(int64_t tasks, int64_t work, void (*body)(void*, int64_t task, int worker),
               void* context);
}

// Calls body(task, worker) for each task in 0 .. tasks - 1, in any order and on any thread.
// `worker` is the number of the thread running it, for per-worker scratch. `work` estimates the
// whole loop in arithmetic operations or elements moved: small loops run on the calling thread.
// Loops inside loops run serially. `body` must not throw.
template <class Body>
__attribute__((always_inline)) inline void parallel_for(int64_t tasks, int64_t work, Body&& body) {
  detail::run_tasks(
      tasks, work,
      [](void* context, int64_t task, int worker) {
        (*static_cast<std::remove_reference_t<Body>*>(context))(task, worker);
      },
      &body);
}

// The threads that run one body together, in step.
class Team {
 public:
  Team(int worker, int size, std::atomic<int64_t>* counts)
      : worker_(worker), size_(size), counts_(counts) {}

  int worker() const { return worker_; }  // below size()
  int size() const { return size_; }

  // Returns when every worker has called it as often: what they wrote before is then seen by all.
  void barrier();

 private:
  int worker_, size_;
  int64_t passed_ = 0;
  std::atomic<int64_t>* counts_;  // one per worker, kCountStride apart
};

namespace detail {
void run_team(int most, int64_t work, void (*body)(void*, Team&), void* context);
}

// Calls body(team) once on each of up to `most` threads at the same time, for loops whose steps
// depend on each other and are too short to start a parallel_for each. The team may have a single
// worker, whatever was asked for: the body shares out its work by team.worker() and team.size(),
// and no result may depend on them. `work` as in parallel_for. `body` must not throw.
template <class Body>
__attribute__((always_inline)) inline void parallel_team(int most, int64_t work, Body&& body) {
  detail::run_team(
      most, work,
      [](void* context, Team& team) {
        (*static_cast<std::remove_reference_t<Body>*>(context))(team);
      },
      &body);
}

}  // namespace medkern
