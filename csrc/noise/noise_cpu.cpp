// SPDX-License-Identifier: Apache-2.0
#include "noise/noise.h"
#include "noise/row.h"

namespace stf {

void normals(const std::uint32_t* word_1, const std::uint32_t* word_2, Index count, float* out, Level level) {
    STF_CALL_AT(level, normal_row, word_1, word_2, count, out);
}

void noise(std::uint64_t seed, std::uint32_t step, std::int64_t y, std::int64_t x, Index channels, Index rows,
           Index columns, float* tile, Level level) {
    const PhiloxKey key{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
    for (Index c = 0; c < channels; ++c)
        for (Index i = 0; i < rows; ++i) {
            const PhiloxCounter first{{static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(y + i),
                                       static_cast<std::uint32_t>(x), step}};
            STF_CALL_AT(level, noise_row, first, key, columns, tile + (c * rows + i) * columns);
        }
}

}  // namespace stf
