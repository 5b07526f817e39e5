// SPDX-License-Identifier: Apache-2.0
// The inner loops of gather, compiled once for each instruction set.
#pragma once

#include "stf/dispatch.h"
#include "stf/float16.h"
#include "stf/types.h"

// out = clamp(raw * scale + offset, low, high), of `count` neighbours in a row.
STF_DECLARE_TARGETS(template <class T> void normalise_row(const T* raw, Index count, float scale, float offset,
                                                          float low, float high, float* out))

// Values as numbers of 16 bits, see `rounded`; likewise.
STF_DECLARE_TARGETS(template <class E> void round_row(const float* values, Index count, E* out))
