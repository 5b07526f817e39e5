// SPDX-License-Identifier: Apache-2.0
// Sums over sliding windows of one tile, in a ring of rows.
//
// Rows are kept as vectors whose lanes stand far apart: with 4 lanes and n columns, vector i holds the columns
// i, n/4 + i, n/2 + i and 3n/4 + i. Then a neighbour along a row is the next vector, whole and aligned, and no lane
// has to be shifted into another. Along the columns a window reaches the rows of the ring, along the row the vectors
// that follow. Rows and columns are worked on four at a time, so that what is loaded serves four windows.
#pragma once

#include "metrics/kernel.h"
#include "metrics/local_index.h"
#include "stf/simd.h"

namespace stf::STF_TARGET {

constexpr int at_once = 4;
constexpr Index fields = 4;  // p, t, p^2 + t^2, p t

struct Layout {
    Index span;     // window starts a lane, a multiple of `at_once`
    Index vectors;  // vectors of a field: the span, the reach of the last window, and up to a whole block of lanes
    Index slots;    // rows of the ring

    STF_HD static Layout of(Index columns, Index reach) {
        const Index span = ((columns + lanes - 1) / lanes + at_once - 1) / at_once * at_once;
        return {span, (span + reach - 1 + lanes - 1) / lanes * lanes, at_once + reach - 1};
    }
    STF_HD Index field() const { return vectors * lanes; }
    STF_HD Index row() const { return fields * field(); }
    STF_HD Index line() const { return (lanes - 1) * span + vectors; }  // columns that the lanes cover
};

// Sums of `size` neighbours among x[k], k = 0 ... , by the binary digits of the size: 8 = 2 x 2 x 2 in three additions.
// A rounding error stays in its window, and eight equal values have exactly eight times the value as sum.
template <int size, int width, int offset, int held>
STF_HD void add_digits(Vector (&power)[held], Vector (&out)[at_once]) {
    if constexpr ((size & width) != 0) {
        STF_UNROLL
        for (int r = 0; r < at_once; ++r) out[r] = offset == 0 ? power[r] : out[r] + power[r + offset];
    }
    if constexpr (2 * width <= size) {
        STF_UNROLL
        for (int k = 0; k + width < held; ++k) power[k] = power[k] + power[k + width];
        add_digits<size, 2 * width, offset + ((size & width) != 0 ? width : 0), held>(power, out);
    }
}

// Four neighbouring windows of a size that is known to the compiler; `at(k)` is the k-th value they reach.
template <int size, bool uniform, class At>
STF_HD void four_windows(const At& at, const double* taps, Vector (&out)[at_once]) {
    constexpr int held = size + at_once - 1;
    Vector x[held];
    STF_UNROLL
    for (int k = 0; k < held; ++k) x[k] = at(k);
    if constexpr (uniform) {
        add_digits<size, 1, 0, held>(x, out);
    } else {
        STF_UNROLL
        for (int r = 0; r < at_once; ++r) {
            Vector sum = x[r + size / 2] * taps[size / 2];
            STF_UNROLL
            for (int k = 0; k < size / 2; ++k)
                sum = multiply_add(x[r + k] + x[r + size - 1 - k], broadcast<Vector>(taps[k]), sum);
            out[r] = sum;
        }
    }
}

// Four neighbouring windows of any size.
template <class At>
STF_HD void four_windows_of(Index size, const At& at, const double* taps, Vector (&out)[at_once]) {
    for (int r = 0; r < at_once; ++r) {
        Vector sum{};
        for (Index k = 0; k < size; ++k) sum = multiply_add(at(r + k), broadcast<Vector>(taps[k]), sum);
        out[r] = sum;
    }
}

// A window whose size and weights the compiler knows, or not (size 0).
template <int size_, bool uniform_>
struct Shape {
    static constexpr int size = size_;
    template <class At>
    STF_HD static void sums(const WindowedIndex& index, const At& at, Vector (&out)[at_once]) {
        if constexpr (size_ > 0) {
            four_windows<size_, uniform_>(at, index.taps, out);
        } else {
            four_windows_of(index.size, at, index.taps, out);
        }
    }
};

class Tile {
  public:
    STF_HD Tile(const WindowTile& tile, double* scratch, const MetricsKernel& kernel)
        : tile_(tile), kernel_(kernel), layout_(Layout::of(tile.x1 - tile.x0, tile.reach)) {
        line_ = scratch;
        raw_ = line_ + padded(layout_.line());
        weights_ = raw_ + padded(layout_.line());
        blurred_ = weights_ + 2 * layout_.span * lanes;
        ring_ = blurred_ + at_once * layout_.row();
        next_ = tile.y0;
        find_shift();
    }

    STF_HD static Index doubles(const Layout& layout) {
        return 2 * padded(layout.line()) + 2 * layout.span * lanes + (at_once + layout.slots) * layout.row();
    }

    // All windows of the tile; adds to the totals.
    STF_HD void measure(WindowSum* sums, Index count) {
        for (Index k = 0; k < count; ++k) weigh_columns(*sums[k].index, weights_ + k * layout_.span * lanes);
        for (Index y = tile_.y0; y < tile_.y1; y += at_once) {
            fill(y + at_once - 1 + tile_.reach);
            for (Index k = 0; k < count; ++k) {
                const WindowedIndex& index = *sums[k].index;
                const Index begin = y > index.first_row ? y : index.first_row;
                const Index stop = y + at_once < tile_.y1 ? y + at_once : tile_.y1;
                const Index end = stop < index.last_row ? stop : index.last_row;
                if (begin < end) rows(y, begin, end, sums[k], weights_ + k * layout_.span * lanes);
            }
        }
    }

  private:
    STF_HD static Index padded(Index n) { return (n + 7) / 8 * 8; }

    STF_HD bool is_usable(Index y, Index x) const {
        return tile_.usable == nullptr || tile_.usable[(y - tile_.y0) * tile_.usable_columns + (x - tile_.x0)] != 0;
    }

    STF_HD Index columns() const {
        const Index reached = tile_.x1 + tile_.reach - 1;
        return (reached < tile_.width ? reached : tile_.width) - tile_.x0;
    }

    STF_HD void read(const Plane& plane, Index y, Index x, Index n, double* out) const {
        const Index size = plane.type == PixelType::f64                                   ? 8
                           : plane.type == PixelType::u8 || plane.type == PixelType::i8   ? 1
                           : plane.type == PixelType::u16 || plane.type == PixelType::i16 ? 2
                                                                                          : 4;
        kernel_.convert(plane.first + y * plane.row_bytes + x * size, plane.type, n, plane.scale, plane.offset, out);
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

    STF_HD double* slot(Index y) const { return ring_ + (y - tile_.y0) % layout_.slots * layout_.row(); }

    // One row of one image into the lanes. Pixels that do not count, and those beyond the image, are zero.
    STF_HD void spread(const Plane& plane, Index y, double shift, double* out) {
        const Index n = columns(), length = layout_.line();
        read(plane, y, tile_.x0, n, raw_);
        for (Index j = 0; j < n; ++j) line_[j] = raw_[j] - shift;
        for (Index j = n; j < length; ++j) line_[j] = 0;
        if (tile_.usable != nullptr) {
            const std::uint8_t* usable = tile_.usable + (y - tile_.y0) * tile_.usable_columns;
            for (Index j = 0; j < n; ++j) line_[j] = usable[j] ? line_[j] : 0.0;
        }
        for (Index i = 0; i < layout_.vectors; ++i)
            for (Index lane = 0; lane < lanes; ++lane) out[i * lanes + lane] = line_[lane * layout_.span + i];
    }

    // The ring holds the rows up to `end`; rows below the image are zero and belong to no window that counts.
    STF_HD void fill(Index end) {
        const Index n = layout_.field();
        for (; next_ < end; ++next_) {
            double* STF_RESTRICT out = slot(next_);
            if (next_ >= tile_.height) {
                for (Index i = 0; i < layout_.row(); ++i) out[i] = 0;
                continue;
            }
            spread(tile_.p, next_, shift_p_, out);
            spread(tile_.t, next_, shift_t_, out + n);
            for (Index i = 0; i < n; i += lanes) {
                const Vector p = load<Vector>(out + i), t = load<Vector>(out + n + i);
                store(out + 2 * n + i, p * p + t * t);
                store(out + 3 * n + i, p * t);
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
        return whole < 0 ? 0 : whole < layout_.span ? whole / at_once * at_once : layout_.span;
    }

    STF_HD void rows(Index y, Index begin, Index end, WindowSum& sum, const double* weights) {
        const WindowedIndex& index = *sum.index;
        if (index.kind == Index2d::uqi) {
            measure_rows<Shape<8, true>, Index2d::uqi>(y, begin, end, sum, weights);
        } else if (index.size == 11 && !index.uniform) {
            measure_rows<Shape<11, false>, Index2d::ssim>(y, begin, end, sum, weights);
        } else if (index.size == 7 && index.uniform) {
            measure_rows<Shape<7, true>, Index2d::ssim>(y, begin, end, sum, weights);
        } else {
            measure_rows<Shape<0, false>, Index2d::ssim>(y, begin, end, sum, weights);
        }
    }

    template <class Window, Index2d kind>
    __attribute__((noinline)) void measure_rows(Index y, Index begin, Index end, WindowSum& sum,
                                                const double* weights) {
        const WindowedIndex& index = *sum.index;
        down<Window>(y, index);
        for (Index row = begin; row < end; ++row) {
            const double* source = blurred_ + (row - y) * layout_.row();
            if (sum.whole != nullptr) {
                // The weights of this row: `raw_` and `line_` are free between two fills, but shorter than a span.
                along<Window, kind, true>(row, source, sum, weights);
            } else {
                along<Window, kind, false>(row, source, sum, weights);
            }
        }
    }

    // Sums along the columns: rows y ... y + 3 of windows, all vectors and fields.
    template <class Window>
    STF_HD void down(Index y, const WindowedIndex& index) {
        const Index n = layout_.row();
        double* STF_RESTRICT out = blurred_;
        if constexpr (Window::size > 0) {
            constexpr int held = Window::size + at_once - 1;
            const double* from[held];
            for (int k = 0; k < held; ++k) from[k] = slot(y + k);
            for (Index i = 0; i < n; i += lanes) {
                Vector sums[at_once];
                Window::sums(index, [&](Index k) { return load<Vector>(from[k] + i); }, sums);
                STF_UNROLL
                for (int r = 0; r < at_once; ++r) store(out + r * n + i, sums[r]);
            }
        } else {
            for (Index i = 0; i < n; i += lanes) {
                Vector sums[at_once];
                Window::sums(index, [&](Index k) { return load<Vector>(slot(y + k) + i); }, sums);
                for (int r = 0; r < at_once; ++r) store(out + r * n + i, sums[r]);
            }
        }
    }

    // Sums along one row, the index of every window, and their sum.
    template <class Window, Index2d kind, bool holes>
    STF_HD void along(Index row, const double* source, WindowSum& sum, const double* weights) {
        const WindowedIndex& index = *sum.index;
        const Index n = layout_.field(), safe = whole_vectors(index);
        const double scale = index.uniform ? 1.0 / static_cast<double>(index.size * index.size) : 1.0;
        const std::uint8_t* whole = holes ? sum.whole + (row - tile_.y0) * (tile_.x1 - tile_.x0) : nullptr;
        Vector total{};
        for (Index i = 0; i < layout_.span; i += at_once) {
            Vector means[fields][at_once];
            STF_UNROLL
            for (Index f = 0; f < fields; ++f) {
                const double* from = source + f * n + i * lanes;
                Window::sums(index, [&](Index k) { return load<Vector>(from + k * lanes); }, means[f]);
            }
            STF_UNROLL
            for (int k = 0; k < at_once; ++k) {
                if (index.uniform)
                    for (Index f = 0; f < fields; ++f) means[f][k] = means[f][k] * scale;
                const LocalStatistics<Vector> local =
                    local_statistics<Vector>(means[0][k], means[1][k], means[2][k], means[3][k], shift_p_, shift_t_);
                Vector value;
                if constexpr (kind == Index2d::ssim) {
                    value = structural_similarity<Vector>(local, index.c1, index.c2);
                } else {
                    value = universal_quality<Vector>(local);
                }
                if (holes || i >= safe) {
                    Vector weight = load<Vector>(weights + (i + k) * lanes);
                    if constexpr (holes) weight = weight * lane_weights(whole, i + k);
                    value = weight > 0.0 ? value : Vector{};
                    if (sum.map != nullptr) put(row, i + k, value, weight, sum);
                } else if (sum.map != nullptr) {
                    put(row, i + k, value, broadcast<Vector>(1.0), sum);
                }
                total += value;
            }
        }
        sum.total += sum_of(total);
    }

    STF_HD Vector lane_weights(const std::uint8_t* whole, Index i) const {
        alignas(64) double out[lanes];
        const Index n = tile_.x1 - tile_.x0;
        for (Index lane = 0; lane < lanes; ++lane) {
            const Index x = lane * layout_.span + i;
            out[lane] = x < n ? static_cast<double>(whole[x]) : 0.0;
        }
        return load<Vector>(out);
    }

    void put(Index row, Index i, Vector value, Vector weight, WindowSum& sum) const {
        alignas(64) double values[lanes], counts[lanes];
        store(values, value);
        store(counts, weight);
        const WindowedIndex& index = *sum.index;
        for (Index lane = 0; lane < lanes; ++lane) {
            const Index x = tile_.x0 + lane * layout_.span + i - index.first_column;
            if (counts[lane] > 0)
                sum.map[(row - index.first_row) * sum.map_columns + x] = static_cast<float>(values[lane]);
        }
    }

    const WindowTile& tile_;
    const MetricsKernel& kernel_;
    Layout layout_;
    double *line_, *raw_, *weights_, *blurred_, *ring_;
    double shift_p_, shift_t_;
    Index next_;
};

}  // namespace stf::STF_TARGET
