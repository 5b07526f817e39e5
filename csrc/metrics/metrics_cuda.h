// SPDX-License-Identifier: Apache-2.0
// The sums of metrics.h on a device, of float32 images (bands, pixels). Parts of an image are fixed and are added in
// one order: sums do not depend on the device.
#pragma once

#include "metrics/kernel.h"

namespace stf::cuda {

// Images, and which pixels count: where the mask is not 0 (null: everywhere) and every band of both is finite.
struct Measured {
    const float* prediction;
    const float* truth;
    const std::uint8_t* mask;
    Index bands, rows, columns;

    Index pixels() const { return rows * columns; }
};

// Doubles that any of the operations needs beside the images.
Index metrics_scratch(Index bands, Index rows, Index columns);

// Adds to the sums of each band, and to counts: pixels, those masked, those wanted and not finite.
void measure_pairs(Stream stream, const Measured& images, PairSums* sums, unsigned long long* counts, double* scratch);

// Adds the angles of all pixels, in radians, and to counts: pixels with an angle, and pixels with a spectrum of zeros.
void measure_angles(Stream stream, const Measured& images, double* total, unsigned long long* counts, double* scratch);

// Adds to (bands, bins + 2) counts: errors below, in the bins, above.
void measure_errors(Stream stream, const Measured& images, const ErrorBins& bins, unsigned long long* counts,
                    double* scratch);

// Rows and columns of the largest window on a device.
constexpr Index most_window = 63;

// Adds the sum of the index over its windows to totals, of each band, and how many windows there are to count. Taps lie
// on the host.
void measure_windows(Stream stream, const Measured& images, const WindowedIndex& index, double* totals,
                     unsigned long long* count, double* scratch);

}  // namespace stf::cuda
