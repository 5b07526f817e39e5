// SPDX-License-Identifier: Apache-2.0
// Indices over sliding windows. A block goes down some columns of a band: each thread holds the last rows of its column
// and adds them up, and puts the sums where the block can see them; then it adds up those of its neighbours, which
// makes the sums of one window. No sum of a whole image is held.
#include "metrics/local_index.h"
#include "metrics/usable_cuda.h"
#include "stf/device_reduce.h"

namespace stf::cuda {

namespace {

constexpr int window_threads = 128;
constexpr Index tile_rows = 64;  // of windows
constexpr int fields = 4;        // p, t, p^2 + t^2, p t

struct Windows {
    Index size;
    bool uniform;
    double c1, c2;
    Index first_row, last_row, first_column, last_column;
    double taps[most_window];
};

Index tiles_along(Index windows, Index tile) { return (windows + tile - 1) / tile; }

// The weighted sum of at(0), at(1), ... Eight equal weights are added as a tree: the sum of eight equal values is then
// exactly eight times the value, so that a flat window has no variance.
template <int size_, class At>
__device__ double tap_sum(const Windows& windows, const At& at) {
    if constexpr (size_ == 8) {
        return ((at(0) + at(1)) + (at(2) + at(3))) + ((at(4) + at(5)) + (at(6) + at(7)));
    } else {
        double sum = 0;
        const int size = size_ > 0 ? size_ : static_cast<int>(windows.size);
        STF_UNROLL
        for (int k = 0; k < size; ++k) sum = STF_TARGET::multiply_add(at(k), windows.taps[k], sum);
        return sum;
    }
}

// The last rows of a column, less the shifts. Those of a size that the compiler knows lie in registers.
template <int size_>
class Column {
  public:
    __device__ void take(double p, double t, bool usable) {
        STF_UNROLL
        for (int k = 0; k + 1 < size_; ++k) {
            p_[k] = p_[k + 1];
            t_[k] = t_[k + 1];
        }
        p_[size_ - 1] = p;
        t_[size_ - 1] = t;
        run_ = usable ? run_ + 1 : 0;
    }
    __device__ double p(int k) const { return p_[k]; }
    __device__ double t(int k) const { return t_[k]; }
    __device__ bool is_whole(Index size) const { return run_ >= size; }

  private:
    double p_[size_] = {}, t_[size_] = {};
    Index run_ = 0;  // usable rows up to the last one
};

struct Source {
    const float* p;
    const float* t;
    const std::uint8_t* usable;
    Index columns, column;
    double shift_p, shift_t;

    __device__ bool is_usable(Index row) const { return column < columns && usable[row * columns + column] != 0; }
    __device__ double p_at(Index row) const { return static_cast<double>(p[row * columns + column]) - shift_p; }
    __device__ double t_at(Index row) const { return static_cast<double>(t[row * columns + column]) - shift_t; }

    // Values are taken less one that is near to them: the median of three that count, in rows [begin, end).
    __device__ void find_shifts(Index begin, Index end, Index pixels) {
        Index first = pixels, between = pixels, last = -1;
        for (Index row = begin; row < end; ++row) {
            if (!is_usable(row)) continue;
            const Index here = row * columns + column;
            if (first == pixels) first = here;
            if (between == pixels && row >= begin + (end - begin) / 2) between = here;
            last = here;
        }
        first = least_of_block<window_threads>(first);
        between = least_of_block<window_threads>(between);
        last = greatest_of_block<window_threads>(last);
        if (last < 0) return;
        if (between == pixels) between = last;
        shift_p = of_three(p, first, between, last);
        shift_t = of_three(t, first, between, last);
    }

    __device__ static double of_three(const float* of, Index a, Index b, Index c) {
        return STF_TARGET::median(static_cast<double>(of[a]), static_cast<double>(of[b]), static_cast<double>(of[c]));
    }
};

// A column of any size: its rows are read again for each window.
template <>
class Column<0> {
  public:
    __device__ Column(const Source& source, Index last, Index size) : source_(source), first_(last - size + 1) {}

    __device__ double p(int k) const { return source_.is_usable(first_ + k) ? source_.p_at(first_ + k) : 0.0; }
    __device__ double t(int k) const { return source_.is_usable(first_ + k) ? source_.t_at(first_ + k) : 0.0; }
    __device__ bool is_whole(Index size) const {
        for (Index k = 0; k < size; ++k)
            if (!source_.is_usable(first_ + k)) return false;
        return true;
    }

  private:
    const Source& source_;
    Index first_;
};

template <int size_, Index2d kind>
__global__ void __launch_bounds__(window_threads)
    add_windows(const float* p, const float* t, const std::uint8_t* usable, Index rows, Index columns, Windows windows,
                double* parts, unsigned long long* count) {
    __shared__ double sums[2][fields][window_threads];
    __shared__ bool whole[2][window_threads];
    const int lane = static_cast<int>(threadIdx.x), size = size_ > 0 ? size_ : static_cast<int>(windows.size);
    const int across = window_threads - size + 1;  // windows of the block
    const Index y0 = windows.first_row + static_cast<Index>(blockIdx.y) * tile_rows;
    const Index y1 = y0 + tile_rows < windows.last_row ? y0 + tile_rows : windows.last_row, bottom = y1 + size - 1;
    const Index band = blockIdx.z, pixels = rows * columns;
    const Index column = windows.first_column + static_cast<Index>(blockIdx.x) * across + lane;
    const bool counts_here = lane < across && column < windows.last_column;
    const double scale = windows.uniform ? 1.0 / static_cast<double>(size * size) : 1.0;
    Source source{p + band * pixels, t + band * pixels, usable, columns, column, 0, 0};
    source.find_shifts(y0, bottom, pixels);

    double total = 0;
    int counted = 0;
    // What a row leaves for the block to see; then the index of the window that begins at this thread's column.
    const auto look = [&](const auto& held, int buffer) {
        sums[buffer][0][lane] = tap_sum<size_>(windows, [&](int k) { return held.p(k); });
        sums[buffer][1][lane] = tap_sum<size_>(windows, [&](int k) { return held.t(k); });
        sums[buffer][2][lane] =
            tap_sum<size_>(windows, [&](int k) { return held.p(k) * held.p(k) + held.t(k) * held.t(k); });
        sums[buffer][3][lane] = tap_sum<size_>(windows, [&](int k) { return held.p(k) * held.t(k); });
        whole[buffer][lane] = held.is_whole(size);
        __syncthreads();
        bool counts = counts_here;
        for (int k = 0; counts && k < size; ++k) counts = whole[buffer][lane + k];
        if (!counts) return;
        const auto mean = [&](int field) {
            const double* from = sums[buffer][field] + lane;
            return tap_sum<size_>(windows, [&](int k) { return from[k]; }) * scale;
        };
        const auto local =
            STF_TARGET::local_statistics<double>(mean(0), mean(1), mean(2), mean(3), source.shift_p, source.shift_t);
        if constexpr (kind == Index2d::ssim) {
            total += STF_TARGET::structural_similarity<double>(local, windows.c1, windows.c2);
        } else {
            total += STF_TARGET::universal_quality<double>(local);
        }
        ++counted;
    };
    if constexpr (size_ > 0) {
        Column<size_> held;
        for (Index y = y0; y < bottom; ++y) {
            const bool here = source.is_usable(y);
            held.take(here ? source.p_at(y) : 0.0, here ? source.t_at(y) : 0.0, here);
            // Two buffers in turn: who is still reading one of them has not let the others write it again.
            if (y - y0 >= size - 1) look(held, static_cast<int>(y % 2));
        }
    } else {
        for (Index y = y0 + size - 1; y < bottom; ++y) look(Column<0>(source, y, size), static_cast<int>(y % 2));
    }
    total = sum_of_block<window_threads>(total);
    counted = sum_of_block<window_threads>(counted);
    if (threadIdx.x != 0) return;
    parts[(band * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = total;
    if (band == 0) atomicAdd(count, static_cast<unsigned long long>(counted));
}

}  // namespace

Index window_parts(Index rows, Index columns) {
    return tiles_along(rows, tile_rows) * tiles_along(columns, window_threads - most_window + 1);
}

void measure_windows(Stream stream, const Measured& images, const WindowedIndex& index, double* totals,
                     unsigned long long* count, double* scratch) {
    const Scratch own = split(scratch, images.pixels());
    Windows windows{index.size,     index.uniform,      index.c1,          index.c2, index.first_row,
                    index.last_row, index.first_column, index.last_column, {}};
    for (Index k = 0; k < index.size; ++k) windows.taps[k] = index.taps[k];
    const Index across = tiles_along(index.last_column - index.first_column, window_threads - index.size + 1);
    const Index down = tiles_along(index.last_row - index.first_row, tile_rows);
    if (across <= 0 || down <= 0) return;
    find_usable(stream, images, own.usable, nullptr);
    const auto run = [&](auto kernel) {
        launch(kernel,
               dim3(static_cast<unsigned>(across), static_cast<unsigned>(down), static_cast<unsigned>(images.bands)),
               dim3(window_threads, 1, 1), stream, images.prediction, images.truth, own.usable, images.rows,
               images.columns, windows, own.sums, count);
    };
    if (index.kind == Index2d::uqi) {
        run(add_windows<8, Index2d::uqi>);
    } else if (index.size == 11) {
        run(add_windows<11, Index2d::ssim>);
    } else if (index.size == 7) {
        run(add_windows<7, Index2d::ssim>);
    } else {
        run(add_windows<0, Index2d::ssim>);
    }
    add_parts(stream, own.sums, across * down, images.bands, totals);
}

}  // namespace stf::cuda
