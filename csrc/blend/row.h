// SPDX-License-Identifier: Apache-2.0
// The inner loops of blend and finalise, compiled once for each instruction set.
#pragma once

#include "stf/dispatch.h"
#include "stf/types.h"

// sums += row_weight * column_weight * values, of `count` neighbours in a row.
STF_DECLARE_TARGETS(void blend_row(const float* values, float row_weight, const float* column_weight, Index count,
                                   float* sums))

// Stored numbers of `count` sums, see `finalise`; returns how many sums of valid pixels were not finite. `valid` may be
// null.
STF_DECLARE_TARGETS(template <class T> Index finalise_row(const float* sums, const std::uint8_t* valid, Index count,
                                                          float scale, float offset, float low, float high, T nodata,
                                                          T* stored))
