// SPDX-License-Identifier: Apache-2.0
// Partial sums of every figure in one pass over prediction, truth and mask.
#pragma once

#include <vector>

#include "metrics/kernel.h"

namespace stf {

// Bands of one raster. Pixels of a row are adjacent; rows and bands are anywhere.
struct Image {
    const char* first;
    Index band_bytes;
    Index row_bytes;
    PixelType type;
    std::vector<double> scale, offset;  // of each band

    Plane band(Index b) const {
        const auto i = static_cast<std::size_t>(b);
        return {first + b * band_bytes, row_bytes, type, scale[i], offset[i]};
    }
};

// Rows above `first_row` and columns left of `first_column` are context: they are part of windows only.
struct Measurement {
    Image prediction, truth;
    Index bands, height, width;
    const std::uint8_t* mask;  // 0 where a pixel is left out; null: none is
    Index mask_row_bytes;
    Index first_row, first_column;
    bool angles;
    const ErrorBins* bins;  // null: no histogram
    std::vector<WindowedIndex> indices;
    Index map_rows, map_columns;
    Index threads;
    const MetricsKernel* kernel;
};

// What is there is added to, so that a scene may be measured in parts. Null: not wanted.
struct MeasuredSums {
    PairSums* pairs;              // of each band
    AngleSums* angles;            // of all
    std::int64_t* counts;         // pixels, masked, not finite
    std::int64_t* errors;         // (bands, bins + 2)
    double* window_totals;        // (indices, bands)
    std::int64_t* window_counts;  // of each index
    float* map;                   // (bands, map_rows, map_columns) of the first index
};

// The sums do not depend on the number of threads: pieces are fixed, and are added in their order.
void measure(const Measurement& measurement, const MeasuredSums& sums);

void merge_pairs(PairSums* into, const PairSums* other, Index bands);

// Reads words on several threads and does as little as can be with them: what any pass over them costs at least.
std::uint64_t read_words(const std::uint64_t* words, Index count, Index threads);

}  // namespace stf
