// SPDX-License-Identifier: Apache-2.0
// Rows of an image as vectors whose lanes stand far apart.
//
// With 4 lanes and n columns, vector i holds the columns i, n/4 + i, n/2 + i and 3n/4 + i. Then a neighbour along a row
// is the next vector, whole and aligned, and sliding windows shift no lane into another.
#pragma once

#include <utility>

#include "metrics/kernel.h"
#include "stf/simd.h"

namespace stf::STF_TARGET {

constexpr int at_once = 4;   // neighbouring windows that are worked on together: what is loaded serves them all
constexpr Index fields = 4;  // p, t, p^2 + t^2, p t

struct Layout {
    Index span;     // window starts a lane, a multiple of `at_once`
    Index vectors;  // of a row: the span and the reach of the last window, in whole blocks of lanes

    static constexpr Index page = 512, odd_lines = 5 * 8;  // doubles

    STF_HD static Layout of(Index columns, Index reach) {
        const Index span = ((columns + lanes - 1) / lanes + at_once - 1) / at_once * at_once;
        return {span, (span + reach - 1 + lanes - 1) / lanes * lanes};
    }
    STF_HD Index field() const { return vectors * lanes; }
    STF_HD Index starts() const { return span * lanes; }
    STF_HD Index line() const { return (lanes - 1) * span + vectors; }  // columns that the lanes cover
    // Rows of sums lie an odd number of cache lines more than whole pages apart: at multiples of a page, all rows of a
    // ring would share a few sets of the cache.
    STF_HD Index row() const { return (fields * starts() + page - 1) / page * page + odd_lines; }
};

#if defined(STF_HAS_VECTORS) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define STF_HAS_SHUFFLES 1
#endif
#endif

#ifdef STF_HAS_SHUFFLES

template <int step, bool high, std::size_t... lane>
STF_HD Vector exchanged(Vector a, Vector b, std::index_sequence<lane...>) {
    constexpr int n = static_cast<int>(lanes);
    return __builtin_shufflevector(a, b,
                                   ((static_cast<int>(lane) & step) ? n + static_cast<int>(lane) - (high ? 0 : step)
                                                                    : static_cast<int>(lane) + (high ? step : 0))...);
}

// Rows to columns: blocks of `step` are exchanged across the diagonal, for every power of two.
template <int step>
STF_HD void transpose(Vector (&rows)[lanes]) {
    if constexpr (step < lanes) {
        using All = std::make_index_sequence<static_cast<std::size_t>(lanes)>;
        STF_UNROLL
        for (int i = 0; i < lanes; ++i)
            if ((i & step) == 0) {
                const Vector a = rows[i], b = rows[i + step];
                rows[i] = exchanged<step, false>(a, b, All{});
                rows[i + step] = exchanged<step, true>(a, b, All{});
            }
        transpose<2 * step>(rows);
    }
}

// Vectors i, i + 1, ... of a line, as many as there are lanes.
template <class T>
STF_HD void lanes_of_line(const T* line, Index span, Index i, Vector (&out)[lanes]) {
    STF_UNROLL
    for (int lane = 0; lane < lanes; ++lane) out[lane] = load<Vector>(line + lane * span + i);
    transpose<1>(out);
}

#else

template <class T>
STF_HD void lanes_of_line(const T* line, Index span, Index i, Vector (&out)[lanes]) {
    alignas(64) double block[lanes * lanes];
    for (Index k = 0; k < lanes; ++k)
        for (Index lane = 0; lane < lanes; ++lane)
            block[k * lanes + lane] = static_cast<double>(line[lane * span + i + k]);
    for (Index k = 0; k < lanes; ++k) out[k] = load<Vector>(block + k * lanes);
}

#endif

// The fields of a row from two lines of values, which are taken less their shift.
template <class T>
STF_HD void fill_fields(const Layout& layout, const T* line_p, const T* line_t, double shift_p, double shift_t,
                        double* STF_RESTRICT out) {
    const Index n = layout.field();
    for (Index i = 0; i < layout.vectors; i += lanes) {
        Vector p[lanes], t[lanes];
        lanes_of_line(line_p, layout.span, i, p);
        lanes_of_line(line_t, layout.span, i, t);
        STF_UNROLL
        for (int k = 0; k < lanes; ++k) {
            const Vector x = p[k] - shift_p, y = t[k] - shift_t;
            double* to = out + (i + k) * lanes;
            store(to, x);
            store(to + n, y);
            store(to + 2 * n, x * x + y * y);
            store(to + 3 * n, x * y);
        }
    }
}

// Sums of `size` neighbours among x[k], k = 0 ... , by the binary digits of the size: 8 = 2 x 2 x 2 in three additions.
// A rounding error stays in its window, and eight equal values have exactly eight times the value as sum. Every second
// addition is a multiplication by one: many processors have units for either, and the others do both in one.
template <int size, int width, int offset, int held>
STF_HD void add_digits(Vector (&power)[held], Vector one, Vector (&out)[at_once]) {
    if constexpr ((size & width) != 0) {
        STF_UNROLL
        for (int r = 0; r < at_once; ++r) out[r] = offset == 0 ? power[r] : out[r] + power[r + offset];
    }
    if constexpr (2 * width <= size) {
        STF_UNROLL
        for (int k = 0; k + width < held; ++k)
            power[k] = k % 2 == 0 ? power[k] + power[k + width] : multiply_add(power[k], one, power[k + width]);
        add_digits<size, 2 * width, offset + ((size & width) != 0 ? width : 0), held>(power, one, out);
    }
}

// Weights along one axis; of a size that the compiler knows, or of any (0). `sums` makes those of four neighbouring
// windows; `at(k)` is the k-th value that they reach.
template <int size_, bool uniform_>
class Taps {
  public:
    static constexpr int known = size_;

    STF_HD explicit Taps(const WindowedIndex& index) : size_of_(index.size), all_(index.taps) {
        if constexpr (size_ > 0)
            for (int k = 0; k <= size_ / 2; ++k) half_[k] = broadcast<Vector>(index.taps[k]);
    }

    STF_HD Index size() const { return size_ > 0 ? size_ : size_of_; }

    template <class At>
    STF_HD void sums(const At& at, Vector (&out)[at_once]) const {
        if constexpr (size_ > 0) {
            constexpr int held = size_ + at_once - 1;
            Vector x[held];
            STF_UNROLL
            for (int k = 0; k < held; ++k) x[k] = at(k);
            if constexpr (uniform_) {
                add_digits<size_, 1, 0, held>(x, half_[0], out);
            } else {
                STF_UNROLL
                for (int r = 0; r < at_once; ++r) {
                    out[r] = x[r + size_ / 2] * half_[size_ / 2];
                    STF_UNROLL
                    for (int k = 0; k < size_ / 2; ++k)
                        out[r] = multiply_add(x[r + k] + x[r + size_ - 1 - k], half_[k], out[r]);
                }
            }
        } else {
            for (int r = 0; r < at_once; ++r) out[r] = Vector{};
            for (Index k = 0; k < size_of_; ++k) {
                const Vector tap = broadcast<Vector>(all_[k]);
                for (int r = 0; r < at_once; ++r) out[r] = multiply_add(at(r + k), tap, out[r]);
            }
        }
    }

  private:
    Index size_of_;
    const double* all_;
    Vector half_[size_ / 2 + 1];
};

}  // namespace stf::STF_TARGET
