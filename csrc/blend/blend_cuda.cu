// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "blend/blend_cuda.h"
#include "blend/elements.h"
#include "stf/device.h"

namespace stf::cuda {

namespace {

constexpr int threads = 256;  // of a block of `finalise`

// Tiles that follow one another on a stream add to a pixel one after the other: sums do not depend on the device.
__global__ void __launch_bounds__(block_columns* block_rows)
    blend_pixels(const float* tile, Index rows, Index columns, Index y, Index x, const float* row_weight,
                 const float* column_weight, float* sums, Accumulator shape) {
    const Place at = place_here();
    const Index row = y - shape.first_row + at.row, column = x + at.column;
    if (at.row >= rows || at.column >= columns) return;
    if (row < 0 || row >= shape.rows || column < 0 || column >= shape.columns) return;
    const float weight_y = row_weight[at.row], weight_x = column_weight[at.column];
    if (weight_y == 0.0F || weight_x == 0.0F) return;
    const float value = tile[(at.channel * rows + at.row) * columns + at.column];
    sums[(at.channel * shape.rows + row) * shape.columns + column] += weighted(weight_y, weight_x, value);
}

template <class T>
__global__ void __launch_bounds__(threads)
    finalise_pixels(const float* sums, const std::uint8_t* valid, Index pixels, const float* scale, const float* offset,
                    float low, float high, T nodata, T* stored, unsigned long long* not_finite) {
    const Index channel = blockIdx.y, pixel = static_cast<Index>(blockIdx.x) * threads + threadIdx.x;
    bool lost = false;
    if (pixel < pixels) {
        const float sum = sums[channel * pixels + pixel];
        const bool wanted = valid == nullptr || valid[pixel] != 0, finite = std::isfinite(sum);
        lost = wanted && !finite;
        stored[channel * pixels + pixel] =
            static_cast<T>(storing(scale[channel], offset[channel], low, high, nodata)(sum, wanted, finite));
    }
    const int total = __syncthreads_count(lost);
    if (threadIdx.x == 0 && total > 0) atomicAdd(not_finite, static_cast<unsigned long long>(total));
}

}  // namespace

void blend(Stream stream, const float* tile, Index tile_rows, Index tile_columns, Index y, Index x,
           const float* row_weight, const float* column_weight, float* sums, const Accumulator& shape) {
    launch(blend_pixels, image_grid(shape.channels, tile_rows, tile_columns), image_block(), stream, tile, tile_rows,
           tile_columns, y, x, row_weight, column_weight, sums, shape);
}

template <class T>
void finalise(Stream stream, const float* sums, const std::uint8_t* valid, Index channels, Index pixels,
              const float* scale, const float* offset, float low, float high, T nodata, T* stored,
              unsigned long long* not_finite) {
    launch(finalise_pixels<T>, dim3(blocks_for(pixels, threads), static_cast<unsigned>(channels), 1),
           dim3(threads, 1, 1), stream, sums, valid, pixels, scale, offset, low, high, nodata, stored, not_finite);
}

#define STF_INSTANTIATE(T)                                                                                         \
    template void finalise<T>(Stream, const float*, const std::uint8_t*, Index, Index, const float*, const float*, \
                              float, float, T, T*, unsigned long long*);
STF_FOR_EACH_STORED_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

}  // namespace stf::cuda
