// SPDX-License-Identifier: Apache-2.0
#include "metrics/pixel_loops.h"
#include "metrics/usable_cuda.h"

namespace stf::cuda {

namespace {

// Counts that a block keeps by itself until it has seen its part; of more bins each error is added where all can see
// it.
constexpr Index own_counts = 2048;

__global__ void __launch_bounds__(pixel_threads)
    count_errors(const float* p, const float* t, const std::uint8_t* usable, Index pixels, ErrorBins bins,
                 unsigned long long* counts) {
    __shared__ unsigned own[own_counts];
    const Index places = bins.count + 2;
    const bool is_own = places <= own_counts;
    const Index begin = static_cast<Index>(blockIdx.x) * part_pixels;
    const Index end = begin + part_pixels < pixels ? begin + part_pixels : pixels;
    p += blockIdx.y * pixels;
    t += blockIdx.y * pixels;
    counts += blockIdx.y * places;
    if (is_own)
        for (Index k = threadIdx.x; k < places; k += pixel_threads) own[k] = 0;
    __syncthreads();
    const STF_TARGET::ErrorPlace place_of(bins);
    for (Index i = begin + threadIdx.x; i < end; i += pixel_threads) {
        if (!usable[i]) continue;
        const std::int32_t place = place_of(static_cast<double>(p[i]), static_cast<double>(t[i]));
        if (is_own) {
            atomicAdd(own + place, 1U);
        } else {
            atomicAdd(counts + place, 1ULL);
        }
    }
    __syncthreads();
    if (is_own)
        for (Index k = threadIdx.x; k < places; k += pixel_threads)
            if (own[k] > 0) atomicAdd(counts + k, static_cast<unsigned long long>(own[k]));
}

}  // namespace

void measure_errors(Stream stream, const Measured& images, const ErrorBins& bins, unsigned long long* counts,
                    double* scratch) {
    const Index pixels = images.pixels();
    const Scratch own = split(scratch, pixels);
    find_usable(stream, images, own.usable, nullptr);
    launch(count_errors, dim3(static_cast<unsigned>(parts_of(pixels)), static_cast<unsigned>(images.bands), 1),
           dim3(pixel_threads, 1, 1), stream, images.prediction, images.truth, own.usable, pixels, bins, counts);
}

}  // namespace stf::cuda
