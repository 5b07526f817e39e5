// SPDX-License-Identifier: Apache-2.0
// The indices of one window from its sums. For doubles, vectors of them, and a device.
#pragma once

#include "stf/simd.h"

namespace stf::STF_TARGET {

// Statistics of a window, population form (weights sum to one).
template <class V>
struct LocalStatistics {
    V mean_p;
    V mean_t;
    V variances;  // of the prediction plus of the truth
    V covariance;
};

// From the weighted means of p, t, p^2 + t^2 and p t, all of values less their shift. The means get it back.
// Products are rounded before they are added, as those under the weighted means are: in a flat window all cancels.
template <class V>
STF_HD LocalStatistics<V> local_statistics(V p, V t, V squares, V product, double shift_p, double shift_t) {
    return {p + shift_p, t + shift_t, squares - (p * p + t * t), product - p * t};
}

// Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error visibility to structural
// similarity", IEEE Trans. Image Process. 13(4), 2004, eq. (13).
template <class V>
STF_HD V structural_similarity(const LocalStatistics<V>& local, double c1, double c2) {
    const V product = local.mean_p * local.mean_t;
    const V squares = local.mean_p * local.mean_p + local.mean_t * local.mean_t;
    return ((2.0 * product + c1) * (2.0 * local.covariance + c2)) / ((squares + c1) * (local.variances + c2));
}

// Z. Wang, A. C. Bovik, "A universal image quality index", IEEE Signal Process. Lett. 9(3), 2002, eq. (1), as the
// product of structure and luminance; either is 1 where its denominator is zero. Structure cannot pass 1 but by
// rounding. One division serves both: its denominator is of the order of the fourth power of the values.
template <class V>
STF_HD V universal_quality(const LocalStatistics<V>& local) {
    const V one = broadcast<V>(1.0);
    const V squares = local.mean_p * local.mean_p + local.mean_t * local.mean_t;
    const V structure = greater(lesser(2.0 * local.covariance, local.variances), -local.variances);
    const V luminance = 2.0 * (local.mean_p * local.mean_t);
    const V upper = (local.variances > 0.0 ? structure : one) * (squares > 0.0 ? luminance : one);
    return upper / ((local.variances > 0.0 ? local.variances : one) * (squares > 0.0 ? squares : one));
}

}  // namespace stf::STF_TARGET
