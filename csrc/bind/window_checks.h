// SPDX-License-Identifier: Apache-2.0
// What sliding windows may be asked for, on the host and on a device.
#pragma once

#include <algorithm>
#include <string>
#include <tuple>

#include "metrics/kernel.h"
#include "stf/check.h"

namespace stf::bind {

// The first one, and the one past the last.
using Range = std::tuple<Index, Index>;

// Windows of `size` that begin in [rows[0], rows[1]) and [columns[0], columns[1]) of an image; its taps are the
// caller's.
inline WindowedIndex checked_index(const std::string& kind, Index size, bool uniform, double c1, double c2,
                                   const Range& rows, const Range& columns, Index height, Index width) {
    STF_CHECK(kind == "ssim" || kind == "uqi", "index is '", kind, "'; ssim or uqi is wanted");
    STF_CHECK(kind == "ssim" ? size % 2 == 1 : (size == 8 && uniform), "taps has shape (", size,
              "); an odd number for ssim, 8 equal ones for uqi");
    const auto check = [&](const Range& range, Index length, const char* name) {
        const auto [first, last] = range;
        STF_CHECK(0 <= first && first <= last && last <= std::max<Index>(length - size + 1, 0), "windows of ", size,
                  " cannot begin in the ", name, " [", first, ", ", last, ") of ", length);
    };
    check(rows, height, "rows");
    check(columns, width, "columns");
    return {kind == "ssim" ? Index2d::ssim : Index2d::uqi,
            size,
            uniform,
            nullptr,
            c1,
            c2,
            std::get<0>(rows),
            std::get<1>(rows),
            std::get<0>(columns),
            std::get<1>(columns)};
}

}  // namespace stf::bind
