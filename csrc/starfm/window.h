// SPDX-License-Identifier: Apache-2.0
// The sums over the windows of one row of pixels, compiled once for each instruction set.
#pragma once

#include "stf/dispatch.h"
#include "stf/types.h"

namespace stf {

// At most so many pixels are predicted at once.
constexpr Index starfm_block = 16;

// What the window of a pixel looks at, one number a pixel of the image. Rows are `stride` apart and go on for `radius`
// columns to the left and for `radius` and a block to the right of the image, with pixels whose spectral difference is
// infinite: they never take part.
struct StarfmImages {
    const float* fine;      // fine_t1
    const float* spectral;  // |fine_t1 - coarse_t1|
    const float* temporal;  // |coarse_t1 - coarse_t2|
    const float* nearness;  // 1 / (what spectral and temporal difference weigh together)
    const float* moved;     // fine_t1 + coarse_t2 - coarse_t1
    Index rows, columns, stride;
};

struct StarfmWindow {
    Index radius;
    const float* closeness;  // (radius + 1) x (radius + 1): 1 / (1 + distance / (window / 2)), by absolute offset
    float similar, fine_coarse, coarse_coarse;
};

}  // namespace stf

// Predicts row y: `columns` numbers.
STF_DECLARE_TARGETS(void starfm_row(const StarfmImages&, const StarfmWindow&, Index y, float* out))
