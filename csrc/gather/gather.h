// SPDX-License-Identifier: Apache-2.0
// Raw rows of a raster -> one normalised tile.
#pragma once

#include "gather/elements.h"
#include "stf/float16.h"
#include "stf/types.h"

namespace stf {

// A strip holds all columns of a grid and the rows [first_row, first_row + rows).
struct Strip {
    Index channels;
    Index rows;
    Index columns;
    Index first_row;
    Index grid_rows;  // rows of the whole grid, where the border begins
};

// network value = clamp(raw * scale + offset, low, high), channel by channel.
struct Normalisation {
    const float* scale;
    const float* offset;
    float low;
    float high;
};

// Calls X(T, E) for each type E that the numbers of a tile may have. All arithmetic is in float; its result is rounded
// to E.
#define STF_FOR_EACH_TILE_TYPE(X, T) \
    X(T, float)                      \
    X(T, Float16)                    \
    X(T, BFloat16)

// Writes the tile (channels, tile_rows, tile_columns) whose first pixel is (y, x) of the grid.
template <class T, class E>
void gather(const T* strip, const Strip& shape, const Normalisation& normalisation, Border border, Index unit, Index y,
            Index x, Index tile_rows, Index tile_columns, E* tile);

// Bilinear positions along one axis: output pixel i mixes input pixels first[i] and first[i] + 1
// (clamped to the grid) with the weight of the second.
struct Interpolation {
    const std::int64_t* first;
    const float* weight;
    Index size;
};

// As `gather`, from a coarser grid: the tile is interpolated bilinearly after normalisation.
template <class T, class E>
void gather_bilinear(const T* strip, const Strip& shape, const Normalisation& normalisation, const Interpolation& rows,
                     const Interpolation& columns, E* tile);

}  // namespace stf
