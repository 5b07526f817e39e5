// SPDX-License-Identifier: Apache-2.0
// One pixel of a tile: where it is read from, and its value. For host and device.
#pragma once

#include "stf/clamp.h"
#include "stf/types.h"

namespace stf {

// What lies beyond the border of a grid with the pixels a b c d:
//   reflect   d c b | a b c d | c b a
//   edge      a a a | a b c d | d d d
//   zero      0 0 0 | a b c d | 0 0 0     (zero is the network's value 0)
//   mirror    c b a | a b c d | d c b
// With `mirror` the border itself is the mirror, so that a fine and a coarse grid of one scene stay on top of each
// other. `unit` is the number of pixels that a coarse one covers: the far mirror stands at the end of the last coarse
// pixel, and what lies between the grid's end and it is mirrored at the grid's end (unit 3: a b c d | d c | c d d c b).
enum class Border { reflect, edge, zero, mirror };

// Position on an axis of `length` pixels that position `i` is read from; -1 for a zero border.
STF_HD Index border_index(Index i, Index length, Border border, Index unit = 1) {
    if (i >= 0 && i < length) return i;
    if (border == Border::zero) return -1;
    if (border == Border::edge) return i < 0 ? 0 : length - 1;
    if (border == Border::mirror) {
        const Index far = (length + unit - 1) / unit * unit;
        const Index phase = ((i % (2 * far)) + 2 * far) % (2 * far);
        const Index folded = phase < far ? phase : 2 * far - 1 - phase;
        const Index back = 2 * length - 1 - folded;
        return folded < length ? folded : back < 0 ? 0 : back;
    }
    if (length == 1) return 0;
    const Index period = 2 * (length - 1);
    const Index phase = ((i % period) + period) % period;
    return phase < length ? phase : period - phase;
}

// network value = clamp(raw * scale + offset, low, high).
STF_HD float normalised(float raw, float scale, float offset, float low, float high) {
    return clamped(raw * scale + offset, low, high);
}

// The two neighbours on an axis that a position between `first` and `first` + 1 mixes; equal at the grid's ends.
struct Neighbours {
    Index first;
    Index second;
};

STF_HD Neighbours neighbours(Index first, Index length) {
    const Index kept = clamped<Index>(first, 0, length - 1);
    return {kept, kept + 1 < length ? kept + 1 : kept};
}

STF_HD float mixed(float first, float second, float weight) { return first + weight * (second - first); }

}  // namespace stf
