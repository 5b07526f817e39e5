// SPDX-License-Identifier: Apache-2.0
// Random123's known answers, and bits that are the same on every machine.
#include <cmath>
#include <cstring>
#include <vector>

#include "check.h"
#include "noise/noise.h"
#include "noise/philox.h"

namespace stf {

namespace {

void known_answers_of_philox() {
    struct Line {
        PhiloxCounter counter;
        PhiloxKey key;
        std::vector<std::uint32_t> words;
    };
    // The lines `philox4x32 10` of `kat_vectors` in Random123.
    const Line lines[] = {
        {{{0, 0, 0, 0}}, {{0, 0}}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
         {{0xffffffff, 0xffffffff}},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         {{0xa4093822, 0x299f31d0}},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (const Line& line : lines) {
        const PhiloxCounter met = philox4x32(line.counter, line.key);
        EXPECT_EQUAL((std::vector<std::uint32_t>(met.word, met.word + 4)), line.words);
    }
}

// The same block as in test_core_noise.py, and the same sum: bits weighted by the odd numbers, modulo 2^64.
void the_bits_of_a_block(Level level) {
    std::vector<float> block(3 * 31 * 601);
    noise(5, 2, -7, -300, 3, 31, 601, block.data(), level);
    std::uint64_t sum = 0, odd = 1;
    for (const float value : block) {
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        sum += bits * odd;
        odd += 2;
    }
    EXPECT_EQUAL(sum, 0x5c395da5a5b38f01U);
}

void a_window_is_part_of_the_whole(Level level) {
    std::vector<float> whole(20 * 301), part(7 * 33);
    noise(1, 0, -3, -5, 1, 20, 301, whole.data(), level);
    noise(1, 0, 4, 250, 1, 7, 33, part.data(), level);
    for (std::size_t i = 0; i < 7; ++i)
        for (std::size_t j = 0; j < 33; ++j) EXPECT_EQUAL(part[i * 33 + j], whole[(i + 7) * 301 + j + 255]);
}

void the_formula_of_box_and_muller(Level level) {
    std::vector<std::uint32_t> first, second;
    for (std::uint32_t a = 0; a < 64; ++a)
        for (std::uint32_t b = 0; b < 64; ++b) {
            first.push_back(a * 0x04104104U);
            second.push_back(b * 0x03F03F0FU + 1);
        }
    std::vector<float> met(first.size());
    normals(first.data(), second.data(), static_cast<Index>(met.size()), met.data(), level);
    for (std::size_t i = 0; i < met.size(); ++i) {
        const double u1 = (first[i] + 0.5) / 4294967296.0, u2 = (second[i] + 0.5) / 4294967296.0;
        EXPECT_NEAR(met[i], std::sqrt(-2 * std::log(u1)) * std::cos(6.283185307179586 * u2), 1e-6);
    }
}

}  // namespace

}  // namespace stf

int main() {
    stf::known_answers_of_philox();
    for (const stf::Level level : stf::machine_levels()) {
        stf::the_bits_of_a_block(level);
        stf::a_window_is_part_of_the_whole(level);
        stf::the_formula_of_box_and_muller(level);
    }
    EXPECT_EQUAL(stf::level_named("portable").has_value(), true);
}
