// SPDX-License-Identifier: Apache-2.0
// Tiles -> rows of the scene.
#pragma once

#include "stf/types.h"

namespace stf {

// Rows [first_row, first_row + rows) of the scene, all columns, as float sums.
struct Accumulator {
    Index channels;
    Index rows;
    Index columns;
    Index first_row;
};

// sums[c, y + i, x + j] += row_weight[i] * column_weight[j] * tile[c, i, j].
// Pixels of weight 0 are not read; parts of the tile outside of the accumulator are left out.
void blend(const float* tile, Index tile_rows, Index tile_columns, Index y, Index x, const float* row_weight,
           const float* column_weight, float* sums, const Accumulator& shape);

// stored = round(clamp(sum * scale + offset, low, high)) in the type's range, never the nodata value;
// nodata where valid == 0 (valid may be null: all valid) or the sum is not finite.
// Returns how many sums were not finite although their pixel is valid.
template <class T>
Index finalise(const float* sums, const std::uint8_t* valid, Index channels, Index pixels, const float* scale,
               const float* offset, float low, float high, T nodata, T* stored);

#define STF_FOR_EACH_STORED_TYPE(X) \
    X(std::uint8_t)                 \
    X(std::uint16_t)                \
    X(std::int16_t)                 \
    X(float)

}  // namespace stf
