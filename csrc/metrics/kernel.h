// SPDX-License-Identifier: Apache-2.0
// The inner loops of the metrics, compiled once for each instruction set; the driver chooses one table at run time.
#pragma once

#include <cstdint>

#include "metrics/sums.h"
#include "stf/dispatch.h"
#include "stf/types.h"

namespace stf {

enum class PixelType { u8, i8, u16, i16, u32, i32, f32, f64 };

constexpr Index bytes_of(PixelType type) {
    switch (type) {
        case PixelType::u8:
        case PixelType::i8:
            return 1;
        case PixelType::u16:
        case PixelType::i16:
            return 2;
        case PixelType::f64:
            return 8;
        default:
            return 4;
    }
}

// One band of one raster: value = raw * scale + offset. Columns are adjacent; rows and bands are anywhere.
struct Plane {
    const char* first;
    Index row_bytes;
    PixelType type;
    double scale;
    double offset;

    const char* at(Index y, Index x) const { return first + y * row_bytes + x * bytes_of(type); }
};

// Rows of a tile lie far apart in memory, where no machine guesses the next one: it is asked for while this one is
// worked on.
inline void prefetch(const char* first, Index bytes) {
    constexpr Index cache_line = 64;
    for (Index i = 0; i < bytes; i += cache_line) STF_PREFETCH(first + i);
}

struct AngleSums {
    double total = 0;  // radians
    std::int64_t pixels = 0;
    std::int64_t zero_vectors = 0;
};

// Bin k of [low, high] holds the errors with floor((error - low) / width) == k; `high` itself is in the last one.
struct ErrorBins {
    double low;
    double high;
    Index count;
};

enum class Index2d { ssim, uqi };

// An index over sliding windows, and where windows begin (their first pixel).
struct WindowedIndex {
    Index2d kind;
    Index size;
    bool uniform;
    const double* taps;  // `size` symmetric weights along one axis that sum to one; of equal weights: ones
    double c1, c2;       // of SSIM
    Index first_row, last_row, first_column, last_column;
};

// Windows of one band that begin in rows [y0, y1) and columns [x0, x1) of images of `height` x `width`.
struct WindowTile {
    Plane p, t;
    Index height, width;
    Index y0, y1, x0, x1;
    Index reach;                 // rows and columns of the largest window
    const std::uint8_t* usable;  // from (y0, x0), `usable_columns` a row, to the end of the reach; null: all
    Index usable_columns;
};

struct WindowSum {
    const WindowedIndex* index;
    const std::uint8_t* whole;  // (y1 - y0) x (x1 - x0), 1 where a window counts; null: all in the index's range
    double total;
    float* map;  // values of windows from (index.first_row, index.first_column), or null
    Index map_columns;
};

struct MetricsKernel {
    void (*convert)(const void* raw, PixelType type, Index count, double scale, double offset, double* out);
    bool (*is_finite)(const void* raw, PixelType type, Index count);
    // Of `count` pairs; meanwhile the `ahead` pairs behind them are asked for. Where a value is not finite, neither is
    // the sum of errors.
    PairSums (*pairs_f32)(const float* p, const float* t, Index count, Index ahead);
    PairSums (*pairs_f64)(const double* p, const double* t, Index count, Index ahead);
    void (*angles_f32)(const float* const* p, const float* const* t, Index bands, Index count, AngleSums& sums);
    void (*angles_f64)(const double* const* p, const double* const* t, Index bands, Index count, AngleSums& sums);
    void (*errors_f32)(const float* p, const float* t, Index count, const ErrorBins& bins, std::int64_t* counts);
    void (*errors_f64)(const double* p, const double* t, Index count, const ErrorBins& bins, std::int64_t* counts);
    Index (*window_doubles)(Index columns, Index reach);  // scratch of `windows`, to be aligned to 64 bytes
    void (*windows)(const WindowTile& tile, WindowSum* sums, Index count, double* scratch);
    std::uint64_t (*read)(const std::uint64_t* words, Index count);
};

const MetricsKernel& metrics_kernel(Level level = machine_level());

}  // namespace stf

STF_DECLARE_TARGETS(const MetricsKernel& metrics_table())
