// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "starfm/starfm.h"

namespace stf::cuda {

// Floats that `starfm` needs beside the images.
Index starfm_scratch(Index rows, Index columns, Index radius);

// As starfm.h says, on a device. Sums run in the same order; the bits are the CPU's where the weight is `product`, and
// differ as far as the two machines' logarithms do where it is `logarithm`.
void starfm(Stream stream, const float* fine_t1, const float* coarse_t1, const float* coarse_t2, Index rows,
            Index columns, const StarfmRule& rule, float* out, float* scratch);

}  // namespace stf::cuda
