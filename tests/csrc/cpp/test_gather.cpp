// SPDX-License-Identifier: Apache-2.0
// Borders as their letters say, values as their formula says, rows that a strip does not hold.
#include <cmath>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "gather/gather.h"

namespace stf {

namespace {

constexpr float open = std::numeric_limits<float>::infinity();

template <class T>
std::vector<float> row(const std::vector<T>& grid, Border border, Index unit, Index x, Index columns) {
    const float scale = 1, offset = 0;
    const auto length = static_cast<Index>(grid.size());
    std::vector<float> tile(static_cast<std::size_t>(columns), -1);
    gather(grid.data(), {1, 1, length, 0, 1}, {&scale, &offset, -open, open}, border, unit, 0, x, 1, columns,
           tile.data());
    return tile;
}

template <class T>
void borders_are_what_their_letters_say() {
    const std::vector<T> abcd{0, 1, 2, 3};
    EXPECT_EQUAL(row(abcd, Border::reflect, 1, -3, 10), (std::vector<float>{3, 2, 1, 0, 1, 2, 3, 2, 1, 0}));
    EXPECT_EQUAL(row(abcd, Border::edge, 1, -3, 10), (std::vector<float>{0, 0, 0, 0, 1, 2, 3, 3, 3, 3}));
    EXPECT_EQUAL(row(abcd, Border::zero, 1, -3, 10), (std::vector<float>{0, 0, 0, 0, 1, 2, 3, 0, 0, 0}));
    EXPECT_EQUAL(row(abcd, Border::mirror, 1, -3, 10), (std::vector<float>{2, 1, 0, 0, 1, 2, 3, 3, 2, 1}));
    EXPECT_EQUAL(row(abcd, Border::mirror, 3, 0, 11), (std::vector<float>{0, 1, 2, 3, 3, 2, 2, 3, 3, 2, 1}));
    EXPECT_EQUAL(row(std::vector<T>{7}, Border::reflect, 1, -2, 5), (std::vector<float>{7, 7, 7, 7, 7}));
}

void every_border_is_periodic() {
    for (const Border border : {Border::reflect, Border::mirror})
        for (Index length = 1; length <= 9; ++length)
            for (Index unit = 1; unit <= 4; ++unit) {
                const Index far = (length + unit - 1) / unit * unit;
                const Index period = border == Border::mirror ? 2 * far : length == 1 ? 1 : 2 * (length - 1);
                for (Index i = -40; i < 40; ++i) {
                    const Index at = border_index(i, length, border, unit);
                    EXPECT_EQUAL(at >= 0 && at < length, true);
                    EXPECT_EQUAL(border_index(i + period, length, border, unit), at);
                }
            }
}

// Halves and quarters: products and sums are exact, with one rounding or two.
void values_are_scaled_moved_and_limited() {
    const std::vector<std::int16_t> grid{-8, -1, 0, 3, 100, 7, 6, 5, 4, 3, 2, 1};  // 2 bands, 2 rows, 3 columns
    const std::vector<float> scale{0.5F, 2}, offset{0.25F, -1};
    std::vector<float> tile(8);
    gather(grid.data(), {2, 2, 3, 0, 2}, {scale.data(), offset.data(), -2, 10}, Border::edge, 1, 0, 1, 2, 2,
           tile.data());
    EXPECT_EQUAL(tile, (std::vector<float>{-0.25F, 0.25F, 10, 3.75F, 9, 7, 3, 1}));
}

void a_bilinear_ramp_is_a_ramp() {
    constexpr Index coarse = 6, fine = 24;
    std::vector<std::uint16_t> grid(coarse * coarse);
    for (Index i = 0; i < coarse * coarse; ++i)
        grid[static_cast<std::size_t>(i)] = static_cast<std::uint16_t>(i / coarse * 64 + i % coarse * 16);
    std::vector<std::int64_t> first(fine);
    std::vector<float> weight(fine);
    for (Index i = 0; i < fine; ++i) {
        first[static_cast<std::size_t>(i)] = i / 4;
        weight[static_cast<std::size_t>(i)] = static_cast<float>(i % 4) / 4;
    }
    const float scale = 1, offset = 0;
    std::vector<float> tile(fine * fine);
    const Interpolation along{first.data(), weight.data(), fine};
    gather_bilinear(grid.data(), {1, coarse, coarse, 0, coarse}, {&scale, &offset, -open, open}, along, along,
                    tile.data());
    for (Index y = 0; y < fine; ++y)
        for (Index x = 0; x < fine; ++x) {
            const auto at = [](Index i) { return static_cast<float>(i < 20 ? i : 20); };  // the last pixel is repeated
            EXPECT_EQUAL(tile[static_cast<std::size_t>(y * fine + x)], at(y) * 16 + at(x) * 4);
        }
}

void a_row_that_is_not_held_is_refused() {
    const std::vector<float> grid(8, 1);
    const float scale = 1, offset = 0;
    std::vector<float> tile(2);
    bool refused = false;
    try {
        gather(grid.data(), {1, 2, 4, 3, 9}, {&scale, &offset, 0, 1}, Border::edge, 1, 2, 0, 1, 2, tile.data());
    } catch (const std::invalid_argument&) {
        refused = true;
    }
    EXPECT_EQUAL(refused, true);
}

// What the bits are worth, by their definition; with the largest exponent, which stands for infinity, as if it did not.
template <int fraction_bits>
double worth(int bits, int least_exponent) {
    const int exponent = bits >> fraction_bits, fraction = bits & ((1 << fraction_bits) - 1);
    const int whole = exponent == 0 ? 0 : 1 << fraction_bits;
    return std::ldexp(whole + fraction, least_exponent - fraction_bits + (exponent == 0 ? 0 : exponent - 1));
}

// Every number of 16 bits, the middle between it and the next, and the floats on either side of the middle.
template <class E, int fraction_bits, int least_exponent>
void numbers_of_16_bits_are_the_nearest() {
    std::vector<float> values;
    std::vector<int> wanted;
    const int infinite = 0x7FFF & ~((1 << fraction_bits) - 1);
    const auto expect = [&](float value, int bits) {
        values.insert(values.end(), {value, -value});
        wanted.insert(wanted.end(), {bits, bits | 0x8000});
    };
    for (int bits = 0; bits < infinite; ++bits) {
        const double lower = worth<fraction_bits>(bits, least_exponent);
        const double upper = worth<fraction_bits>(bits + 1, least_exponent);
        const auto middle = static_cast<float>((lower + upper) / 2);
        expect(static_cast<float>(lower), bits);
        expect(std::nextafter(middle, 0.0F), bits);
        expect(middle, bits + bits % 2);
        expect(std::nextafter(middle, open), bits + 1);
    }
    expect(open, infinite);
    expect(std::numeric_limits<float>::max(), infinite);
    expect(std::numeric_limits<float>::denorm_min(), 0);
    expect(std::numeric_limits<float>::quiet_NaN(), infinite | 1 << (fraction_bits - 1));

    const float scale = 1, offset = -0.0F;  // the one number that changes no other, not 0 with a sign either
    const auto count = static_cast<Index>(values.size());
    std::vector<E> tile(values.size());
    gather(values.data(), {1, 1, count, 0, 1}, {&scale, &offset, -open, open}, Border::edge, 1, 0, 0, 1, count,
           tile.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
        EXPECT_EQUAL(static_cast<int>(tile[i].bits), wanted[i]);                // as vectors
        EXPECT_EQUAL(static_cast<int>(rounded<E>(values[i]).bits), wanted[i]);  // one by one
    }
}

}  // namespace

}  // namespace stf

int main() {
#define STF_BORDERS(T) stf::borders_are_what_their_letters_say<T>();
    STF_FOR_EACH_PIXEL_TYPE(STF_BORDERS)
#undef STF_BORDERS
    stf::every_border_is_periodic();
    stf::values_are_scaled_moved_and_limited();
    stf::a_bilinear_ramp_is_a_ramp();
    stf::a_row_that_is_not_held_is_refused();
    stf::numbers_of_16_bits_are_the_nearest<stf::Float16, 10, -14>();
    stf::numbers_of_16_bits_are_the_nearest<stf::BFloat16, 7, -126>();
}
