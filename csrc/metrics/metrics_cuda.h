// SPDX-License-Identifier: Apache-2.0
// The sums of pairs of metrics.h on a device; angles, windows and errors are counted on the host only.
#pragma once

#include "metrics/sums.h"
#include "stf/types.h"

namespace stf::cuda {

// Doubles that `measure_pairs` needs beside the images.
Index pairs_scratch(Index bands, Index pixels);

// Adds to the sums of each band, and to counts: pixels, those masked, those wanted and not finite. A pixel counts where
// the mask is not 0 (null: everywhere) and every band of both images is finite. Parts of the image are fixed and are
// added in one order: sums do not depend on the device.
void measure_pairs(Stream stream, const float* prediction, const float* truth, const std::uint8_t* mask, Index bands,
                   Index pixels, PairSums* sums, unsigned long long* counts, double* scratch);

}  // namespace stf::cuda
