// SPDX-License-Identifier: Apache-2.0
// A random word in each 64-bit lane of a vector, for x86-64. GCC 12 does not find the multiplication that its vectors
// have for this (32 bits by 32 bits to 64): it multiplies 64 bits by 64 bits, or moves words between lanes.
#pragma once

#include "noise/philox.h"
#include "stf/simd.h"

#if defined(STF_HAS_VECTORS) && defined(__SSE2__)
#define STF_HAS_WORD_LANES 1

namespace stf::STF_TARGET {

using Lanes64 = std::uint64_t __attribute__((vector_size(vector_bytes)));

// Only the lower half of a lane is a word's; the upper half may be anything.
struct WordLanes {
    Lanes64 lanes;
};

STF_HD WordLanes operator^(WordLanes a, WordLanes b) { return {a.lanes ^ b.lanes}; }
STF_HD WordLanes operator^(WordLanes a, std::uint32_t b) { return {a.lanes ^ b}; }

STF_HD PhiloxProduct<WordLanes> product(std::uint32_t multiplier, WordLanes word) {
    const Lanes64 factor = Lanes64{} + multiplier;
#if defined(__AVX512F__)
    // Of all lanes. GCC 12 warns of the plain one, which starts from a register that it calls undefined.
    const auto whole = (Lanes64)_mm512_maskz_mul_epu32(0xFF, (__m512i)factor, (__m512i)word.lanes);  // NOLINT
#elif defined(__AVX2__)
    const auto whole = (Lanes64)_mm256_mul_epu32((__m256i)factor, (__m256i)word.lanes);  // NOLINT
#else
    const auto whole = (Lanes64)_mm_mul_epu32((__m128i)factor, (__m128i)word.lanes);  // NOLINT
#endif
    return {{whole >> 32}, {whole}};
}

}  // namespace stf::STF_TARGET

#endif
