// SPDX-License-Identifier: Apache-2.0
// The inner loops of noise, compiled once for each instruction set.
#pragma once

#include "noise/philox.h"
#include "stf/dispatch.h"
#include "stf/types.h"

// out[j] is the normal number of `first` with j added to its third word, modulo 2^32.
STF_DECLARE_TARGETS(void noise_row(PhiloxCounter first, PhiloxKey key, Index count, float* out))

// out[k] is the normal number of two words.
STF_DECLARE_TARGETS(void normal_row(const std::uint32_t* word_1, const std::uint32_t* word_2, Index count, float* out))
