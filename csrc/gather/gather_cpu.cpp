// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "gather/gather.h"
#include "stf/check.h"

namespace stf {

namespace {

float normalised(float raw, float scale, float offset, float low, float high) {
    return std::min(std::max(raw * scale + offset, low), high);
}

Index strip_row(Index grid_row, const Strip& shape) {
    const Index row = grid_row - shape.first_row;
    STF_CHECK(row >= 0 && row < shape.rows, "the tile needs row ", grid_row, " of the grid; the strip holds [",
              shape.first_row, ", ", shape.first_row + shape.rows, ")");
    return row;
}

}  // namespace

Index border_index(Index i, Index length, Border border, Index unit) {
    if (i >= 0 && i < length) return i;
    if (border == Border::zero) return -1;
    if (border == Border::edge) return i < 0 ? 0 : length - 1;
    if (border == Border::mirror) {
        const Index far = (length + unit - 1) / unit * unit;
        const Index phase = ((i % (2 * far)) + 2 * far) % (2 * far);
        const Index folded = phase < far ? phase : 2 * far - 1 - phase;
        return folded < length ? folded : std::max<Index>(2 * length - 1 - folded, 0);
    }
    if (length == 1) return 0;
    const Index period = 2 * (length - 1);
    const Index phase = ((i % period) + period) % period;
    return phase < length ? phase : period - phase;
}

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
            for (Index j = inner_begin; j < inner_end; ++j)
                out[j] = normalised(static_cast<float>(row[x + j]), scale, offset, low, high);
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
                    const Index left = std::clamp<Index>(columns.first[j], 0, shape.columns - 1);
                    const Index right = std::min(left + 1, shape.columns - 1);
                    const float a = normalised(static_cast<float>(in[left]), scale, offset, low, high);
                    const float b = normalised(static_cast<float>(in[right]), scale, offset, low, high);
                    stretched[slot][static_cast<std::size_t>(j)] = a + columns.weight[j] * (b - a);
                }
                held[slot] = grid_row;
            }
            return stretched[slot].data();
        };
        for (Index i = 0; i < rows.size; ++i) {
            const Index upper = std::clamp<Index>(rows.first[i], 0, shape.grid_rows - 1);
            const Index lower = std::min(upper + 1, shape.grid_rows - 1);
            const float weight = lower == upper ? 0.0F : rows.weight[i];
            const float* above = stretch(upper);
            // A weight of 0 does not need the next row, which the strip may not hold.
            const float* below = weight == 0.0F ? above : stretch(lower);
            float* out = tile + (c * rows.size + i) * columns.size;
            for (Index j = 0; j < columns.size; ++j) out[j] = above[j] + weight * (below[j] - above[j]);
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
