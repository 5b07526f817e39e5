// SPDX-License-Identifier: Apache-2.0
// What the kernels of the metrics share. Included by *_cuda.cu only.
#pragma once

#include "metrics/metrics_cuda.h"
#include "stf/device.h"

namespace stf::cuda {

constexpr int pixel_threads = 256;
constexpr Index part_pixels = 32 * pixel_threads;

inline Index parts_of(Index pixels) { return (pixels + part_pixels - 1) / part_pixels; }

// At most so many parts of a band are there of sums over windows.
Index window_parts(Index rows, Index columns);

// The scratch of an operation: which pixels count, behind the sums of its parts.
inline Index usable_doubles(Index pixels) {
    constexpr Index bytes = sizeof(double);
    return (pixels + bytes - 1) / bytes;
}

struct Scratch {
    std::uint8_t* usable;
    double* sums;
};

inline Scratch split(double* scratch, Index pixels) {
    return {reinterpret_cast<std::uint8_t*>(scratch), scratch + usable_doubles(pixels)};
}

// Notes which pixels count; adds to counts, where they are wanted: pixels, those masked, those not finite.
void find_usable(Stream stream, const Measured& images, std::uint8_t* usable, unsigned long long* counts);

// Adds `count` doubles behind one another, for each of `rows`, to totals.
void add_parts(Stream stream, const double* parts, Index count, Index rows, double* totals);

}  // namespace stf::cuda
