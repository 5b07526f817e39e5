// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "metrics/usable_cuda.h"
#include "stf/device_reduce.h"

namespace stf::cuda {

namespace {

__global__ void __launch_bounds__(pixel_threads)
    find_usable_pixels(const float* p, const float* t, const std::uint8_t* mask, Index bands, Index pixels,
                       std::uint8_t* usable, unsigned long long* counts) {
    const Index i = static_cast<Index>(blockIdx.x) * pixel_threads + threadIdx.x;
    const bool inside = i < pixels, wanted = inside && (mask == nullptr || mask[i] != 0);
    bool finite = true;
    if (wanted)
        for (Index b = 0; b < bands; ++b)
            finite = finite && std::isfinite(p[b * pixels + i]) && std::isfinite(t[b * pixels + i]);
    if (inside) usable[i] = wanted && finite;
    if (counts == nullptr) return;  // so for all threads
    const int here = __syncthreads_count(inside);
    const int masked = __syncthreads_count(inside && !wanted);
    const int lost = __syncthreads_count(wanted && !finite);
    if (threadIdx.x != 0) return;
    atomicAdd(counts, static_cast<unsigned long long>(here));
    atomicAdd(counts + 1, static_cast<unsigned long long>(masked));
    atomicAdd(counts + 2, static_cast<unsigned long long>(lost));
}

// One block for each row: each thread its own parts, then all threads.
__global__ void __launch_bounds__(pixel_threads) add_row(const double* parts, Index count, double* totals) {
    double own = 0;
    for (Index k = threadIdx.x; k < count; k += pixel_threads) own += parts[blockIdx.x * count + k];
    const double all = sum_of_block<pixel_threads>(own);
    if (threadIdx.x == 0) totals[blockIdx.x] += all;
}

}  // namespace

void find_usable(Stream stream, const Measured& images, std::uint8_t* usable, unsigned long long* counts) {
    launch(find_usable_pixels, dim3(blocks_for(images.pixels(), pixel_threads), 1, 1), dim3(pixel_threads, 1, 1),
           stream, images.prediction, images.truth, images.mask, images.bands, images.pixels(), usable, counts);
}

void add_parts(Stream stream, const double* parts, Index count, Index rows, double* totals) {
    launch(add_row, dim3(static_cast<unsigned>(rows), 1, 1), dim3(pixel_threads, 1, 1), stream, parts, count, totals);
}

Index metrics_scratch(Index bands, Index rows, Index columns) {
    const Index pixels = rows * columns;
    const Index of_pairs = parts_of(pixels) * pair_sums_fields, of_windows = window_parts(rows, columns);
    return usable_doubles(pixels) + bands * (of_pairs > of_windows ? of_pairs : of_windows);
}

}  // namespace stf::cuda
