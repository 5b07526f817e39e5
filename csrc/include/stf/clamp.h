// SPDX-License-Identifier: Apache-2.0
// Limits of one number, for host and device.
#pragma once

#include "stf/target.h"

namespace stf {

// NaN stays NaN.
template <class T>
STF_HD T clamped(T value, T low, T high) {
    const T raised = value < low ? low : value;
    return high < raised ? high : raised;
}

}  // namespace stf
