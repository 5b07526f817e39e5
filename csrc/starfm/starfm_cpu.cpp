// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <vector>

#include "starfm/elements.h"
#include "starfm/window.h"
#include "stf/parallel.h"

namespace stf {

namespace {

std::vector<float> closeness_of(Index radius) {
    const Index side = radius + 1;
    std::vector<float> table(static_cast<std::size_t>(side * side));
    for (Index dy = 0; dy < side; ++dy)
        for (Index dx = 0; dx < side; ++dx) table[static_cast<std::size_t>(dy * side + dx)] = closeness(dy, dx, radius);
    return table;
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
            const StarfmPixel pixel = starfm_pixel(fine_t1[k], coarse_t1[k], coarse_t2[k], rule);
            fine[to] = fine_t1[k];
            spectral[to] = pixel.spectral;
            temporal[to] = pixel.temporal;
            nearness[to] = pixel.nearness;
            moved[to] = pixel.moved;
        }
    });
    const std::vector<float> table = closeness_of(rule.radius);
    const StarfmImages images{fine.data(), spectral.data(), temporal.data(), nearness.data(), moved.data(),
                              rows,        columns,         stride};
    const StarfmWindow window{rule.radius, table.data(), rule.similar, rule.fine_coarse, rule.coarse_coarse};
    for_each_piece(rows, threads, [&](Index y, Index) { STF_CALL(starfm_row, images, window, y, out + y * columns); });
}

}  // namespace stf
