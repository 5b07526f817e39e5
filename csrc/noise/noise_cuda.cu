// SPDX-License-Identifier: Apache-2.0
#include "noise/noise_cuda.h"
#include "noise/normal.h"
#include "noise/philox.h"
#include "stf/device.h"

namespace stf::cuda {

namespace {

__global__ void __launch_bounds__(block_columns* block_rows)
    draw_pixels(PhiloxKey key, std::uint32_t step, std::int64_t y, std::int64_t x, Index rows, Index columns,
                float* tile) {
    const Place at = place_here();
    if (at.row >= rows || at.column >= columns) return;
    const PhiloxCounter words =
        philox4x32({{static_cast<std::uint32_t>(at.channel), static_cast<std::uint32_t>(y + at.row),
                     static_cast<std::uint32_t>(x + at.column), step}},
                   key);
    tile[(at.channel * rows + at.row) * columns + at.column] = normal(words.word[0], words.word[1]);
}

}  // namespace

void noise(Stream stream, std::uint64_t seed, std::uint32_t step, std::int64_t y, std::int64_t x, Index channels,
           Index rows, Index columns, float* tile) {
    const PhiloxKey key{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
    launch(draw_pixels, image_grid(channels, rows, columns), image_block(), stream, key, step, y, x, rows, columns,
           tile);
}

}  // namespace stf::cuda
