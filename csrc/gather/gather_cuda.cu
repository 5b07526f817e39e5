// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "gather/gather_cuda.h"
#include "stf/check.h"
#include "stf/device.h"

namespace stf::cuda {

namespace {

template <class T>
__device__ float value_at(const T* row, Index column, const Normalisation& values, Index channel) {
    return normalised(static_cast<float>(row[column]), values.scale[channel], values.offset[channel], values.low,
                      values.high);
}

template <class T, class E>
__global__ void __launch_bounds__(block_columns* block_rows)
    gather_pixels(const T* strip, Strip shape, Normalisation values, Border border, Index unit, Index y, Index x,
                  Index rows, Index columns, E* tile) {
    const Place at = place_here();
    if (at.row >= rows || at.column >= columns) return;
    const Index row = border_index(y + at.row, shape.grid_rows, border, unit);
    const Index column = border_index(x + at.column, shape.columns, border, unit);
    float value = 0;
    if (row >= 0 && column >= 0) {
        const T* in = strip + (at.channel * shape.rows + row - shape.first_row) * shape.columns;
        value = value_at(in, column, values, at.channel);
    }
    tile[(at.channel * rows + at.row) * columns + at.column] = rounded<E>(value);
}

template <class T, class E>
__global__ void __launch_bounds__(block_columns* block_rows)
    interpolate_pixels(const T* strip, Strip shape, Normalisation values, Interpolation along_y, Interpolation along_x,
                       E* tile) {
    const Place at = place_here();
    if (at.row >= along_y.size || at.column >= along_x.size) return;
    const Neighbours rows = neighbours(along_y.first[at.row], shape.grid_rows);
    const Neighbours columns = neighbours(along_x.first[at.column], shape.columns);
    const float weight_x = along_x.weight[at.column];
    const float weight_y = rows.first == rows.second ? 0.0F : along_y.weight[at.row];
    const auto stretched = [&](Index grid_row) {
        const Index row = grid_row - shape.first_row;
        if (row < 0 || row >= shape.rows) return std::numeric_limits<float>::quiet_NaN();
        const T* in = strip + (at.channel * shape.rows + row) * shape.columns;
        return mixed(value_at(in, columns.first, values, at.channel), value_at(in, columns.second, values, at.channel),
                     weight_x);
    };
    const float above = stretched(rows.first);
    // A weight of 0 does not need the next row, which the strip may not hold.
    const float below = weight_y == 0.0F ? above : stretched(rows.second);
    tile[(at.channel * along_y.size + at.row) * along_x.size + at.column] = rounded<E>(mixed(above, below, weight_y));
}

}  // namespace

template <class T, class E>
void gather(Stream stream, const T* strip, const Strip& shape, const Normalisation& normalisation, Border border,
            Index unit, Index y, Index x, Index tile_rows, Index tile_columns, E* tile) {
    for (Index i = 0; i < tile_rows; ++i) {
        const Index row = border_index(y + i, shape.grid_rows, border, unit);
        STF_CHECK(row < 0 || (row >= shape.first_row && row < shape.first_row + shape.rows), "the tile needs row ", row,
                  " of the grid; the strip holds [", shape.first_row, ", ", shape.first_row + shape.rows, ")");
    }
    launch(gather_pixels<T, E>, image_grid(shape.channels, tile_rows, tile_columns), image_block(), stream, strip,
           shape, normalisation, border, unit, y, x, tile_rows, tile_columns, tile);
}

template <class T, class E>
void gather_bilinear(Stream stream, const T* strip, const Strip& shape, const Normalisation& normalisation,
                     const Interpolation& rows, const Interpolation& columns, E* tile) {
    launch(interpolate_pixels<T, E>, image_grid(shape.channels, rows.size, columns.size), image_block(), stream, strip,
           shape, normalisation, rows, columns, tile);
}

#define STF_INSTANTIATE_FOR(T, E)                                                                                   \
    template void gather<T, E>(Stream, const T*, const Strip&, const Normalisation&, Border, Index, Index, Index,   \
                               Index, Index, E*);                                                                   \
    template void gather_bilinear<T, E>(Stream, const T*, const Strip&, const Normalisation&, const Interpolation&, \
                                        const Interpolation&, E*);
#define STF_INSTANTIATE(T) STF_FOR_EACH_TILE_TYPE(STF_INSTANTIATE_FOR, T)
STF_FOR_EACH_PIXEL_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE
#undef STF_INSTANTIATE_FOR

}  // namespace stf::cuda
