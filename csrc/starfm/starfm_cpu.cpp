// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include "starfm/starfm.h"
#include "starfm/window.h"
#include "stf/parallel.h"

namespace stf {

namespace {

// How much a difference counts: as it is, or by its logarithm in steps. What is below one step counts as one.
float counts(float difference, const StarfmRule& rule) {
    const float steps = std::max(difference / rule.step, 1.0F);
    return rule.weight == StarfmWeight::logarithm ? std::log(steps + 1.0F) : steps;
}

std::vector<float> closeness_of(Index radius) {
    const auto side = static_cast<std::size_t>(radius + 1);
    const double half = static_cast<double>(2 * radius + 1) / 2;
    std::vector<float> closeness(side * side);
    for (std::size_t dy = 0; dy < side; ++dy)
        for (std::size_t dx = 0; dx < side; ++dx)
            closeness[dy * side + dx] =
                static_cast<float>(1 / (1 + std::hypot(static_cast<double>(dy), static_cast<double>(dx)) / half));
    return closeness;
}

}  // namespace

void starfm(const float* fine_t1, const float* coarse_t1, const float* coarse_t2, Index rows, Index columns,
            const StarfmRule& rule, Index threads, float* out) {
    const Index stride = columns + 2 * rule.radius + starfm_block;
    const auto numbers = static_cast<std::size_t>(rows * stride);
    std::vector<float> fine(numbers), temporal(numbers), nearness(numbers), moved(numbers);
    std::vector<float> spectral(numbers, std::numeric_limits<float>::infinity());
    for_each_piece(rows, threads, [&](Index y, Index) {
        auto to = static_cast<std::size_t>(y * stride + rule.radius);
        for (Index k = y * columns; k < (y + 1) * columns; ++k, ++to) {
            fine[to] = fine_t1[k];
            spectral[to] = std::fabs(fine_t1[k] - coarse_t1[k]);
            temporal[to] = std::fabs(coarse_t1[k] - coarse_t2[k]);
            nearness[to] = 1.0F / (counts(spectral[to], rule) * counts(temporal[to], rule));
            moved[to] = fine_t1[k] + (coarse_t2[k] - coarse_t1[k]);
        }
    });
    const std::vector<float> closeness = closeness_of(rule.radius);
    const StarfmImages images{fine.data(), spectral.data(), temporal.data(), nearness.data(), moved.data(),
                              rows,        columns,         stride};
    const StarfmWindow window{rule.radius, closeness.data(), rule.similar, rule.fine_coarse, rule.coarse_coarse};
    for_each_piece(rows, threads, [&](Index y, Index) { STF_CALL(starfm_row, images, window, y, out + y * columns); });
}

}  // namespace stf
