// Moments of an image that its producer leaves for a norm: of every kMomentRows rows (pixels of all
// samples, one after the other; the last ones perhaps fewer) and every channel the mean and the sum
// of squared deviations from it, as float64 [chunk][which][channel]. Where all chunks are whole and
// of one sample, its pixels may come in another order.
#pragma once

namespace medkern {

constexpr int kMomentRows = 64;

}  // namespace medkern
