// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <type_traits>
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

// Floats of a tile's row: the row itself, or what it is rounded from while that is in the nearest cache.
template <class E>
class FloatRow {
  public:
    explicit FloatRow(Index columns) : held_(std::is_same_v<E, float> ? 0 : static_cast<std::size_t>(columns)) {}

    float* of([[maybe_unused]] E* row) {
        if constexpr (std::is_same_v<E, float>)
            return row;
        else
            return held_.data();
    }

    void finish([[maybe_unused]] E* row) const {
        if constexpr (!std::is_same_v<E, float>)
            STF_CALL(round_row, held_.data(), static_cast<Index>(held_.size()), row);
    }

  private:
    std::vector<float> held_;
};

}  // namespace

template <class T, class E>
void gather(const T* strip, const Strip& shape, const Normalisation& normalisation, Border border, Index unit, Index y,
            Index x, Index tile_rows, Index tile_columns, E* tile) {
    std::vector<Index> columns(static_cast<std::size_t>(tile_columns));
    for (Index j = 0; j < tile_columns; ++j)
        columns[static_cast<std::size_t>(j)] = border_index(x + j, shape.columns, border, unit);
    // Columns inside of the grid are contiguous: only what lies outside goes through the index.
    const Index inner_begin = std::clamp<Index>(-x, 0, tile_columns);
    const Index inner_end = std::clamp<Index>(shape.columns - x, inner_begin, tile_columns);
    FloatRow<E> floats(tile_columns);

    for (Index c = 0; c < shape.channels; ++c) {
        const float scale = normalisation.scale[c], offset = normalisation.offset[c];
        const float low = normalisation.low, high = normalisation.high;
        for (Index i = 0; i < tile_rows; ++i) {
            E* row_of_tile = tile + (c * tile_rows + i) * tile_columns;
            float* out = floats.of(row_of_tile);
            const Index grid_row = border_index(y + i, shape.grid_rows, border, unit);
            if (grid_row < 0) {
                std::fill(out, out + tile_columns, 0.0F);
                floats.finish(row_of_tile);
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
            floats.finish(row_of_tile);
        }
    }
}

template <class T, class E>
void gather_bilinear(const T* strip, const Strip& shape, const Normalisation& normalisation, const Interpolation& rows,
                     const Interpolation& columns, E* tile) {
    // Each input row is stretched to the tile's columns once; two of them are mixed for every output row.
    std::vector<float> stretched[2];
    Index held[2] = {-1, -1};
    for (auto& row : stretched) row.resize(static_cast<std::size_t>(columns.size));
    FloatRow<E> floats(columns.size);

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
            E* row_of_tile = tile + (c * rows.size + i) * columns.size;
            float* out = floats.of(row_of_tile);
            for (Index j = 0; j < columns.size; ++j) out[j] = mixed(above[j], below[j], weight);
            floats.finish(row_of_tile);
        }
    }
}

#define STF_INSTANTIATE_FOR(T, E)                                                                                \
    template void gather<T, E>(const T*, const Strip&, const Normalisation&, Border, Index, Index, Index, Index, \
                               Index, E*);                                                                       \
    template void gather_bilinear<T, E>(const T*, const Strip&, const Normalisation&, const Interpolation&,      \
                                        const Interpolation&, E*);
#define STF_INSTANTIATE(T) STF_FOR_EACH_TILE_TYPE(STF_INSTANTIATE_FOR, T)
STF_FOR_EACH_PIXEL_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE
#undef STF_INSTANTIATE_FOR

}  // namespace stf
