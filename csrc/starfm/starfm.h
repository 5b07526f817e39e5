// SPDX-License-Identifier: Apache-2.0
// STARFM: each pixel is predicted from pixels in a window around it that look like it, weighted.
// Gao, Masek, Schwaller, Hall, IEEE TGRS 44 (8), 2207-2218, 2006, doi:10.1109/TGRS.2006.872081.
#pragma once

#include "stf/types.h"

namespace stf {

enum class StarfmWeight { logarithm, product };

struct StarfmRule {
    Index radius;         // the window has 2 radius + 1 rows and columns
    float similar;        // largest difference of fine_t1 to the pixel that is predicted
    float fine_coarse;    // uncertainty of |fine_t1 - coarse_t1|
    float coarse_coarse;  // uncertainty of |coarse_t1 - coarse_t2|
    float step;           // smallest difference that images tell; smaller ones weigh like it
    StarfmWeight weight;
};

// One band: out[y, x] of images of rows x columns on the fine grid. Windows are cut where the image ends. The sum of a
// pixel runs over its window in one order, so that it is the same in every tile that holds the whole window.
void starfm(const float* fine_t1, const float* coarse_t1, const float* coarse_t2, Index rows, Index columns,
            const StarfmRule& rule, Index threads, float* out);

}  // namespace stf
