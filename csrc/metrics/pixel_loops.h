// SPDX-License-Identifier: Apache-2.0
// Loops over pixels that are known to count, in parts that lie in the cache.
#pragma once

#include "metrics/angle.h"
#include "metrics/kernel.h"
#include "stf/simd.h"

namespace stf::STF_TARGET {

// Sums of one lane, of values less a shift.
template <class V>
struct PairLanes {
    V p{}, t{}, pp{}, tt{}, pt{}, error{}, absolute_error{}, squared_error{};
    V least_t, greatest_t;

    // Half of the additions are products with one: see `plus`.
    STF_HD void add(V p_raw, V t_raw, double shift_p, double shift_t, V one) {
        const V dp = p_raw - shift_p, dt = t_raw - shift_t, difference = p_raw - t_raw;
        p = plus(dp, one, p);
        t = plus(dt, one, t);
        pp = multiply_add(dp, dp, pp);
        tt = multiply_add(dt, dt, tt);
        pt = multiply_add(dp, dt, pt);
        error = plus(difference, one, error);
        absolute_error = plus(stf::STF_TARGET::absolute(difference), one, absolute_error);
        squared_error = multiply_add(difference, difference, squared_error);
        least_t = lesser(t_raw, least_t);
        greatest_t = greater(t_raw, greatest_t);
    }
};

// All lanes of `wide`, and `rest`.
template <class V>
STF_HD PairLanes<double> added(const PairLanes<V>& wide, const PairLanes<double>& rest) {
    return {sum_of(wide.p) + rest.p,
            sum_of(wide.t) + rest.t,
            sum_of(wide.pp) + rest.pp,
            sum_of(wide.tt) + rest.tt,
            sum_of(wide.pt) + rest.pt,
            sum_of(wide.error) + rest.error,
            sum_of(wide.absolute_error) + rest.absolute_error,
            sum_of(wide.squared_error) + rest.squared_error,
            lesser(least_of(wide.least_t), rest.least_t),
            greater(greatest_of(wide.greatest_t), rest.greatest_t)};
}

// The sums of `count` pairs, from what was added up of them less the shifts.
STF_HD PairSums pair_sums(const PairLanes<double>& all, double count, double shift_p, double shift_t) {
    const double mean_p = all.p / count, mean_t = all.t / count;
    PairSums part;
    part.count = count;
    part.mean_p = shift_p + mean_p;
    part.mean_t = shift_t + mean_t;
    part.deviation_p = greater(all.pp - all.p * mean_p, 0.0);
    part.deviation_t = greater(all.tt - all.t * mean_t, 0.0);
    part.codeviation = all.pt - all.p * mean_t;
    part.error = all.error;
    part.absolute_error = all.absolute_error;
    part.squared_error = all.squared_error;
    part.least_t = all.least_t;
    part.greatest_t = all.greatest_t;
    return part;
}

// Variances are taken about a value of the data: the median of three, which is near to them all whatever one of them
// is, and is the value itself where all are the same.
template <class T>
STF_HD PairSums sums_of_pairs(const T* STF_RESTRICT p, const T* STF_RESTRICT t, Index n, Index ahead) {
    if (n == 0) return {};
    const Index middle = n / 2, last = n - 1;
    const double shift_p =
        median(static_cast<double>(p[0]), static_cast<double>(p[middle]), static_cast<double>(p[last]));
    const double shift_t =
        median(static_cast<double>(t[0]), static_cast<double>(t[middle]), static_cast<double>(t[last]));
    const Vector one = broadcast<Vector>(1.0);
    PairLanes<Vector> wide;
    wide.least_t = wide.greatest_t = broadcast<Vector>(shift_t);
    PairLanes<double> rest;
    rest.least_t = rest.greatest_t = shift_t;
    constexpr Index line = 64 / static_cast<Index>(sizeof(T));  // of the cache
    constexpr Index step = line > lanes ? line : lanes;
    Index i = 0;
    for (; i + step <= n; i += step) {
        if (i < ahead) {
            STF_PREFETCH_FAR(p + n + i);
            STF_PREFETCH_FAR(t + n + i);
        }
        STF_UNROLL
        for (Index k = 0; k < step; k += lanes)
            wide.add(load<Vector>(p + i + k), load<Vector>(t + i + k), shift_p, shift_t, one);
    }
    for (; i < n; ++i) rest.add(static_cast<double>(p[i]), static_cast<double>(t[i]), shift_p, shift_t, 1.0);
    return pair_sums(added(wide, rest), static_cast<double>(n), shift_p, shift_t);
}

// Angles of several vectors of pixels from `i` on, 0 where a spectrum is zero; `directed` is 1 where none is. Several,
// because each operation waits for the one before it: between those of one vector there is time for those of others.
//
// The truth is taken apart into its projection on the prediction and the rest, as vectors: a difference of their
// squares would leave nothing of a small angle. An error of the projection's length is at right angles to the rest, so
// that a small one is not felt.
//
// `p[b]` and `t[b]` are the first pixels of a band.
template <class V, int several, class Bands>
STF_HD void angles_at(const Bands& p, const Bands& t, Index bands, Index i, V& angles, V& directed) {
    constexpr Index n = lanes_of<V>;
    const V zero{}, one = broadcast<V>(1.0);
    V pp[several] = {}, pt[several] = {}, length[several], beside[several] = {};
    for (Index b = 0; b < bands; ++b) {
        STF_UNROLL
        for (int k = 0; k < several; ++k) {
            const V x = load<V>(p[b] + i + k * n), y = load<V>(t[b] + i + k * n);
            pp[k] = multiply_add(x, x, pp[k]);
            pt[k] = multiply_add(x, y, pt[k]);
        }
    }
    STF_UNROLL
    for (int k = 0; k < several; ++k) length[k] = pp[k] > 0.0 ? pt[k] / pp[k] : zero;
    for (Index b = 0; b < bands; ++b) {
        STF_UNROLL
        for (int k = 0; k < several; ++k) {
            const V x = load<V>(p[b] + i + k * n), y = load<V>(t[b] + i + k * n);
            const V rest = multiply_add(-length[k], x, y);
            beside[k] = multiply_add(rest, rest, beside[k]);
        }
    }
    STF_UNROLL
    for (int k = 0; k < several; ++k) {
        const V along = length[k] * pt[k];
        const V known = pp[k] > 0.0 ? (along + beside[k] > 0.0 ? one : zero) : zero;
        angles += angle_of<V>(known > 0.0 ? beside[k] : zero, known > 0.0 ? along : one, length[k]);
        directed += known;
    }
}

// Angles of most pixels come faster. With |p|^2 |a p|^2 = (p t)^2 and |p|^2 |r|^2 = |p|^2 |t|^2 - (p t)^2, the values
// are read once, and a group of pixels between 0.45 and 19 degrees needs a quotient, a root and a short polynomial a
// pixel; the difference is then good to 1e-11 of the angle. Other groups, and what overflows, are left to `angles_at`.
template <class T>
class AngleLoop {
  public:
    STF_HD AngleLoop(const T* const* p, const T* const* t, Index bands) : p_(p), t_(t), bands_(bands) {}

    STF_HD void add(Index n, AngleSums& sums) {
        Vector wide{}, wide_directed{};
        double rest = 0, rest_directed = 0;
        std::int64_t found = 0;
        Index i = 0;
        while (i + group <= n) {
            const Index groups = (n - i) / group, size = (groups < part / group ? groups : part / group) * group;
            multiply(i, 0, group);
            if (is_in_range(0)) {
                multiply(i, group, size);
                for (Index j = 0; j < size; j += group) {
                    if (add_group(j, wide)) {
                        found += group;
                    } else {
                        angles_at<Vector, several>(p_, t_, bands_, i + j, wide, wide_directed);
                    }
                }
                i += size;
            } else {  // neighbours are alike: nor are the others, most likely
                const Index end = i + size;
                for (; i + 2 * group <= end; i += 2 * group)
                    angles_at<Vector, 2 * several>(p_, t_, bands_, i, wide, wide_directed);
                for (; i < end; i += group) angles_at<Vector, several>(p_, t_, bands_, i, wide, wide_directed);
            }
        }
        for (; i < n; ++i) angles_at<double, 1>(p_, t_, bands_, i, rest, rest_directed);
        found += static_cast<std::int64_t>(sum_of(wide_directed) + rest_directed);
        sums.total += sum_of(wide) + rest;
        sums.pixels += found;
        sums.zero_vectors += n - found;
    }

  private:
    static constexpr int several = 2;
    static constexpr Index group = several * lanes, part = 256;

    // Quotients of the pixels from i + begin to i + end.
    STF_HD void multiply(Index i, Index begin, Index end) {
        for (Index j = begin; j < end; j += group) {
            Vector pp[several] = {}, pt[several] = {}, tt[several] = {};
            for (Index b = 0; b < bands_; ++b) {
                STF_UNROLL
                for (int k = 0; k < several; ++k) {
                    const Index at = i + j + k * lanes;
                    const Vector x = load<Vector>(p_[b] + at), y = load<Vector>(t_[b] + at);
                    pp[k] = multiply_add(x, x, pp[k]);
                    pt[k] = multiply_add(x, y, pt[k]);
                    tt[k] = multiply_add(y, y, tt[k]);
                }
            }
            STF_UNROLL
            for (int k = 0; k < several; ++k) {
                const Vector along = pt[k] * pt[k], beside = pp[k] * tt[k] - along;
                // Of an obtuse angle, and where products have lost digits, a quotient that is out of range.
                store(quotient_ + j + k * lanes, beside / (pt[k] > 0x1p-480 ? along : -along));
            }
        }
    }

    // A group with a quotient that is not a number is not.
    STF_HD bool is_in_range(Index j) const {
        constexpr double least = 0x1p-14;
        auto inside = Vector{} == Vector{};
        STF_UNROLL
        for (int k = 0; k < several; ++k) {
            const Vector square = load<Vector>(quotient_ + j + k * lanes);
            inside = inside & (square > least) & (square < small_square);
        }
        return all_of(inside);
    }

    // Adds the angles of a group if they are in the range; whether they are.
    STF_HD bool add_group(Index j, Vector& angles) const {
        if (!is_in_range(j)) return false;
        STF_UNROLL
        for (int k = 0; k < several; ++k) angles += small_angle<Vector>(load<Vector>(quotient_ + j + k * lanes));
        return true;
    }

    const T* const* p_;
    const T* const* t_;
    Index bands_;
    alignas(64) double quotient_[part];
};

template <class T>
STF_HD void add_angles(const T* const* p, const T* const* t, Index bands, Index n, AngleSums& sums) {
    AngleLoop<T>(p, t, bands).add(n, sums);
}

// Where an error is counted: 0 below the bins, bin + 1 in one of them, and last above them.
class ErrorPlace {
  public:
    STF_HD explicit ErrorPlace(const ErrorBins& bins)
        : low_(bins.low),
          high_(bins.high),
          width_((bins.high - bins.low) / static_cast<double>(bins.count)),
          last_(static_cast<double>(bins.count - 1)),
          beyond_(static_cast<double>(bins.count + 1)) {}

    STF_HD std::int32_t operator()(double p, double t) const {
        const double error = p - t;
        const double bin = lesser(greater((error - low_) / width_, 0.0), last_) + 1.0;
        const double inside = error > high_ ? beyond_ : bin;
        return static_cast<std::int32_t>(error < low_ ? 0.0 : inside);
    }

  private:
    double low_, high_, width_, last_, beyond_;
};

template <class T>
STF_HD void add_errors(const T* STF_RESTRICT p, const T* STF_RESTRICT t, Index n, const ErrorBins& bins,
                       std::int64_t* STF_RESTRICT counts) {
    constexpr Index part = 256;
    std::int32_t place[part];
    const ErrorPlace place_of(bins);
    for (Index begin = 0; begin < n; begin += part) {
        const Index size = n - begin < part ? n - begin : part;
        for (Index i = 0; i < size; ++i)
            place[i] = place_of(static_cast<double>(p[begin + i]), static_cast<double>(t[begin + i]));
        for (Index i = 0; i < size; ++i) ++counts[place[i]];
    }
}

}  // namespace stf::STF_TARGET
