// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "starfm/window.h"
#include "stf/target.h"

namespace stf::STF_TARGET {

namespace {

// A block as one vector: the compiler cuts it into as many registers as the instruction set has for it.
#ifdef __GNUC__
using Block = float __attribute__((vector_size(starfm_block * sizeof(float))));
using Chosen = std::int32_t __attribute__((vector_size(starfm_block * sizeof(float))));

STF_HD Block load(const float* from) {
    Block block;
    std::memcpy(&block, from, sizeof(block));
    return block;
}
STF_HD Block kept(Block numbers, Chosen chosen) {
    Chosen bits;
    std::memcpy(&bits, &numbers, sizeof(bits));
    bits &= chosen;
    std::memcpy(&numbers, &bits, sizeof(bits));
    return numbers;
}
STF_HD Block size_of(Block numbers) { return kept(numbers, Chosen{} + INT32_MAX); }  // without the sign
STF_HD void store(Block block, float* to) { std::memcpy(to, &block, sizeof(block)); }
#else
struct Chosen {
    bool at[starfm_block];
};
struct Block {
    float at[starfm_block];
};
#define STF_EACH(expression)                                            \
    for (Index i = 0; i < starfm_block; ++i) result.at[i] = expression; \
    return result
inline Block load(const float* from) {
    Block result;
    STF_EACH(from[i]);
}
inline Block kept(Block a, Chosen chosen) {
    Block result;
    STF_EACH(chosen.at[i] ? a.at[i] : 0.0F);
}
inline Block size_of(Block a) {
    Block result;
    STF_EACH(std::fabs(a.at[i]));
}
inline void store(Block a, float* to) { std::copy(a.at, a.at + starfm_block, to); }
inline Block operator+(Block a, Block b) {
    Block result;
    STF_EACH(a.at[i] + b.at[i]);
}
inline Block operator-(Block a, Block b) {
    Block result;
    STF_EACH(a.at[i] - b.at[i]);
}
inline Block operator*(Block a, Block b) {
    Block result;
    STF_EACH(a.at[i] * b.at[i]);
}
inline Block operator+(Block a, float b) {
    Block result;
    STF_EACH(a.at[i] + b);
}
inline Block operator*(Block a, float b) {
    Block result;
    STF_EACH(a.at[i] * b);
}
inline Chosen operator<=(Block a, Block b) {
    Chosen result;
    STF_EACH(a.at[i] <= b.at[i]);
}
inline Chosen operator&(Chosen a, Chosen b) {
    Chosen result;
    STF_EACH(a.at[i] && b.at[i]);
}
inline Block& operator+=(Block& a, Block b) { return a = a + b; }
#undef STF_EACH
#endif

}  // namespace

void starfm_row(const StarfmImages& images, const StarfmWindow& window, Index y, float* out) {
    const Index columns = images.columns, radius = window.radius;
    const Index first_row = std::max<Index>(0, y - radius), last_row = std::min(images.rows - 1, y + radius);
    for (Index x = 0; x < columns; x += starfm_block) {
        const Index here = y * images.stride + radius + x;
        const Block middle = load(images.fine + here);
        const Block most_spectral = load(images.spectral + here) + window.fine_coarse;
        const Block most_temporal = load(images.temporal + here) + window.coarse_coarse;
        const Block similar = Block{} + window.similar;
        // One row of a window is added in single precision, the rows in double.
        double weights[starfm_block] = {}, values[starfm_block] = {};
        for (Index row = first_row; row <= last_row; ++row) {
            const float* closeness = window.closeness + std::abs(row - y) * (radius + 1);
            Block weight = {}, value = {};
            for (Index dx = -radius; dx <= radius; ++dx) {
                const Index at = row * images.stride + radius + x + dx;
                const Chosen takes_part = (size_of(load(images.fine + at) - middle) <= similar) &
                                          (load(images.spectral + at) <= most_spectral) &
                                          (load(images.temporal + at) <= most_temporal);
                const Block one = kept(load(images.nearness + at) * closeness[std::abs(dx)], takes_part);
                weight += one;
                value += one * load(images.moved + at);
            }
            float row_weights[starfm_block], row_values[starfm_block];
            store(weight, row_weights);
            store(value, row_values);
            for (Index i = 0; i < starfm_block; ++i) {
                weights[i] += row_weights[i];
                values[i] += row_values[i];
            }
        }
        // The pixel itself is in its window and like itself: the weights are never nothing.
        const Index count = std::min(starfm_block, columns - x);
        for (Index i = 0; i < count; ++i) out[x + i] = static_cast<float>(values[i] / weights[i]);
    }
}

}  // namespace stf::STF_TARGET
