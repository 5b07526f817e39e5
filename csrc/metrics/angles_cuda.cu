// SPDX-License-Identifier: Apache-2.0
#include "metrics/pixel_loops.h"
#include "metrics/usable_cuda.h"
#include "stf/device_reduce.h"

namespace stf::cuda {

namespace {

struct Bands {
    const float* first;
    Index pixels;

    STF_HD const float* operator[](Index b) const { return first + b * pixels; }
};

__global__ void __launch_bounds__(pixel_threads)
    add_angles_of_part(const float* p, const float* t, const std::uint8_t* usable, Index bands, Index pixels,
                       double* parts, unsigned long long* counts) {
    const Index begin = static_cast<Index>(blockIdx.x) * part_pixels;
    const Index end = begin + part_pixels < pixels ? begin + part_pixels : pixels;
    double angles = 0, directed = 0;
    Index seen = 0;
    for (Index i = begin + threadIdx.x; i < end; i += pixel_threads) {
        if (!usable[i]) continue;
        STF_TARGET::angles_at<double, 1>(Bands{p, pixels}, Bands{t, pixels}, bands, i, angles, directed);
        ++seen;
    }
    angles = sum_of_block<pixel_threads>(angles);
    const auto found = static_cast<Index>(sum_of_block<pixel_threads>(directed));
    seen = sum_of_block<pixel_threads>(seen);
    if (threadIdx.x != 0) return;
    parts[blockIdx.x] = angles;
    atomicAdd(counts, static_cast<unsigned long long>(found));
    atomicAdd(counts + 1, static_cast<unsigned long long>(seen - found));
}

}  // namespace

void measure_angles(Stream stream, const Measured& images, double* total, unsigned long long* counts, double* scratch) {
    const Index pixels = images.pixels(), parts = parts_of(pixels);
    const Scratch own = split(scratch, pixels);
    find_usable(stream, images, own.usable, nullptr);
    launch(add_angles_of_part, dim3(static_cast<unsigned>(parts), 1, 1), dim3(pixel_threads, 1, 1), stream,
           images.prediction, images.truth, own.usable, images.bands, pixels, own.sums, counts);
    add_parts(stream, own.sums, parts, 1, total);
}

}  // namespace stf::cuda
