// SPDX-License-Identifier: Apache-2.0
// Every kind of gap, for every type; numbers that a type cannot hold.
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "check.h"
#include "fill/fill.h"

namespace stf {

namespace {

template <class T>
std::vector<T> filled_row(std::vector<T> row, const std::vector<std::uint8_t>& valid, double fallback) {
    fill_invalid<T>(row.data(), valid.data(), 1, 1, static_cast<Index>(row.size()), &fallback);
    return row;
}

template <class T>
void every_kind_of_gap() {
    const std::vector<T> row{10, 99, 99, 40, 50};
    EXPECT_EQUAL(filled_row<T>(row, {1, 0, 0, 1, 1}, 7), (std::vector<T>{10, 20, 30, 40, 50}));
    EXPECT_EQUAL(filled_row<T>(row, {0, 0, 0, 1, 0}, 7), (std::vector<T>{40, 40, 40, 40, 40}));
    EXPECT_EQUAL(filled_row<T>(row, {1, 0, 0, 0, 1}, 7), (std::vector<T>{10, 20, 30, 40, 50}));
    EXPECT_EQUAL(filled_row<T>(row, {0, 0, 0, 0, 0}, 7), (std::vector<T>{7, 7, 7, 7, 7}));
    EXPECT_EQUAL(filled_row<T>(row, {1, 1, 1, 1, 1}, 7), row);
}

template <class T>
void a_fallback_beyond_the_type_is_its_end() {
    if constexpr (std::is_integral_v<T>) {
        using Limits = std::numeric_limits<T>;
        EXPECT_EQUAL(filled_row<T>({5}, {0}, 1e30), (std::vector<T>{Limits::max()}));
        EXPECT_EQUAL(filled_row<T>({5}, {0}, -1e30), (std::vector<T>{Limits::lowest()}));
        EXPECT_EQUAL(filled_row<T>({5}, {0}, std::nan("")), (std::vector<T>{0}));
    }
}

// Halves go to the even neighbour, on every machine.
void integers_are_rounded() {
    EXPECT_EQUAL(filled_row<std::int16_t>({0, 0, 1}, {1, 0, 1}, 0)[1], 0);
    EXPECT_EQUAL(filled_row<std::int16_t>({1, 0, 2}, {1, 0, 1}, 0)[1], 2);
    EXPECT_EQUAL(filled_row<std::int16_t>({-1, 0, -2}, {1, 0, 1}, 0)[1], -2);
}

}  // namespace

}  // namespace stf

int main() {
#define STF_GAPS(T)              \
    stf::every_kind_of_gap<T>(); \
    stf::a_fallback_beyond_the_type_is_its_end<T>();
    STF_FOR_EACH_PIXEL_TYPE(STF_GAPS)
#undef STF_GAPS
    stf::integers_are_rounded();
}
