// SPDX-License-Identifier: Apache-2.0
// Indices over sliding windows of one tile.
//
// A row is summed along the columns when it comes in, and kept in a ring of rows for each index; four rows of windows
// are then summed across the ring, and their index is taken at once. No sum of a whole tile is held.
#pragma once

#include "metrics/lane_rows.h"
#include "metrics/local_index.h"

namespace stf::STF_TARGET {

class Tile {
  public:
    STF_HD Tile(const WindowTile& tile, WindowSum* sums, Index count, double* scratch, const MetricsKernel& kernel)
        : tile_(tile), kernel_(kernel), layout_(Layout::of(tile.x1 - tile.x0, tile.reach)), sums_(sums), count_(count) {
        line_p_ = scratch;
        line_t_ = line_p_ + padded(layout_.line());
        weights_ = line_t_ + padded(layout_.line());
        fields_ = weights_ + 2 * layout_.starts();
        rings_[0] = fields_ + fields * layout_.field();
        rings_[1] = rings_[0] + slots() * layout_.row();
        find_shift();
    }

    STF_HD static Index doubles(Index columns, Index reach) {
        const Layout layout = Layout::of(columns, reach);
        return 2 * padded(layout.line()) + 2 * layout.starts() + fields * layout.field() +
               2 * (reach + at_once - 1) * layout.row();
    }

    // All windows of the tile; adds to the totals.
    STF_HD void measure() {
        for (Index k = 0; k < count_; ++k) weigh_columns(*sums_[k].index, weights_ + k * layout_.starts());
        Index next = tile_.y0;
        for (Index y = tile_.y0; y < tile_.y1; y += at_once) {
            for (; next < y + at_once - 1 + tile_.reach; ++next) take_row(next);
            for (Index k = 0; k < count_; ++k) {
                const WindowedIndex& index = *sums_[k].index;
                const Index begin = y > index.first_row ? y : index.first_row;
                const Index stop = y + at_once < tile_.y1 ? y + at_once : tile_.y1;
                const Index end = stop < index.last_row ? stop : index.last_row;
                if (begin < end)
                    dispatch(k, [&](const auto& taps, auto kind) { across(k, taps, kind, y, begin, end); });
            }
        }
    }

  private:
    template <Index2d kind_>
    struct Kind {
        static constexpr Index2d value = kind_;
    };

    STF_HD static Index padded(Index n) { return (n + 7) / 8 * 8; }
    STF_HD Index slots() const { return tile_.reach + at_once - 1; }

    STF_HD double* slot(Index k, Index y) const { return rings_[k] + (y - tile_.y0) % slots() * layout_.row(); }

    // Calls with the weights of an index as the compiler may know them, and with its kind.
    template <class Call>
    STF_HD void dispatch(Index k, const Call& call) const {
        const WindowedIndex& index = *sums_[k].index;
        if (index.kind == Index2d::uqi) {
            call(Taps<8, true>(index), Kind<Index2d::uqi>{});
        } else if (index.size == 11 && !index.uniform) {
            call(Taps<11, false>(index), Kind<Index2d::ssim>{});
        } else if (index.size == 7 && index.uniform) {
            call(Taps<7, true>(index), Kind<Index2d::ssim>{});
        } else {
            call(Taps<0, false>(index), Kind<Index2d::ssim>{});
        }
    }

    STF_HD bool is_usable(Index y, Index x) const {
        return tile_.usable == nullptr || tile_.usable[(y - tile_.y0) * tile_.usable_columns + (x - tile_.x0)] != 0;
    }

    STF_HD Index columns() const {
        const Index reached = tile_.x1 + tile_.reach - 1;
        return (reached < tile_.width ? reached : tile_.width) - tile_.x0;
    }

    STF_HD void read(const Plane& plane, Index y, Index x, Index n, double* out) const {
        kernel_.convert(plane.at(y, x), plane.type, n, plane.scale, plane.offset, out);
    }

    // Values are taken less one of the tile: variances do not feel it and keep their digits. The median of three pixels
    // is near to most of them, whatever one of them is.
    STF_HD void find_shift() {
        double p[3] = {}, t[3] = {};
        for (Index k = 0; k < 3; ++k) read_usable(k, p[k], t[k]);
        shift_p_ = median(p[0], p[1], p[2]);
        shift_t_ = median(t[0], t[1], t[2]);
    }

    // The first usable pixel from the start, the middle or the end of the tile on.
    STF_HD void read_usable(Index place, double& p, double& t) const {
        const Index reached = tile_.y1 + tile_.reach - 1, bottom = reached < tile_.height ? reached : tile_.height;
        const Index across = columns(), pixels = (bottom - tile_.y0) * across;
        for (Index k = 0, at = place * (pixels - 1) / 2; k < pixels; ++k, at = at + 1 < pixels ? at + 1 : 0) {
            const Index y = tile_.y0 + at / across, x = tile_.x0 + at % across;
            if (!is_usable(y, x)) continue;
            read(tile_.p, y, x, 1, &p);
            read(tile_.t, y, x, 1, &t);
            return;
        }
    }

    STF_HD static bool is_float(const Plane& plane) {
        return plane.type == PixelType::f32 && plane.scale == 1.0 && plane.offset == 0.0;
    }

    STF_HD void ask_for_next(const Plane& plane, Index y) const {
        if (y + 1 < tile_.height) prefetch(plane.at(y + 1, tile_.x0), columns() * bytes_of(plane.type));
    }

    // One row of one image. Pixels that do not count, and those beyond the image, have the shift as value.
    STF_HD void read_line(const Plane& plane, Index y, double shift, double* line) const {
        const Index n = columns(), length = layout_.line();
        read(plane, y, tile_.x0, n, line);
        ask_for_next(plane, y);
        for (Index j = n; j < length; ++j) line[j] = shift;
        if (tile_.usable == nullptr) return;
        const std::uint8_t* usable = tile_.usable + (y - tile_.y0) * tile_.usable_columns;
        for (Index j = 0; j < n; ++j) line[j] = usable[j] ? line[j] : shift;
    }

    // Rows below the image belong to no window that counts; what their place in the rings holds does not matter.
    STF_HD void take_row(Index y) {
        if (y >= tile_.height) return;
        if (tile_.usable == nullptr && is_float(tile_.p) && is_float(tile_.t) &&
            tile_.x0 + layout_.line() <= tile_.width) {
            const auto* p = reinterpret_cast<const float*>(tile_.p.at(y, tile_.x0));
            const auto* t = reinterpret_cast<const float*>(tile_.t.at(y, tile_.x0));
            ask_for_next(tile_.p, y);
            ask_for_next(tile_.t, y);
            fill_fields(layout_, p, t, shift_p_, shift_t_, fields_);
        } else {
            read_line(tile_.p, y, shift_p_, line_p_);
            read_line(tile_.t, y, shift_t_, line_t_);
            fill_fields(layout_, line_p_, line_t_, shift_p_, shift_t_, fields_);
        }
        for (Index k = 0; k < count_; ++k) dispatch(k, [&](const auto& taps, auto) { along(taps, slot(k, y)); });
    }

    // Sums along the row, of windows that begin in each column. The fields of a vector lie together: across the ring, a
    // row is then one stream of memory instead of four.
    template <class Weights>
    STF_HD void along(const Weights& taps, double* STF_RESTRICT out) const {
        for (Index i = 0; i < layout_.span; i += at_once) {
            STF_UNROLL
            for (Index f = 0; f < fields; ++f) {
                const double* from = fields_ + f * layout_.field() + i * lanes;
                Vector sums[at_once];
                taps.sums([&](Index k) { return load<Vector>(from + k * lanes); }, sums);
                STF_UNROLL
                for (int r = 0; r < at_once; ++r) store(out + ((i + r) * fields + f) * lanes, sums[r]);
            }
        }
    }

    // 1 where a window of the index may begin in that column, in the order of the lanes.
    STF_HD void weigh_columns(const WindowedIndex& index, double* weights) const {
        for (Index lane = 0; lane < lanes; ++lane)
            for (Index i = 0; i < layout_.span; ++i) {
                const Index x = tile_.x0 + lane * layout_.span + i;
                const bool counts = x >= index.first_column && x < index.last_column && x < tile_.x1;
                weights[i * lanes + lane] = counts ? 1.0 : 0.0;
            }
    }

    // Vectors from 0 on whose windows all begin in the index's columns.
    STF_HD Index whole_vectors(const WindowedIndex& index) const {
        if (tile_.x0 < index.first_column) return 0;
        const Index right = tile_.x1 < index.last_column ? tile_.x1 : index.last_column;
        const Index whole = right - tile_.x0 - (lanes - 1) * layout_.span;
        return whole < 0 ? 0 : whole < layout_.span ? whole : layout_.span;
    }

    // Sums of rows y ... y + 3 of windows across the ring, and the index of those in [begin, end).
    template <class Weights, class IndexKind>
    STF_HD void across(Index k, const Weights& taps, IndexKind kind, Index y, Index begin, Index end) {
        const WindowSum& sum = sums_[k];
        const Index safe = whole_vectors(*sum.index);
        if (sum.whole == nullptr && sum.map == nullptr && begin == y && end == y + at_once) {
            across_part<false>(k, taps, kind, y, begin, end, 0, safe);
            across_part<true>(k, taps, kind, y, begin, end, safe, layout_.span);
        } else {
            across_part<true>(k, taps, kind, y, begin, end, 0, layout_.span);
        }
    }

    template <bool weighted, class Weights, class IndexKind>
    STF_HD void across_part(Index k, const Weights& taps, IndexKind kind, Index y, Index begin, Index end, Index first,
                            Index last) {
        WindowSum& sum = sums_[k];
        const WindowedIndex& index = *sum.index;
        const double scale = index.uniform ? 1.0 / static_cast<double>(index.size * index.size) : 1.0;
        const double* known[Weights::known > 0 ? Weights::known + at_once - 1 : 1];
        if constexpr (Weights::known > 0)
            for (int r = 0; r < Weights::known + at_once - 1; ++r) known[r] = slot(k, y + r);
        Vector total{};
        for (Index i = first; i < last; ++i) {
            Vector means[fields][at_once];
            STF_UNROLL
            for (Index f = 0; f < fields; ++f) {
                const Index at = (i * fields + f) * lanes;
                if constexpr (Weights::known > 0) {
                    taps.sums([&](Index r) { return load<Vector>(known[r] + at); }, means[f]);
                } else {
                    taps.sums([&](Index r) { return load<Vector>(slot(k, y + r) + at); }, means[f]);
                }
            }
            STF_UNROLL
            for (int r = 0; r < at_once; ++r) {
                if (index.uniform)
                    for (Index f = 0; f < fields; ++f) means[f][r] = means[f][r] * scale;
                Vector value = value_of(kind, index, means[0][r], means[1][r], means[2][r], means[3][r]);
                if constexpr (weighted) {
                    if (y + r < begin || y + r >= end) continue;
                    value = weigh(k, y + r, i, value);
                }
                total += value;
            }
        }
        sum.total += sum_of(total);
    }

    template <class IndexKind>
    STF_HD Vector value_of(IndexKind, const WindowedIndex& index, Vector p, Vector t, Vector squares,
                           Vector product) const {
        const auto local = local_statistics<Vector>(p, t, squares, product, shift_p_, shift_t_);
        if constexpr (IndexKind::value == Index2d::ssim) {
            return structural_similarity<Vector>(local, index.c1, index.c2);
        } else {
            return universal_quality<Vector>(local);
        }
    }

    // The value where the window counts, and 0 elsewhere; notes it in the map.
    STF_HD Vector weigh(Index k, Index row, Index i, Vector value) const {
        const WindowSum& sum = sums_[k];
        Vector weight = load<Vector>(weights_ + k * layout_.starts() + i * lanes);
        alignas(64) double counts[lanes], values[lanes];
        if (sum.whole != nullptr) {
            const Index n = tile_.x1 - tile_.x0;
            const std::uint8_t* whole = sum.whole + (row - tile_.y0) * n;
            for (Index lane = 0; lane < lanes; ++lane) {
                const Index x = lane * layout_.span + i;
                counts[lane] = x < n ? static_cast<double>(whole[x]) : 0.0;
            }
            weight = weight * load<Vector>(counts);
        }
        if (sum.map != nullptr) {
            const WindowedIndex& index = *sum.index;
            store(values, value);
            store(counts, weight);
            float* map = sum.map + (row - index.first_row) * sum.map_columns + (tile_.x0 + i - index.first_column);
            for (Index lane = 0; lane < lanes; ++lane)
                if (counts[lane] > 0) map[lane * layout_.span] = static_cast<float>(values[lane]);
        }
        return weight > 0.0 ? value : Vector{};
    }

    const WindowTile& tile_;
    const MetricsKernel& kernel_;
    Layout layout_;
    WindowSum* sums_;
    Index count_;
    double *line_p_, *line_t_, *weights_, *fields_, *rings_[2];
    double shift_p_, shift_t_;
};

}  // namespace stf::STF_TARGET
