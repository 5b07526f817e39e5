// SPDX-License-Identifier: Apache-2.0
// Compiled once for each instruction set, with STF_TARGET as its name.
#include "noise/normal.h"
#include "noise/row.h"
#include "noise/word_lanes.h"

namespace stf::STF_TARGET {

namespace {

// Words are kept apart for a part of a row, so that both loops work on whole vectors.
constexpr Index part = 256;

#ifdef STF_HAS_WORD_LANES
// As they lie in their lanes.
using StoredWord = std::uint64_t;

// The last vector may write beyond `count`, but not beyond `part`.
void draw_words(PhiloxCounter first, PhiloxKey key, Index count, StoredWord* STF_RESTRICT word_1,
                StoredWord* STF_RESTRICT word_2) {
    static_assert(part % lanes == 0);
    const Lanes64 zero{};
    Lanes64 x;
    for (Index lane = 0; lane < lanes; ++lane) x[lane] = first.word[2] + static_cast<std::uint64_t>(lane);
    for (Index j = 0; j < count; j += lanes) {
        const PhiloxWords<WordLanes> counter{
            {{zero + first.word[0]}, {zero + first.word[1]}, {x}, {zero + first.word[3]}}};
        const PhiloxWords<WordLanes> words = philox_rounds(counter, key);
        std::memcpy(word_1 + j, &words.word[0], sizeof x);
        std::memcpy(word_2 + j, &words.word[1], sizeof x);
        x += static_cast<std::uint64_t>(lanes);
    }
}
#else
using StoredWord = std::uint32_t;

void draw_words(PhiloxCounter first, PhiloxKey key, Index count, StoredWord* STF_RESTRICT word_1,
                StoredWord* STF_RESTRICT word_2) {
    for (Index j = 0; j < count; ++j) {
        PhiloxCounter counter = first;
        counter.word[2] += static_cast<std::uint32_t>(j);
        const PhiloxCounter words = philox4x32(counter, key);
        word_1[j] = words.word[0];
        word_2[j] = words.word[1];
    }
}
#endif

template <class Word>
void make_normal(const Word* STF_RESTRICT word_1, const Word* STF_RESTRICT word_2, Index count,
                 float* STF_RESTRICT out) {
    for (Index k = 0; k < count; ++k)
        out[k] = normal(static_cast<std::uint32_t>(word_1[k]), static_cast<std::uint32_t>(word_2[k]));
}

}  // namespace

void noise_row(PhiloxCounter first, PhiloxKey key, Index count, float* out) {
    StoredWord word_1[part], word_2[part];
    for (Index j = 0; j < count; j += part) {
        const Index size = count - j < part ? count - j : part;
        draw_words(first, key, size, word_1, word_2);
        make_normal(word_1, word_2, size, out + j);
        first.word[2] += static_cast<std::uint32_t>(part);
    }
}

void normal_row(const std::uint32_t* word_1, const std::uint32_t* word_2, Index count, float* out) {
    make_normal(word_1, word_2, count, out);
}

}  // namespace stf::STF_TARGET
