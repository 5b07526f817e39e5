// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "starfm/starfm.h"
#include "stf/check.h"

namespace stf::bind {

inline StarfmRule checked_rule(Index radius, float similar, float fine_coarse, float coarse_coarse, float step,
                               const std::string& weight) {
    STF_CHECK(radius >= 0, "radius is ", radius, "; 0 or more is wanted");
    STF_CHECK(similar >= 0, "similar is ", similar, "; 0 or more is wanted");
    STF_CHECK(fine_coarse >= 0, "fine_coarse is ", fine_coarse, "; 0 or more is wanted");
    STF_CHECK(coarse_coarse >= 0, "coarse_coarse is ", coarse_coarse, "; 0 or more is wanted");
    STF_CHECK(step > 0, "step is ", step, "; more than 0 is wanted");
    STF_CHECK(weight == "logarithm" || weight == "product", "weight is '", weight, "'; logarithm or product is wanted");
    return {radius,        similar, fine_coarse,
            coarse_coarse, step,    weight == "product" ? StarfmWeight::product : StarfmWeight::logarithm};
}

}  // namespace stf::bind
