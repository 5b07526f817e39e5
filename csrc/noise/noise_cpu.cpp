// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "noise/noise.h"
#include "noise/normal.h"
#include "noise/philox.h"

namespace stf {

namespace {

// Words are kept apart for a part of a row, so that both loops work on whole vectors.
constexpr Index part = 256;

void fill_part(std::uint32_t band, std::uint32_t y, std::uint32_t x, std::uint32_t step, PhiloxKey key, Index count,
               float* out) {
    std::uint32_t first[part], second[part];
    for (Index j = 0; j < count; ++j) {
        const PhiloxCounter words = philox4x32({{band, y, x + static_cast<std::uint32_t>(j), step}}, key);
        first[j] = words.word[0];
        second[j] = words.word[1];
    }
    normals(first, second, count, out);
}

}  // namespace

void normals(const std::uint32_t* word_1, const std::uint32_t* word_2, Index count, float* out) {
    for (Index k = 0; k < count; ++k) out[k] = normal(word_1[k], word_2[k]);
}

void noise(std::uint64_t seed, std::uint32_t step, std::int64_t y, std::int64_t x, Index channels, Index rows,
           Index columns, float* tile) {
    const PhiloxKey key{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
    for (Index c = 0; c < channels; ++c)
        for (Index i = 0; i < rows; ++i)
            for (Index j = 0; j < columns; j += part)
                fill_part(static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(y + i),
                          static_cast<std::uint32_t>(x + j), step, key, std::min(part, columns - j),
                          tile + (c * rows + i) * columns + j);
}

}  // namespace stf
