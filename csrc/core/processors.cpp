#include "core/processors.h"

#include <cmath>
#include <fstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace medkern {
namespace {

// quota / period of one control group: processors, or 0 where it sets no limit.
double limit_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");  // "max 100000" or "150000 100000"
  double quota = 0, period = 0;
  return file >> quota >> period && period > 0 ? quota / period : 0;
}

double limit_v1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"),
      period_file(folder + "/cpu.cfs_period_us");
  double quota = 0, period = 0;  // a quota of -1 is no limit
  return quota_file >> quota && period_file >> period && period > 0 ? quota / period : 0;
}

// The smallest limit of the group at `path` below `mount` and of those above it. In a container the
// path is often that of the host and doesn't exist below the mount: then only the mount's own
// counts.
double smallest_limit(const std::string& mount, std::string path,
                      double (*limit)(const std::string&)) {
  double smallest = 0;
  for (;;) {
    const double here = limit(mount + path);
    if (here > 0 && (smallest == 0 || here < smallest)) smallest = here;
    if (path.empty()) return smallest;
    path.resize(path.find_last_of('/'));
  }
}

// Whether the comma-separated `list` holds `word`.
bool holds(const std::string& list, const std::string& word) {
  return ("," + list + ",").find("," + word + ",") != std::string::npos;
}

}  // namespace

int processors_allowed() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count > 0 ? static_cast<int>(count) : 1;
}

int quota_count(const std::string& root, int otherwise) {
  const std::string mount = root + "/sys/fs/cgroup";
  std::ifstream groups(root + "/proc/self/cgroup");
  double processors = 0;
  const auto tighten = [&](double limit) {
    if (limit > 0 && (processors == 0 || limit < processors)) processors = limit;
  };
  // Lines are "number:controllers:/path"; version 2 has no controllers.
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path.empty() || path[0] != '/' || path == "/") path.clear();
    if (controllers.empty()) {
      tighten(smallest_limit(mount, path, limit_v2));
    } else if (holds(controllers, "cpu")) {
      tighten(smallest_limit(mount + "/" + controllers, path, limit_v1));
      tighten(smallest_limit(mount + "/cpu", path, limit_v1));
    }
  }
  if (processors <= 0 || processors >= otherwise) return otherwise;
  return static_cast<int>(std::ceil(processors));
}

}  // namespace medkern
