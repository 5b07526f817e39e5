// SPDX-License-Identifier: Apache-2.0
// STARFM where its answer is known: a change that all pixels share, and pixels that look like no other.
#include <vector>

#include "check.h"
#include "starfm/starfm.h"

namespace stf {

namespace {

constexpr Index rows = 13, columns = 37;
constexpr std::size_t pixels = rows * columns;

std::vector<float> predicted(const std::vector<float>& fine, const std::vector<float>& coarse_1,
                             const std::vector<float>& coarse_2, float similar, StarfmWeight weight, Index threads) {
    std::vector<float> out(pixels, -1);
    starfm(fine.data(), coarse_1.data(), coarse_2.data(), rows, columns, {5, similar, 0.005F, 0.005F, 1e-4F, weight},
           threads, out.data());
    return out;
}

// Every pixel of a flat image has moved by the same amount, so every weighted mean has.
void a_flat_image_moves_as_a_whole(StarfmWeight weight) {
    const std::vector<float> fine(pixels, 0.25F), coarse_1(pixels, 0.25F), coarse_2(pixels, 0.375F);
    for (const Index threads : {1, 2})
        for (const float value : predicted(fine, coarse_1, coarse_2, 0.1F, weight, threads))
            EXPECT_NEAR(value, 0.375F, 1e-6);
}

// With no pixel that is similar but itself, each takes the change of its own coarse pixel.
void a_pixel_like_no_other_moves_alone(StarfmWeight weight) {
    std::vector<float> fine(pixels), coarse_1(pixels), coarse_2(pixels);
    for (std::size_t i = 0; i < pixels; ++i) {
        fine[i] = static_cast<float>(i) / 512;
        coarse_1[i] = fine[i];
        coarse_2[i] = fine[i] + static_cast<float>(i % 7) / 64;
    }
    const std::vector<float> met = predicted(fine, coarse_1, coarse_2, 1.0F / 1024, weight, 1);
    for (std::size_t i = 0; i < pixels; ++i) EXPECT_NEAR(met[i], coarse_2[i], 1e-6);
}

}  // namespace

}  // namespace stf

int main() {
    for (const stf::StarfmWeight weight : {stf::StarfmWeight::logarithm, stf::StarfmWeight::product}) {
        stf::a_flat_image_moves_as_a_whole(weight);
        stf::a_pixel_like_no_other_moves_alone(weight);
    }
}
