// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "metrics/pixel_loops.h"
#include "metrics/usable_cuda.h"
#include "stf/device_reduce.h"

namespace stf::cuda {

namespace {

constexpr int merging_threads = 64;

// The sums of one part of one band, about the median of three of its pixels: the first, the last, and one between.
__global__ void __launch_bounds__(pixel_threads)
    sum_part(const float* p, const float* t, const std::uint8_t* usable, Index pixels, PairSums* parts) {
    const Index part = blockIdx.x, band = blockIdx.y;
    const Index begin = part * part_pixels, end = begin + part_pixels < pixels ? begin + part_pixels : pixels;
    const Index centre = begin + (end - begin) / 2;
    p += band * pixels;
    t += band * pixels;
    PairSums& out = parts[band * gridDim.x + part];
    Index first = pixels, between = pixels, last = -1;
    for (Index i = begin + threadIdx.x; i < end; i += pixel_threads) {
        if (!usable[i]) continue;
        if (first == pixels) first = i;
        if (between == pixels && i >= centre) between = i;
        last = i;
    }
    first = least_of_block<pixel_threads>(first);
    between = least_of_block<pixel_threads>(between);
    last = greatest_of_block<pixel_threads>(last);
    if (last < 0) {  // so for all threads
        if (threadIdx.x == 0) out = PairSums{};
        return;
    }
    if (between == pixels) between = last;
    const auto shift_of = [&](const float* of) {
        return STF_TARGET::median(static_cast<double>(of[first]), static_cast<double>(of[between]),
                                  static_cast<double>(of[last]));
    };
    const double shift_p = shift_of(p), shift_t = shift_of(t);
    STF_TARGET::PairLanes<double> own;
    own.least_t = own.greatest_t = shift_t;
    double count = 0;
    for (Index i = begin + threadIdx.x; i < end; i += pixel_threads) {
        if (!usable[i]) continue;
        own.add(static_cast<double>(p[i]), static_cast<double>(t[i]), shift_p, shift_t, 1.0);
        count += 1;
    }
    STF_TARGET::PairLanes<double> all;
    all.p = sum_of_block<pixel_threads>(own.p);
    all.t = sum_of_block<pixel_threads>(own.t);
    all.pp = sum_of_block<pixel_threads>(own.pp);
    all.tt = sum_of_block<pixel_threads>(own.tt);
    all.pt = sum_of_block<pixel_threads>(own.pt);
    all.error = sum_of_block<pixel_threads>(own.error);
    all.absolute_error = sum_of_block<pixel_threads>(own.absolute_error);
    all.squared_error = sum_of_block<pixel_threads>(own.squared_error);
    all.least_t = least_of_block<pixel_threads>(own.least_t);
    all.greatest_t = greatest_of_block<pixel_threads>(own.greatest_t);
    count = sum_of_block<pixel_threads>(count);
    if (threadIdx.x == 0) out = STF_TARGET::pair_sums(all, count, shift_p, shift_t);
}

// All parts of a band, where they lie: each thread its own, then the threads as a tree. There are few blocks: one that
// is alone on a multiprocessor is enough, and leaves the registers that two sums take.
__global__ void __launch_bounds__(merging_threads, 1) merge_parts(PairSums* parts, Index count, PairSums* sums) {
    const Index band = blockIdx.x, own = threadIdx.x;
    PairSums* here = parts + band * count;
    for (Index k = own + merging_threads; k < count; k += merging_threads) STF_TARGET::merge(here[own], here[k]);
    for (Index step = merging_threads / 2; step > 0; step /= 2) {
        __syncthreads();
        if (own < step && own + step < count) STF_TARGET::merge(here[own], here[own + step]);
    }
    if (own == 0) STF_TARGET::merge(sums[band], here[0]);
}

}  // namespace

void measure_pairs(Stream stream, const Measured& images, PairSums* sums, unsigned long long* counts, double* scratch) {
    const Index pixels = images.pixels(), parts = parts_of(pixels);
    const Scratch own = split(scratch, pixels);
    auto* part_sums = reinterpret_cast<PairSums*>(own.sums);
    const auto columns = static_cast<unsigned>(parts), rows = static_cast<unsigned>(images.bands);
    find_usable(stream, images, own.usable, counts);
    launch(sum_part, dim3(columns, rows, 1), dim3(pixel_threads, 1, 1), stream, images.prediction, images.truth,
           own.usable, pixels, part_sums);
    launch(merge_parts, dim3(rows, 1, 1), dim3(merging_threads, 1, 1), stream, part_sums, parts, sums);
}

}  // namespace stf::cuda
