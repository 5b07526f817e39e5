// SPDX-License-Identifier: Apache-2.0
// One pixel of a tile on its way to a stored number. For host and device.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "stf/clamp.h"
#include "stf/types.h"

namespace stf {

// What a pixel of a tile adds to its sum.
STF_HD float weighted(float row_weight, float column_weight, float value) { return row_weight * column_weight * value; }

// `value` rounded half to even, for sizes up to 2^22. Floats from 2^23 to 2^24 are the integers: the sum is rounded to
// one of them, and the last bits of its representation count from the first one. No instruction set lacks that.
STF_HD std::int32_t rounded_to_even(float value) {
    constexpr float middle = 12582912.0F;  // 1.5 * 2^23
    constexpr std::int32_t bits_of_middle = 0x4B400000;
    const float sum = value + middle;
    std::int32_t bits;
    std::memcpy(&bits, &sum, sizeof bits);
    return bits - bits_of_middle;
}

// How sums of a channel become stored numbers of type T. The numbers are as wide as sums until they are narrowed, so
// that all of the arithmetic is done in lanes of one width.
template <class T>
struct Storing {
    using Number = std::conditional_t<std::is_floating_point_v<T>, T, std::int32_t>;

    float scale, offset, low, high;
    Number nodata;
    Number instead;  // of a value that is nodata by accident

    // The stored number of a sum; `finite` says whether the sum is. Integers are rounded half to even, and lie at the
    // nearer end of the type's range where they are beyond it.
    STF_HD Number operator()(float sum, bool wanted, bool finite) const {
        const float value = sum * scale + offset;
        if constexpr (std::is_floating_point_v<T>) {
            return wanted && finite ? clamped(value, low, high) : nodata;
        } else {
            const float raised = value > low ? value : low;  // of NaN: the lower limit, which is a number of the type
            const Number rounded = rounded_to_even(raised < high ? raised : high);
            const Number number = rounded == nodata ? instead : rounded;
            return wanted && finite ? number : nodata;
        }
    }
};

template <class T>
STF_HD Storing<T> storing(float scale, float offset, float low, float high, T nodata) {
    if constexpr (std::is_floating_point_v<T>) {
        return {scale, offset, low, high, nodata, nodata};
    } else {
        constexpr T first = std::numeric_limits<T>::lowest(), last = std::numeric_limits<T>::max();
        constexpr auto lowest = static_cast<float>(first), highest = static_cast<float>(last);
        // Limits that are NaN limit nothing.
        const float above = low > lowest ? low : lowest, below = high < highest ? high : highest;
        return {scale,
                offset,
                above < highest ? above : highest,
                below > lowest ? below : lowest,
                nodata,
                nodata == last ? nodata - 1 : nodata + 1};
    }
}

}  // namespace stf
