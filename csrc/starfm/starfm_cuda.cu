// SPDX-License-Identifier: Apache-2.0
#include "starfm/elements.h"
#include "starfm/starfm_cuda.h"
#include "starfm/window.h"
#include "stf/device.h"

namespace stf::cuda {

namespace {

constexpr int threads = 256;

__global__ void __launch_bounds__(threads)
    prepare_pixels(const float* fine_t1, const float* coarse_t1, const float* coarse_t2, Index pixels, StarfmRule rule,
                   float* spectral, float* temporal, float* nearness, float* moved) {
    const Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x;
    if (i >= pixels) return;
    const StarfmPixel pixel = starfm_pixel(fine_t1[i], coarse_t1[i], coarse_t2[i], rule);
    spectral[i] = pixel.spectral;
    temporal[i] = pixel.temporal;
    nearness[i] = pixel.nearness;
    moved[i] = pixel.moved;
}

__global__ void __launch_bounds__(threads) fill_closeness(Index radius, float* table) {
    const Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x, side = radius + 1;
    if (i < side * side) table[i] = closeness(i / side, i % side, radius);
}

// A thread goes over the window of its pixel. Threads of a warp lie along a row: what one of them reads next, its
// neighbour has just read, and the nearest cache holds it. Four blocks are wanted on a multiprocessor: for more,
// compilers may spill.
__global__ void __launch_bounds__(block_columns* block_rows, 4)
    predict_pixels(StarfmImages images, StarfmWindow window, float* out) {
    const Place at = place_here();
    if (at.row >= images.rows || at.column >= images.columns) return;
    const Index radius = window.radius, here = at.row * images.columns + at.column;
    const Index top = at.row > radius ? at.row - radius : 0, left = at.column > radius ? at.column - radius : 0;
    const Index bottom = at.row + radius < images.rows ? at.row + radius : images.rows - 1;
    const Index right = at.column + radius < images.columns ? at.column + radius : images.columns - 1;
    const float middle = images.fine[here], most_spectral = images.spectral[here] + window.fine_coarse;
    const float most_temporal = images.temporal[here] + window.coarse_coarse;
    // One row of a window is added in single precision, the rows in double.
    double weights = 0, values = 0;
    for (Index row = top; row <= bottom; ++row) {
        const float* near = window.closeness + (row > at.row ? row - at.row : at.row - row) * (radius + 1);
        float weight = 0, value = 0;
        for (Index column = left; column <= right; ++column) {
            const Index k = row * images.columns + column;
            const bool takes_part = std::fabs(images.fine[k] - middle) <= window.similar &&
                                    images.spectral[k] <= most_spectral && images.temporal[k] <= most_temporal;
            if (!takes_part) continue;
            const Index away = column > at.column ? column - at.column : at.column - column;
            const float one = images.nearness[k] * near[away];
            weight += one;
            value += one * images.moved[k];
        }
        weights += static_cast<double>(weight);
        values += static_cast<double>(value);
    }
    out[here] = static_cast<float>(values / weights);
}

}  // namespace

Index starfm_scratch(Index rows, Index columns, Index radius) {
    return 4 * rows * columns + (radius + 1) * (radius + 1);
}

void starfm(Stream stream, const float* fine_t1, const float* coarse_t1, const float* coarse_t2, Index rows,
            Index columns, const StarfmRule& rule, float* out, float* scratch) {
    const Index pixels = rows * columns, side = rule.radius + 1;
    float *spectral = scratch, *temporal = spectral + pixels, *nearness = temporal + pixels, *moved = nearness + pixels;
    float* table = moved + pixels;
    const dim3 block(threads, 1, 1);
    launch(prepare_pixels, dim3(blocks_for(pixels, threads), 1, 1), block, stream, fine_t1, coarse_t1, coarse_t2,
           pixels, rule, spectral, temporal, nearness, moved);
    launch(fill_closeness, dim3(blocks_for(side * side, threads), 1, 1), block, stream, rule.radius, table);
    const StarfmImages images{fine_t1, spectral, temporal, nearness, moved, rows, columns, columns};
    const StarfmWindow window{rule.radius, table, rule.similar, rule.fine_coarse, rule.coarse_coarse};
    launch(predict_pixels, image_grid(1, rows, columns), image_block(), stream, images, window, out);
}

}  // namespace stf::cuda
