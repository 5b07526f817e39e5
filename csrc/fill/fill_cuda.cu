// SPDX-License-Identifier: Apache-2.0
#include "fill/elements.h"
#include "fill/fill_cuda.h"
#include "stf/device.h"

namespace stf::cuda {

namespace {

constexpr int warps = 4;  // of a block; each has a row of one channel

template <class T>
__device__ void fill_gap(T* row, Index begin, Index end, Index columns, double fallback, int lane) {
    Gap gap{begin, end, 0, 0};
    if (begin > 0) gap.left = static_cast<double>(row[begin - 1]);
    if (end < columns) gap.right = static_cast<double>(row[end]);
    for (Index j = begin + lane; j < end; j += warp_lanes) row[j] = to_pixel<T>(filled(gap, columns, fallback, j));
}

// A warp looks at 32 pixels at a time and knows from one vote where gaps begin and end; a gap is filled by all lanes
// when its end is found. Only invalid pixels are written and only valid ones are read: lanes do not wait for another.
template <class T>
__global__ void __launch_bounds__(warps* warp_lanes)
    fill_rows(T* strip, const std::uint8_t* valid, Index rows, Index columns, const double* fallback) {
    const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
    const Index row = static_cast<Index>(blockIdx.x) * warps + static_cast<int>(threadIdx.x) / warp_lanes;
    const Index channel = blockIdx.y;
    if (row >= rows) return;  // a whole warp
    const std::uint8_t* mask = valid + row * columns;
    T* out = strip + (channel * rows + row) * columns;
    Index begin = -1;  // of the gap that is open
    for (Index first = 0; first < columns; first += warp_lanes) {
        const Index j = first + lane;
        // What lies past the row counts as valid: it opens no gap, and an open one is closed after the loop.
        const bool here = j >= columns || mask[j] != 0;
        const unsigned bits = __ballot_sync(all_lanes, here);
        const int size = columns - first < warp_lanes ? static_cast<int>(columns - first) : warp_lanes;
        for (int at = 0; at < size;) {
            const unsigned rest = (begin < 0 ? ~bits : bits) >> at;  // where the next gap begins, or the open one ends
            if (rest == 0) break;
            at += __ffs(static_cast<int>(rest)) - 1;
            if (at >= size) break;
            if (begin < 0) {
                begin = first + at;
            } else {
                fill_gap(out, begin, first + at, columns, fallback[channel], lane);
                begin = -1;
            }
        }
    }
    if (begin >= 0) fill_gap(out, begin, columns, columns, fallback[channel], lane);
}

}  // namespace

template <class T>
void fill_invalid(Stream stream, T* strip, const std::uint8_t* valid, Index channels, Index rows, Index columns,
                  const double* fallback) {
    launch(fill_rows<T>, dim3(blocks_for(rows, warps), static_cast<unsigned>(channels), 1),
           dim3(warps * warp_lanes, 1, 1), stream, strip, valid, rows, columns, fallback);
}

#define STF_INSTANTIATE(T) \
    template void fill_invalid<T>(Stream, T*, const std::uint8_t*, Index, Index, Index, const double*);
STF_FOR_EACH_PIXEL_TYPE(STF_INSTANTIATE)
#undef STF_INSTANTIATE

}  // namespace stf::cuda
