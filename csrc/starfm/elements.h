// SPDX-License-Identifier: Apache-2.0
// What the window of a pixel looks at, and how near its pixels are. For host and device.
#pragma once

#include <cmath>

#include "starfm/starfm.h"
#include "stf/target.h"

namespace stf {

// How much a difference counts: as it is, or by its logarithm in steps. What is below one step counts as one.
STF_HD float counts(float difference, const StarfmRule& rule) {
    const float in_steps = difference / rule.step, steps = in_steps < 1.0F ? 1.0F : in_steps;
    return rule.weight == StarfmWeight::logarithm ? std::log(steps + 1.0F) : steps;
}

struct StarfmPixel {
    float spectral, temporal, nearness, moved;  // see StarfmImages
};

STF_HD StarfmPixel starfm_pixel(float fine_t1, float coarse_t1, float coarse_t2, const StarfmRule& rule) {
    const float spectral = std::fabs(fine_t1 - coarse_t1), temporal = std::fabs(coarse_t1 - coarse_t2);
    const float nearness = 1.0F / (counts(spectral, rule) * counts(temporal, rule));
    return {spectral, temporal, nearness, fine_t1 + (coarse_t2 - coarse_t1)};
}

// 1 / (1 + distance / (window / 2)) of a pixel `dy` rows and `dx` columns away.
STF_HD float closeness(Index dy, Index dx, Index radius) {
    const double half = static_cast<double>(2 * radius + 1) / 2;
    return static_cast<float>(1 / (1 + std::sqrt(static_cast<double>(dy * dy + dx * dx)) / half));
}

}  // namespace stf
