// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <vector>

#include "fill/elements.h"
#include "fill/fill.h"

namespace stf {

namespace {

struct Range {
    Index begin;
    Index end;  // one past the last invalid pixel
};

std::vector<Range> gaps_of(const std::uint8_t* valid, Index columns) {
    std::vector<Range> gaps;
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
void fill_range(T* row, const Range& range, Index columns, double fallback) {
    Gap gap{range.begin, range.end, 0, 0};
    if (gap.begin > 0) gap.left = static_cast<double>(row[gap.begin - 1]);
    if (gap.end < columns) gap.right = static_cast<double>(row[gap.end]);
    for (Index j = gap.begin; j < gap.end; ++j) row[j] = to_pixel<T>(filled(gap, columns, fallback, j));
}

}  // namespace

template <class T>
void fill_invalid(T* strip, const std::uint8_t* valid, Index channels, Index rows, Index columns,
                  const double* fallback) {
    for (Index i = 0; i < rows; ++i) {
        const std::vector<Range> gaps = gaps_of(valid + i * columns, columns);
        for (Index c = 0; c < channels && !gaps.empty(); ++c)
            for (const Range& gap : gaps) fill_range(strip + (c * rows + i) * columns, gap, columns, fallback[c]);
    }
}

#define STF_INSTANTIATE(T) template void fill_invalid<T>(T*, const std::uint8_t*, Index, Index, Index, const double*);
STF_FOR_EACH_PIXEL_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

}  // namespace stf
