// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "blend/blend.h"
#include "blend/row.h"

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
            STF_CALL(blend_row, in + columns.begin, row_weight[i], column_weight + columns.begin,
                     columns.end - columns.begin, out + columns.begin);
        }
    }
}

template <class T>
Index finalise(const float* sums, const std::uint8_t* valid, Index channels, Index pixels, const float* scale,
               const float* offset, float low, float high, T nodata, T* stored) {
    Index not_finite = 0;
    for (Index c = 0; c < channels; ++c) {
        not_finite += STF_CALL(finalise_row<T>, sums + c * pixels, valid, pixels, scale[c], offset[c], low, high,
                               nodata, stored + c * pixels);
    }
    return not_finite;
}

#define STF_INSTANTIATE(T)                                                                                         \
    template Index finalise<T>(const float*, const std::uint8_t*, Index, Index, const float*, const float*, float, \
                               float, T, T*);
STF_FOR_EACH_STORED_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

}  // namespace stf
