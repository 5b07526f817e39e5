// SPDX-License-Identifier: Apache-2.0
// One invalid pixel of a row. For host and device.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "stf/clamp.h"
#include "stf/types.h"

namespace stf {

// Rounded half to even where the type is an integer's; its ends hold what lies beyond, and 0 stands for NaN.
template <class T>
STF_HD T to_pixel(double value) {
    if constexpr (std::is_integral_v<T>) {
        constexpr auto lowest = static_cast<double>(std::numeric_limits<T>::lowest());
        constexpr auto highest = static_cast<double>(std::numeric_limits<T>::max());
        return value == value ? static_cast<T>(std::nearbyint(clamped(value, lowest, highest))) : T{0};
    } else {
        return static_cast<T>(value);
    }
}

// The invalid pixels [begin, end) of a row of `columns`, and the valid ones on either side of them.
struct Gap {
    Index begin;
    Index end;
    double left;
    double right;
};

STF_HD double filled(const Gap& gap, Index columns, double fallback, Index j) {
    const bool has_left = gap.begin > 0, has_right = gap.end < columns;
    if (has_left && has_right) {
        const double slope = (gap.right - gap.left) / static_cast<double>(gap.end - gap.begin + 1);
        return gap.left + slope * static_cast<double>(j - gap.begin + 1);
    }
    return has_left ? gap.left : has_right ? gap.right : fallback;
}

}  // namespace stf
