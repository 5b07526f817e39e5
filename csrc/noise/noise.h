// SPDX-License-Identifier: Apache-2.0
// Noise for a place of the scene, whatever tile looks at it. A level changes no bit, only the time.
#pragma once

#include "stf/dispatch.h"
#include "stf/types.h"

namespace stf {

// out[k] is the standard normal number of two random words, see normal.h.
void normals(const std::uint32_t* word_1, const std::uint32_t* word_2, Index count, float* out,
             Level level = machine_level());

// tile[c, i, j] is the standard normal number of the first two words of Philox 4x32-10 with the counter (c, y + i, x +
// j, step), each word modulo 2^32 (y and x may be negative), and the key (seed's lower half, seed's upper half).
void noise(std::uint64_t seed, std::uint32_t step, std::int64_t y, std::int64_t x, Index channels, Index rows,
           Index columns, float* tile, Level level = machine_level());

}  // namespace stf
