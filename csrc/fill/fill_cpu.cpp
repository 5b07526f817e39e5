// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "fill/fill.h"

namespace stf {

namespace {

template <class T>
T to_pixel(double value) {
    if constexpr (std::is_integral_v<T>)
        return static_cast<T>(std::nearbyint(value));
    else
        return static_cast<T>(value);
}

struct Gap {
    Index begin;
    Index end;  // one past the last invalid pixel
};

std::vector<Gap> gaps_of(const std::uint8_t* valid, Index columns) {
    std::vector<Gap> gaps;
    for (Index j = 0; j < columns;) {
        if (valid[j]) {
            const void* zero = std::memchr(valid + j, 0, static_cast<std::size_t>(columns - j));
            if (zero == nullptr) break;
            j = static_cast<const std::uint8_t*>(zero) - valid;
        }
        const Index begin = j;
        while (j < columns && !valid[j]) ++j;
        gaps.push_back({begin, j});
    }
    return gaps;
}

template <class T>
void fill_gap(T* row, const Gap& gap, Index columns, double fallback) {
    const bool has_left = gap.begin > 0, has_right = gap.end < columns;
    const double left = has_left ? static_cast<double>(row[gap.begin - 1]) : 0;
    const double right = has_right ? static_cast<double>(row[gap.end]) : 0;
    if (has_left && has_right) {
        const double slope = (right - left) / static_cast<double>(gap.end - gap.begin + 1);
        for (Index j = gap.begin; j < gap.end; ++j)
            row[j] = to_pixel<T>(left + slope * static_cast<double>(j - gap.begin + 1));
    } else {
        std::fill(row + gap.begin, row + gap.end, to_pixel<T>(has_left ? left : has_right ? right : fallback));
    }
}

}  // namespace

template <class T>
void fill_invalid(T* strip, const std::uint8_t* valid, Index channels, Index rows, Index columns,
                  const double* fallback) {
    for (Index i = 0; i < rows; ++i) {
        const std::vector<Gap> gaps = gaps_of(valid + i * columns, columns);
        for (Index c = 0; c < channels && !gaps.empty(); ++c)
            for (const Gap& gap : gaps) fill_gap(strip + (c * rows + i) * columns, gap, columns, fallback[c]);
    }
}

#define STF_INSTANTIATE(T) template void fill_invalid<T>(T*, const std::uint8_t*, Index, Index, Index, const double*);
STF_FOR_EACH_PIXEL_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

}  // namespace stf
