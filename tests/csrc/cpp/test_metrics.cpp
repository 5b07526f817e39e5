// SPDX-License-Identifier: Apache-2.0
// Figures whose values are known without another program, by every kernel that runs on this machine.
#include <cmath>
#include <vector>

#include "check.h"
#include "metrics/metrics.h"

namespace stf {

namespace {

constexpr double pi = 3.14159265358979323846;

struct Figures {
    std::vector<PairSums> pairs;
    AngleSums angles;
    std::vector<std::int64_t> counts, errors, windows;
    std::vector<double> totals;
};

Figures measured(const MetricsKernel* kernel, const std::vector<float>& p, const std::vector<float>& t, Index bands,
                 Index height, Index width, Index threads) {
    std::vector<double> taps(11), ones(7, 1.0), eight(8, 1.0);
    double sum = 0;
    for (std::size_t k = 0; k < 11; ++k) sum += taps[k] = std::exp(-std::pow(static_cast<double>(k) - 5, 2) / 4.5);
    for (double& tap : taps) tap /= sum;
    const auto image = [&](const std::vector<float>& values) {
        const auto row = width * static_cast<Index>(sizeof(float));
        const std::vector<double> scale(static_cast<std::size_t>(bands), 1), offset(scale.size(), 0);
        return Image{reinterpret_cast<const char*>(values.data()), row * height, row, PixelType::f32, scale, offset};
    };
    const ErrorBins bins{-1, 1, 4};
    const std::vector<WindowedIndex> indices{
        {Index2d::ssim, 11, false, taps.data(), 1e-4, 9e-4, 0, height - 10, 0, width - 10},
        {Index2d::uqi, 8, true, eight.data(), 0, 0, 0, height - 7, 0, width - 7}};
    Figures out{std::vector<PairSums>(static_cast<std::size_t>(bands)),
                {},
                std::vector<std::int64_t>(3),
                std::vector<std::int64_t>(static_cast<std::size_t>(bands * 6)),
                std::vector<std::int64_t>(2),
                std::vector<double>(static_cast<std::size_t>(2 * bands))};
    measure({image(p), image(t), bands, height, width, nullptr, 0, 0, 0, true, &bins, indices, 0, 0, threads, kernel},
            {out.pairs.data(), &out.angles, out.counts.data(), out.errors.data(), out.totals.data(), out.windows.data(),
             nullptr});
    return out;
}

// Small integers: every sum of pairs is exact.
void a_shifted_ramp(const MetricsKernel* kernel) {
    constexpr Index height = 67, width = 131, n = height * width;
    std::vector<float> t(n), p(n);
    double mean = 0, deviation = 0;
    for (std::size_t i = 0; i < n; ++i) {
        t[i] = static_cast<float>(1 + i % 11);
        p[i] = t[i] + 0.5F;
        mean += t[i] / static_cast<double>(n);
    }
    for (const float value : t) deviation += (value - mean) * (value - mean);
    for (const Index threads : {1, 3}) {
        const Figures met = measured(kernel, p, t, 1, height, width, threads);
        const PairSums& sums = met.pairs[0];
        EXPECT_EQUAL(sums.count, static_cast<double>(n));
        EXPECT_EQUAL(sums.error, 0.5 * static_cast<double>(n));
        EXPECT_EQUAL(sums.absolute_error, 0.5 * static_cast<double>(n));
        EXPECT_EQUAL(sums.squared_error, 0.25 * static_cast<double>(n));
        EXPECT_EQUAL(sums.least_t, 1.0);
        EXPECT_EQUAL(sums.greatest_t, 11.0);
        EXPECT_NEAR(sums.mean_t, mean, 1e-12);
        EXPECT_NEAR(sums.deviation_t, deviation, 1e-10 * deviation);
        EXPECT_NEAR(sums.codeviation, deviation, 1e-10 * deviation);
        EXPECT_EQUAL(met.errors, (std::vector<std::int64_t>{0, 0, 0, 0, n, 0}));
        EXPECT_EQUAL(met.counts, (std::vector<std::int64_t>{n, 0, 0}));
        EXPECT_NEAR(met.angles.total, 0.0, 1e-9);
    }
}

// Windows of an image with itself have the index 1, and flat ones have no variance that rounding could leave.
void an_image_with_itself(const MetricsKernel* kernel) {
    constexpr Index height = 80, width = 533;
    std::vector<float> image(height * width);
    for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i * 37 % 101) / 100;
    const std::vector<float> flat(image.size(), 0.3F);
    for (const auto& one : {image, flat}) {
        const Figures met = measured(kernel, one, one, 1, height, width, 2);
        EXPECT_EQUAL(met.windows, (std::vector<std::int64_t>{70 * 523, 73 * 526}));
        EXPECT_NEAR(met.totals[0], 70.0 * 523, 1e-8);
        EXPECT_NEAR(met.totals[1], 73.0 * 526, 1e-8);
        EXPECT_EQUAL(met.pairs[0].squared_error, 0.0);
    }
}

// Spectra at right angles, in opposite directions, and without a direction.
void angles_between_spectra(const MetricsKernel* kernel) {
    constexpr std::size_t n = 11 * 11;
    std::vector<float> p(2 * n), t(2 * n);
    for (std::size_t i = 0; i < n; ++i) {
        p[i] = 3;
        t[n + i] = i % 3 == 0 ? 2.0F : 0.0F;
        t[i] = i % 3 == 1 ? -5.0F : 0.0F;
    }
    const Figures met = measured(kernel, p, t, 2, 11, 11, 1);
    EXPECT_EQUAL(met.angles.pixels, 81);
    EXPECT_EQUAL(met.angles.zero_vectors, 40);
    EXPECT_NEAR(met.angles.total, 41 * pi / 2 + 40 * pi, 1e-12);
}

void a_pixel_that_is_not_finite_is_left_out(const MetricsKernel* kernel) {
    std::vector<float> p(12 * 12, 1), t(12 * 12, 1);
    p[5] = std::nanf("");
    t[77] = INFINITY;
    const Figures met = measured(kernel, p, t, 1, 12, 12, 1);
    EXPECT_EQUAL(met.pairs[0].count, 142.0);
    EXPECT_EQUAL(met.counts, (std::vector<std::int64_t>{144, 0, 2}));
}

}  // namespace

}  // namespace stf

int main() {
    const auto levels = stf::machine_levels();
    EXPECT_EQUAL(levels.empty(), false);
    for (const stf::Level level : levels) {
        const stf::MetricsKernel* kernel = &stf::metrics_kernel(level);
        stf::a_shifted_ramp(kernel);
        stf::an_image_with_itself(kernel);
        stf::angles_between_spectra(kernel);
        stf::a_pixel_that_is_not_finite_is_left_out(kernel);
    }
}
