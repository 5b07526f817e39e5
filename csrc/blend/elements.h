// SPDX-License-Identifier: Apache-2.0
// One pixel of a tile on its way to a stored number. For host and device.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "stf/clamp.h"
#include "stf/types.h"

namespace stf {

// What a pixel of a tile adds to its sum.
STF_HD float weighted(float row_weight, float column_weight, float value) { return row_weight * column_weight * value; }

// `value` in the type of the result: rounded half to even, at the nearer end of the type's range beyond it, and never
// the nodata value.
template <class T>
STF_HD T stored_value(float value, T nodata) {
    if constexpr (std::is_floating_point_v<T>) {
        return value;
    } else {
        constexpr auto lowest = static_cast<float>(std::numeric_limits<T>::lowest());
        constexpr auto highest = static_cast<float>(std::numeric_limits<T>::max());
        // NaN becomes a number of the type: to convert it would be undefined, even where the result is not used.
        const float raised = value > lowest ? value : lowest;
        const auto rounded = static_cast<T>(std::nearbyint(raised < highest ? raised : highest));
        if (rounded != nodata) return rounded;
        constexpr T last = std::numeric_limits<T>::max();
        return static_cast<T>(nodata == last ? nodata - 1 : nodata + 1);
    }
}

// The stored number of a sum; `finite` says whether the sum is.
template <class T>
STF_HD T finalised(float sum, bool wanted, bool finite, float scale, float offset, float low, float high, T nodata) {
    const float value = clamped(sum * scale + offset, low, high);
    return wanted && finite ? stored_value<T>(value, nodata) : nodata;
}

}  // namespace stf
