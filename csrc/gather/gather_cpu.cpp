// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "gather/gather.h"
#include "gather/row.h"
#include "stf/check.h"

namespace stf {

namespace {

Index strip_row(Index grid_row, const Strip& shape) {
    const Index row = grid_row - shape.first_row;
    STF_CHECK(row >= 0 && row < shape.rows, "the tile needs row ", grid_row, " of the grid; the strip holds [",
              shape.first_row, ", ", shape.first_row + shape.rows, ")");
    return row;
}

}  // namespace

template <class T>
void gather(const T* strip, const Strip& shape, const Normalisation& normalisation, Border border, Index unit, Index y,
            Index x, Index tile_rows, Index tile_columns, float* tile) {
    std::vector<Index> columns(static_cast<std::size_t>(tile_columns));
    for (Index j = 0; j < tile_columns; ++j)
        columns[static_cast<std::size_t>(j)] = border_index(x + j, shape.columns, border, unit);
    // Columns inside of the grid are contiguous: only what lies outside goes through the index.
    const Index inner_begin = std::clamp<Index>(-x, 0, tile_columns);
    const Index inner_end = std::clamp<Index>(shape.columns - x, inner_begin, tile_columns);

    for (Index c = 0; c < shape.channels; ++c) {
        const float scale = normalisation.scale[c], offset = normalisation.offset[c];
        const float low = normalisation.low, high = normalisation.high;
        for (Index i = 0; i < tile_rows; ++i) {
            float* out = tile + (c * tile_rows + i) * tile_columns;
            const Index grid_row = border_index(y + i, shape.grid_rows, border, unit);
            if (grid_row < 0) {
                std::fill(out, out + tile_columns, 0.0F);
                continue;
            }
            const T* row = strip + (c * shape.rows + strip_row(grid_row, shape)) * shape.columns;
            const auto outside = [&](Index j) {
                const Index column = columns[static_cast<std::size_t>(j)];
                return column < 0 ? 0.0F : normalised(static_cast<float>(row[column]), scale, offset, low, high);
            };
            for (Index j = 0; j < inner_begin; ++j) out[j] = outside(j);
            STF_CALL(normalise_row<T>, row + x + inner_begin, inner_end - inner_begin, scale, offset, low, high,
                     out + inner_begin);
            for (Index j = inner_end; j < tile_columns; ++j) out[j] = outside(j);
        }
    }
}

template <class T>
void gather_bilinear(const T* strip, const Strip& shape, const Normalisation& normalisation, const Interpolation& rows,
                     const Interpolation& columns, float* tile) {
    // Each input row is stretched to the tile's columns once; two of them are mixed for every output row.
    std::vector<float> stretched[2];
    Index held[2] = {-1, -1};
    for (auto& row : stretched) row.resize(static_cast<std::size_t>(columns.size));

    for (Index c = 0; c < shape.channels; ++c) {
        const float scale = normalisation.scale[c], offset = normalisation.offset[c];
        const float low = normalisation.low, high = normalisation.high;
        held[0] = held[1] = -1;
        const auto stretch = [&](Index grid_row) -> const float* {
            const auto slot = static_cast<std::size_t>(grid_row % 2);
            if (held[slot] != grid_row) {
                const T* in = strip + (c * shape.rows + strip_row(grid_row, shape)) * shape.columns;
                for (Index j = 0; j < columns.size; ++j) {
                    const Neighbours at = neighbours(columns.first[j], shape.columns);
                    const float left = normalised(static_cast<float>(in[at.first]), scale, offset, low, high);
                    const float right = normalised(static_cast<float>(in[at.second]), scale, offset, low, high);
                    stretched[slot][static_cast<std::size_t>(j)] = mixed(left, right, columns.weight[j]);
                }
                held[slot] = grid_row;
            }
            return stretched[slot].data();
        };
        for (Index i = 0; i < rows.size; ++i) {
            const Neighbours at = neighbours(rows.first[i], shape.grid_rows);
            const float weight = at.first == at.second ? 0.0F : rows.weight[i];
            const float* above = stretch(at.first);
            // A weight of 0 does not need the next row, which the strip may not hold.
            const float* below = weight == 0.0F ? above : stretch(at.second);
            float* out = tile + (c * rows.size + i) * columns.size;
            for (Index j = 0; j < columns.size; ++j) out[j] = mixed(above[j], below[j], weight);
        }
    }
}

#define STF_INSTANTIATE(T)                                                                                           \
    template void gather<T>(const T*, const Strip&, const Normalisation&, Border, Index, Index, Index, Index, Index, \
                            float*);                                                                                 \
    template void gather_bilinear<T>(const T*, const Strip&, const Normalisation&, const Interpolation&,             \
                                     const Interpolation&, float*);
STF_FOR_EACH_PIXEL_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

}  // namespace stf
