// SPDX-License-Identifier: Apache-2.0
// Philox 4x32-10: random words as a pure function of a counter and a key.
#pragma once

#include <cstdint>

#include "stf/target.h"

namespace stf {

struct PhiloxCounter {
    std::uint32_t word[4];
};

struct PhiloxKey {
    std::uint32_t word[2];
};

// J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
// section 3.3, with the multipliers and Weyl constants of its reference implementation Random123.
STF_HD PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
    constexpr std::uint64_t multiplier[2] = {0xD2511F53U, 0xCD9E8D57U};
    constexpr std::uint32_t weyl[2] = {0x9E3779B9U, 0xBB67AE85U};  // golden ratio, sqrt(3) - 1
    constexpr int rounds = 10;
    for (int round = 0; round < rounds; ++round) {
        const std::uint64_t a = multiplier[0] * counter.word[0], b = multiplier[1] * counter.word[2];
        const auto a_high = static_cast<std::uint32_t>(a >> 32), a_low = static_cast<std::uint32_t>(a);
        const auto b_high = static_cast<std::uint32_t>(b >> 32), b_low = static_cast<std::uint32_t>(b);
        counter = {{b_high ^ counter.word[1] ^ key.word[0], b_low, a_high ^ counter.word[3] ^ key.word[1], a_low}};
        key = {{key.word[0] + weyl[0], key.word[1] + weyl[1]}};
    }
    return counter;
}

}  // namespace stf
