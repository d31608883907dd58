// Prints the processors that quota_count allows under a given root folder.
#include <cstdio>
#include <cstdlib>

#include "core/processors.h"

int main(int, char** arguments) {
  std::printf("%d\n", medkern::quota_count(arguments[1], std::atoi(arguments[2])));
}
