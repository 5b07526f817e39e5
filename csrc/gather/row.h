// SPDX-License-Identifier: Apache-2.0
// The inner loop of gather, compiled once for each instruction set.
#pragma once

#include "stf/dispatch.h"
#include "stf/types.h"

// out = clamp(raw * scale + offset, low, high), of `count` neighbours in a row.
STF_DECLARE_TARGETS(template <class T> void normalise_row(const T* raw, Index count, float scale, float offset,
                                                          float low, float high, float* out))
