// Running a launch more than once on the same memory, to compare what it leaves there.
#pragma once

#include <string>

namespace medkern::cuda::emulator {

// From now on the device's memory is kept as it is when it is first touched.
void begin_snapshots();
// After the first run: keeps its results and puts back what was there before.
void keep_results();
// After another run: whether its results are the same bits; if not `report` names a place. Puts
// back what was there before.
bool same_results(std::string& report);
// Leaves the first run's results; forgets the rest.
void end_snapshots();

}  // namespace medkern::cuda::emulator
