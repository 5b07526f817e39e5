// SPDX-License-Identifier: Apache-2.0
// Compiled once for each instruction set, with STF_TARGET as its name.
#include "metrics/kernel.h"
#include "metrics/pixel_loops.h"
#include "metrics/window_loops.h"

namespace stf {

namespace STF_TARGET {

const MetricsKernel& metrics_table();

namespace {

template <class T>
void convert_from(const void* raw, Index n, double scale, double offset, double* STF_RESTRICT out) {
    const T* STF_RESTRICT in = static_cast<const T*>(raw);
    if (scale == 1.0 && offset == 0.0) {
        for (Index i = 0; i < n; ++i) out[i] = static_cast<double>(in[i]);
    } else {
        for (Index i = 0; i < n; ++i) out[i] = static_cast<double>(in[i]) * scale + offset;
    }
}

void convert(const void* raw, PixelType type, Index n, double scale, double offset, double* out) {
    switch (type) {
        case PixelType::u8:
            return convert_from<std::uint8_t>(raw, n, scale, offset, out);
        case PixelType::i8:
            return convert_from<std::int8_t>(raw, n, scale, offset, out);
        case PixelType::u16:
            return convert_from<std::uint16_t>(raw, n, scale, offset, out);
        case PixelType::i16:
            return convert_from<std::int16_t>(raw, n, scale, offset, out);
        case PixelType::u32:
            return convert_from<std::uint32_t>(raw, n, scale, offset, out);
        case PixelType::i32:
            return convert_from<std::int32_t>(raw, n, scale, offset, out);
        case PixelType::f32:
            return convert_from<float>(raw, n, scale, offset, out);
        case PixelType::f64:
            return convert_from<double>(raw, n, scale, offset, out);
    }
}

// A float is finite where its exponent is not all ones: the largest of the bits without the sign tells for all.
template <class Bits, Bits all_but_sign, Bits infinity>
bool bits_are_finite(const void* raw, Index n) {
    const char* bytes = static_cast<const char*>(raw);
    Bits greatest = 0;
    for (Index i = 0; i < n; ++i) {
        Bits bits;
        std::memcpy(&bits, bytes + i * static_cast<Index>(sizeof bits), sizeof bits);
        const Bits size = bits & all_but_sign;
        greatest = size > greatest ? size : greatest;
    }
    return greatest < infinity;
}

bool is_finite(const void* raw, PixelType type, Index n) {
    if (type == PixelType::f32) return bits_are_finite<std::int32_t, 0x7FFFFFFF, 0x7F800000>(raw, n);
    if (type == PixelType::f64) return bits_are_finite<std::int64_t, 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000>(raw, n);
    return true;
}

PairSums pairs_f32(const float* p, const float* t, Index n, Index ahead) { return sums_of_pairs(p, t, n, ahead); }
PairSums pairs_f64(const double* p, const double* t, Index n, Index ahead) { return sums_of_pairs(p, t, n, ahead); }

void angles_f32(const float* const* p, const float* const* t, Index bands, Index n, AngleSums& sums) {
    add_angles(p, t, bands, n, sums);
}
void angles_f64(const double* const* p, const double* const* t, Index bands, Index n, AngleSums& sums) {
    add_angles(p, t, bands, n, sums);
}

void errors_f32(const float* p, const float* t, Index n, const ErrorBins& bins, std::int64_t* counts) {
    add_errors(p, t, n, bins, counts);
}
void errors_f64(const double* p, const double* t, Index n, const ErrorBins& bins, std::int64_t* counts) {
    add_errors(p, t, n, bins, counts);
}

Index window_doubles(Index columns, Index reach) { return Tile::doubles(columns, reach); }

void windows(const WindowTile& tile, WindowSum* sums, Index n, double* scratch) {
    Tile(tile, sums, n, scratch, metrics_table()).measure();
}

std::uint64_t read(const std::uint64_t* STF_RESTRICT words, Index n) {
    std::uint64_t sum = 0;
    for (Index i = 0; i < n; ++i) sum += words[i];
    return sum;
}

const MetricsKernel kernel = {convert,    is_finite,  pairs_f32,      pairs_f64, angles_f32, angles_f64,
                              errors_f32, errors_f64, window_doubles, windows,   read};

}  // namespace

const MetricsKernel& metrics_table() { return kernel; }

}  // namespace STF_TARGET

}  // namespace stf
