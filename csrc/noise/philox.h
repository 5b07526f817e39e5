// SPDX-License-Identifier: Apache-2.0
// Philox 4x32-10: random words as a pure function of a counter and a key.
#pragma once

#include <cstdint>

#include "stf/target.h"

namespace stf {

// Four words; a Word is one, or one in each lane of a vector.
template <class Word>
struct PhiloxWords {
    Word word[4];
};

using PhiloxCounter = PhiloxWords<std::uint32_t>;

struct PhiloxKey {
    std::uint32_t word[2];
};

template <class Word>
struct PhiloxProduct {
    Word high, low;
};

STF_HD PhiloxProduct<std::uint32_t> product(std::uint32_t multiplier, std::uint32_t word) {
    const std::uint64_t whole = std::uint64_t{multiplier} * word;
    return {static_cast<std::uint32_t>(whole >> 32), static_cast<std::uint32_t>(whole)};
}

// J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
// section 3.3, with the multipliers and Weyl constants of its reference implementation Random123.
template <class Word>
STF_HD PhiloxWords<Word> philox_rounds(PhiloxWords<Word> counter, PhiloxKey key) {
    constexpr std::uint32_t multiplier[2] = {0xD2511F53U, 0xCD9E8D57U};
    constexpr std::uint32_t weyl[2] = {0x9E3779B9U, 0xBB67AE85U};  // golden ratio, sqrt(3) - 1
    constexpr int rounds = 10;
    for (int round = 0; round < rounds; ++round) {
        const PhiloxProduct<Word> a = product(multiplier[0], counter.word[0]);
        const PhiloxProduct<Word> b = product(multiplier[1], counter.word[2]);
        counter = {{b.high ^ counter.word[1] ^ key.word[0], b.low, a.high ^ counter.word[3] ^ key.word[1], a.low}};
        key = {{key.word[0] + weyl[0], key.word[1] + weyl[1]}};
    }
    return counter;
}

STF_HD PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) { return philox_rounds(counter, key); }

}  // namespace stf
