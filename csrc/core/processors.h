// How many processors this process may use.
#pragma once

#include <string>

namespace medkern {

// The processors the process may run on (its affinity), at least 1.
int processors_allowed();

// The CPU quota of the control group, rounded up to whole processors, or `otherwise` where there is
// none or it is larger. Reads <root>/proc/self/cgroup and <root>/sys/fs/cgroup, of control groups
// version 2 and 1; root is "" except in tests.
int quota_count(const std::string& root, int otherwise);

}  // namespace medkern
