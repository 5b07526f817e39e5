// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "starfm/window.h"
#include "stf/simd.h"

namespace stf::STF_TARGET {

namespace {

// Floats as wide as a register of the instruction set: compilers take comparisons of wider ones apart, number by
// number.
#ifdef STF_HAS_VECTORS
using Floats = float __attribute__((vector_size(vector_bytes)));
using Chosen = std::int32_t __attribute__((vector_size(vector_bytes)));  // all bits of a lane, or none
STF_HD Chosen at_most(Floats a, Floats b) { return a <= b; }
#else
using Floats = float;
using Chosen = std::int32_t;
STF_HD Chosen at_most(Floats a, Floats b) { return a <= b ? -1 : 0; }
#endif

constexpr Index width = sizeof(Floats) / sizeof(float);
// Pixels that are predicted at once: two registers of them where a block holds so many, since a sum waits for the last.
constexpr Index several = starfm_block / width < 2 ? 1 : 2, group = several * width;
static_assert(group <= starfm_block);

STF_HD Floats floats_at(const float* from) {
    Floats numbers;
    std::memcpy(&numbers, from, sizeof numbers);
    return numbers;
}

STF_HD Floats kept(Floats numbers, Chosen chosen) {
    Chosen bits;
    std::memcpy(&bits, &numbers, sizeof bits);
    bits &= chosen;
    std::memcpy(&numbers, &bits, sizeof bits);
    return numbers;
}

STF_HD Floats size_of(Floats numbers) { return kept(numbers, Chosen{} + INT32_MAX); }  // without the sign

}  // namespace

void starfm_row(const StarfmImages& images, const StarfmWindow& window, Index y, float* out) {
    const Index columns = images.columns, radius = window.radius;
    const Index first_row = std::max<Index>(0, y - radius), last_row = std::min(images.rows - 1, y + radius);
    const Floats similar = Floats{} + window.similar;
    for (Index x = 0; x < columns; x += group) {
        const Index here = y * images.stride + radius + x;
        Floats middle[several], most_spectral[several], most_temporal[several];
        for (Index k = 0; k < several; ++k) {
            middle[k] = floats_at(images.fine + here + k * width);
            most_spectral[k] = floats_at(images.spectral + here + k * width) + window.fine_coarse;
            most_temporal[k] = floats_at(images.temporal + here + k * width) + window.coarse_coarse;
        }
        // One row of a window is added in single precision, the rows in double.
        double weights[group] = {}, values[group] = {};
        for (Index row = first_row; row <= last_row; ++row) {
            const float* closeness = window.closeness + std::abs(row - y) * (radius + 1);
            Floats weight[several] = {}, value[several] = {};
            for (Index dx = -radius; dx <= radius; ++dx) {
                const Index at = row * images.stride + radius + x + dx;
                STF_UNROLL
                for (Index k = 0; k < several; ++k) {
                    const Index from = at + k * width;
                    const Chosen takes_part = at_most(size_of(floats_at(images.fine + from) - middle[k]), similar) &
                                              at_most(floats_at(images.spectral + from), most_spectral[k]) &
                                              at_most(floats_at(images.temporal + from), most_temporal[k]);
                    const Floats one = kept(floats_at(images.nearness + from) * closeness[std::abs(dx)], takes_part);
                    weight[k] += one;
                    value[k] += one * floats_at(images.moved + from);
                }
            }
            float row_weights[group], row_values[group];
            std::memcpy(row_weights, weight, sizeof weight);
            std::memcpy(row_values, value, sizeof value);
            for (Index i = 0; i < group; ++i) {
                weights[i] += static_cast<double>(row_weights[i]);
                values[i] += static_cast<double>(row_values[i]);
            }
        }
        // The pixel itself is in its window and like itself: the weights are never nothing.
        const Index count = std::min(group, columns - x);
        for (Index i = 0; i < count; ++i) out[x + i] = static_cast<float>(values[i] / weights[i]);
    }
}

}  // namespace stf::STF_TARGET
