// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "blend/blend.h"

namespace stf {

namespace {

struct Range {
    Index begin;
    Index end;
};

// The part of [0, size) with non-zero weight that falls on [0, length) when shifted by `origin`.
Range support(const float* weight, Index size, Index origin, Index length) {
    Range range{std::max<Index>(0, -origin), std::min(size, length - origin)};
    while (range.begin < range.end && weight[range.begin] == 0.0F) ++range.begin;
    while (range.end > range.begin && weight[range.end - 1] == 0.0F) --range.end;
    return range;
}

template <class T>
T stored_value(float value, T nodata) {
    if constexpr (std::is_floating_point_v<T>) {
        return value;
    } else {
        constexpr auto lowest = static_cast<float>(std::numeric_limits<T>::lowest());
        constexpr auto highest = static_cast<float>(std::numeric_limits<T>::max());
        const auto rounded = static_cast<T>(std::nearbyint(std::min(std::max(value, lowest), highest)));
        if (rounded != nodata) return rounded;
        return static_cast<T>(nodata == std::numeric_limits<T>::max() ? nodata - 1 : nodata + 1);
    }
}

}  // namespace

void blend(const float* tile, Index tile_rows, Index tile_columns, Index y, Index x, const float* row_weight,
           const float* column_weight, float* sums, const Accumulator& shape) {
    const Index top = y - shape.first_row;
    const Range rows = support(row_weight, tile_rows, top, shape.rows);
    const Range columns = support(column_weight, tile_columns, x, shape.columns);
    for (Index c = 0; c < shape.channels; ++c) {
        for (Index i = rows.begin; i < rows.end; ++i) {
            const float* in = tile + (c * tile_rows + i) * tile_columns;
            float* out = sums + (c * shape.rows + top + i) * shape.columns + x;
            const float weight = row_weight[i];
            for (Index j = columns.begin; j < columns.end; ++j) out[j] += weight * column_weight[j] * in[j];
        }
    }
}

template <class T>
Index finalise(const float* sums, const std::uint8_t* valid, Index channels, Index pixels, const float* scale,
               const float* offset, float low, float high, T nodata, T* stored) {
    Index not_finite = 0;
    for (Index c = 0; c < channels; ++c) {
        const float* in = sums + c * pixels;
        T* out = stored + c * pixels;
        for (Index p = 0; p < pixels; ++p) {
            const float value = std::min(std::max(in[p] * scale[c] + offset[c], low), high);
            const bool wanted = valid == nullptr || valid[p], finite = std::isfinite(in[p]);
            not_finite += wanted && !finite;
            out[p] = wanted && finite ? stored_value<T>(value, nodata) : nodata;
        }
    }
    return not_finite;
}

#define STF_INSTANTIATE(T)                                                                                         \
    template Index finalise<T>(const float*, const std::uint8_t*, Index, Index, const float*, const float*, float, \
                               float, T, T*);
STF_FOR_EACH_STORED_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

}  // namespace stf
