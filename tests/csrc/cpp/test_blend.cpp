// SPDX-License-Identifier: Apache-2.0
// Weights that sum to one give back what was cut; stored numbers are rounded, limited and never nodata by accident.
#include <cmath>
#include <limits>
#include <vector>

#include "blend/blend.h"
#include "check.h"

namespace stf {

namespace {

constexpr float open = std::numeric_limits<float>::infinity();

// Tiles of 8 every 4 pixels, with weights of quarters and eighths: every sum is exact.
void overlapping_tiles_give_the_scene_back() {
    constexpr Index rows = 13, columns = 17, size = 8, bands = 2;
    std::vector<float> scene(bands * rows * columns), sums(scene.size());
    for (std::size_t i = 0; i < scene.size(); ++i) scene[i] = static_cast<float>(i % 97) - 48;
    const std::vector<float> weight{0.125F, 0.375F, 0.625F, 0.875F, 0.875F, 0.625F, 0.375F, 0.125F};
    for (Index y = -4; y < rows; y += 4)
        for (Index x = -4; x < columns; x += 4) {
            std::vector<float> tile(bands * size * size, std::nanf(""));  // beyond the scene it is not to be read
            for (Index c = 0; c < bands; ++c)
                for (Index i = 0; i < size; ++i)
                    for (Index j = 0; j < size; ++j)
                        if (y + i >= 0 && y + i < rows && x + j >= 0 && x + j < columns)
                            tile[static_cast<std::size_t>((c * size + i) * size + j)] =
                                scene[static_cast<std::size_t>((c * rows + y + i) * columns + x + j)];
            blend(tile.data(), size, size, y, x, weight.data(), weight.data(), sums.data(), {bands, rows, columns, 0});
        }
    EXPECT_EQUAL(sums, scene);
}

template <class T>
std::vector<T> stored(const std::vector<float>& sums, T nodata, Index wanted_not_finite) {
    const float scale = 1, offset = 0;
    std::vector<T> out(sums.size());
    const Index met = finalise<T>(sums.data(), nullptr, 1, static_cast<Index>(sums.size()), &scale, &offset, -open,
                                  open, nodata, out.data());
    EXPECT_EQUAL(met, wanted_not_finite);
    return out;
}

template <class T>
void integers_hold_what_they_can() {
    using Limits = std::numeric_limits<T>;
    const T low = Limits::lowest(), high = Limits::max();
    EXPECT_EQUAL(stored<T>({0.5F, 1.5F, 2.5F, 3.49F}, 100, 0), (std::vector<T>{0, 2, 2, 3}));
    EXPECT_EQUAL(stored<T>({1e30F, -1e30F, open, std::nanf("")}, 100, 2), (std::vector<T>{high, low, 100, 100}));
    EXPECT_EQUAL(stored<T>({1e30F, 5}, high, 0), (std::vector<T>{static_cast<T>(high - 1), 5}));
    EXPECT_EQUAL(stored<T>({-1e30F, 5}, low, 0), (std::vector<T>{static_cast<T>(low + 1), 5}));
}

void a_mask_and_the_limits_of_each_band() {
    const std::vector<float> sums{0.25F, 0.5F, 0.25F, 0.5F}, scale{100, 1000}, offset{0, 1};
    const std::vector<std::uint8_t> valid{0, 1};
    std::vector<std::int16_t> out(4);
    EXPECT_EQUAL(
        finalise<std::int16_t>(sums.data(), valid.data(), 2, 2, scale.data(), offset.data(), 0, 400, -9999, out.data()),
        0);
    EXPECT_EQUAL(out, (std::vector<std::int16_t>{-9999, 50, -9999, 400}));
}

// A scale that makes NaN of a finite sum: there is no number to store, and none that is undefined.
void a_nan_of_the_scale_is_the_lowest_number() {
    const float sum = 0, scale = open, offset = 0;
    std::uint8_t out = 7;
    finalise<std::uint8_t>(&sum, nullptr, 1, 1, &scale, &offset, 0, 255, 9, &out);
    EXPECT_EQUAL(out, 0);
}

}  // namespace

}  // namespace stf

int main() {
    stf::overlapping_tiles_give_the_scene_back();
    stf::integers_hold_what_they_can<std::uint8_t>();
    stf::integers_hold_what_they_can<std::uint16_t>();
    stf::integers_hold_what_they_can<std::int16_t>();
    stf::a_mask_and_the_limits_of_each_band();
    stf::a_nan_of_the_scale_is_the_lowest_number();
}
