// SPDX-License-Identifier: Apache-2.0
// Compiled once for each instruction set, with STF_TARGET as its name.
#include <cmath>

#include "blend/blend.h"
#include "blend/elements.h"
#include "blend/row.h"

namespace stf::STF_TARGET {

void blend_row(const float* STF_RESTRICT values, float row_weight, const float* STF_RESTRICT column_weight, Index count,
               float* STF_RESTRICT sums) {
    for (Index j = 0; j < count; ++j) sums[j] += weighted(row_weight, column_weight[j], values[j]);
}

namespace {

// `count` is at most `part`. Numbers are narrowed in a loop of their own: compilers then narrow whole vectors at a
// time.
constexpr Index part = 1024;

template <bool masked, class T>
Index finalise_part(const float* STF_RESTRICT sums, const std::uint8_t* STF_RESTRICT valid, Index count,
                    Storing<T> storing, T* STF_RESTRICT stored) {
    using Number = typename Storing<T>::Number;
    constexpr bool narrow = !std::is_same_v<Number, T>;
    // The mask is widened beforehand: with one narrow number among wide ones, compilers narrow all the others to it.
    std::int32_t kept[masked ? part : 1];
    if constexpr (masked)
        for (Index j = 0; j < count; ++j) kept[j] = valid[j];
    Number wide[narrow ? part : 1];
    Number* STF_RESTRICT numbers = wide;
    if constexpr (!narrow) numbers = stored;
    std::int32_t not_finite = 0;
    for (Index j = 0; j < count; ++j) {
        const bool wanted = !masked || kept[j] != 0, finite = std::isfinite(sums[j]);
        not_finite += wanted && !finite ? 1 : 0;
        numbers[j] = storing(sums[j], wanted, finite);
    }
    if constexpr (narrow)
        for (Index j = 0; j < count; ++j) stored[j] = static_cast<T>(wide[j]);
    return not_finite;
}

}  // namespace

template <class T>
Index finalise_row(const float* sums, const std::uint8_t* valid, Index count, float scale, float offset, float low,
                   float high, T nodata, T* stored) {
    const Storing<T> rule = storing(scale, offset, low, high, nodata);
    Index not_finite = 0;
    for (Index j = 0; j < count; j += part) {
        const Index size = count - j < part ? count - j : part;
        not_finite += valid == nullptr ? finalise_part<false>(sums + j, nullptr, size, rule, stored + j)
                                       : finalise_part<true>(sums + j, valid + j, size, rule, stored + j);
    }
    return not_finite;
}

#define STF_INSTANTIATE(T) \
    template Index finalise_row<T>(const float*, const std::uint8_t*, Index, float, float, float, float, T, T*);
STF_FOR_EACH_STORED_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

}  // namespace stf::STF_TARGET
