// SPDX-License-Identifier: Apache-2.0
// Invalid pixels get values that do not poison their neighbours inside of a network.
#pragma once

#include "stf/types.h"

namespace stf {

// In every row and channel of `strip` (channels, rows, columns), an invalid pixel (valid[row, column] == 0) takes
// the value interpolated linearly between the nearest valid pixels to its left and right; beyond the outermost
// valid pixel, that pixel's value; in a row without any valid pixel, fallback[channel].
// The rule looks at whole rows only, so that it does not depend on how a scene is tiled.
template <class T>
void fill_invalid(T* strip, const std::uint8_t* valid, Index channels, Index rows, Index columns,
                  const double* fallback);

}  // namespace stf
