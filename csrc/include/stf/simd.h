// SPDX-License-Identifier: Apache-2.0
// A vector of doubles as wide as the instruction set that the source is compiled for; one double where the compiler has
// no vector types. The functions take a plain double too: ends of rows, and a device, run the same code.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "stf/target.h"
#include "stf/types.h"

#if defined(__CUDACC__)
// The lanes of a device are its threads.
#elif defined(__AVX__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace stf::STF_TARGET {

#if defined(__GNUC__) && !defined(__CUDACC__) && (defined(__SSE2__) || (defined(__ARM_NEON) && defined(__aarch64__)))
#define STF_HAS_VECTORS 1
#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
constexpr Index lanes = vector_bytes / 8;
using Vector = double __attribute__((vector_size(vector_bytes)));
using VectorBits = std::int64_t __attribute__((vector_size(vector_bytes)));
using HalfVector = float __attribute__((vector_size(vector_bytes / 2)));
#else
constexpr Index lanes = 1;
using Vector = double;
#endif

// Whether a * b + c is rounded once. It is asked for by name (`multiply_add`) and never formed by the compiler
// (-ffp-contract=off): variances of flat windows are exactly zero because equal terms are rounded equally.
STF_HD double multiply_add(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__) || defined(__CUDA_ARCH__)
    return std::fma(a, b, c);
#else
    return a * b + c;
#endif
}
// a + b, where a processor multiplies and adds in one operation as a * one + b: many have units for sums and units for
// products, and a loop of sums leaves half of them idle. The bits are those of the sum.
STF_HD double plus(double a, double one, double b) {
#if defined(__FMA__) || defined(__aarch64__)
    return std::fma(a, one, b);
#else
    return static_cast<void>(one), a + b;
#endif
}
STF_HD double square_root(double x) { return std::sqrt(x); }
STF_HD double absolute(double x) { return std::fabs(x); }
STF_HD double lesser(double a, double b) { return a < b ? a : b; }
STF_HD double greater(double a, double b) { return a > b ? a : b; }
STF_HD double median(double a, double b, double c) { return greater(lesser(a, b), lesser(greater(a, b), c)); }
STF_HD double sum_of(double x) { return x; }
STF_HD double least_of(double x) { return x; }
STF_HD double greatest_of(double x) { return x; }
STF_HD bool all_of(bool comparison) { return comparison; }

template <class V>
constexpr Index lanes_of = static_cast<Index>(sizeof(V) / sizeof(double));

template <class V>
STF_HD V load(const double* from) {
    V value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class V>
STF_HD V load(const float* from) {
#ifdef STF_HAS_VECTORS
    if constexpr (lanes_of<V> > 1) {
        // By name where there is one: GCC 12 takes a wide conversion apart and puts its halves together again.
#if defined(__AVX512F__)
        return _mm512_cvtps_pd(_mm256_loadu_ps(from));
#elif defined(__AVX__)
        return _mm256_cvtps_pd(_mm_loadu_ps(from));
#else
        HalfVector half;
        std::memcpy(&half, from, sizeof half);
        return __builtin_convertvector(half, Vector);
#endif
    } else {
        return static_cast<double>(*from);
    }
#else
    return static_cast<double>(*from);
#endif
}

template <class V>
STF_HD void store(double* to, V value) {
    std::memcpy(to, &value, sizeof value);
}

template <class V>
STF_HD V broadcast(double value) {
    return value - V{};  // and not V{} + value, which would turn -0 into 0 and therefore take an addition
}

#ifdef STF_HAS_VECTORS

STF_HD Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f64(c, a, b);
#else
    return a * b + c;
#endif
}

STF_HD Vector plus(Vector a, Vector one, Vector b) {
#if defined(__FMA__) || defined(__aarch64__)
    return multiply_add(a, one, b);
#else
    return static_cast<void>(one), a + b;
#endif
}

STF_HD Vector square_root(Vector x) {
#if defined(__AVX512F__)
    return _mm512_sqrt_pd(x);
#elif defined(__AVX__)
    return _mm256_sqrt_pd(x);
#elif defined(__SSE2__)
    return _mm_sqrt_pd(x);
#else
    return vsqrtq_f64(x);
#endif
}

STF_HD Vector lesser(Vector a, Vector b) {
#if defined(__AVX512F__)
    return _mm512_min_pd(a, b);
#elif defined(__AVX__)
    return _mm256_min_pd(a, b);
#elif defined(__SSE2__)
    return _mm_min_pd(a, b);
#else
    return vminq_f64(a, b);
#endif
}

STF_HD Vector greater(Vector a, Vector b) {
#if defined(__AVX512F__)
    return _mm512_max_pd(a, b);
#elif defined(__AVX__)
    return _mm256_max_pd(a, b);
#elif defined(__SSE2__)
    return _mm_max_pd(a, b);
#else
    return vmaxq_f64(a, b);
#endif
}

STF_HD Vector absolute(Vector x) {
    constexpr std::int64_t all_but_sign = 0x7FFFFFFFFFFFFFFF;
    return (Vector)((VectorBits)x & all_but_sign);  // NOLINT: the bits, not the value
}

STF_HD double sum_of(Vector x) {
    double total = 0;
    for (int lane = 0; lane < lanes; ++lane) total += x[lane];
    return total;
}

STF_HD double least_of(Vector x) {
    double least = x[0];
    for (int lane = 1; lane < lanes; ++lane) least = lesser(least, x[lane]);
    return least;
}

STF_HD double greatest_of(Vector x) {
    double greatest = x[0];
    for (int lane = 1; lane < lanes; ++lane) greatest = greater(greatest, x[lane]);
    return greatest;
}

// Of a comparison, which is -1 or 0 in each lane.
STF_HD bool all_of(VectorBits comparison) {
#if defined(__AVX512F__)
    return _mm512_movepi64_mask((__m512i)comparison) == 0xFF;  // NOLINT: the bits, not the value
#elif defined(__AVX__)
    return _mm256_movemask_pd((__m256d)comparison) == 0xF;  // NOLINT
#elif defined(__SSE2__)
    return _mm_movemask_pd((__m128d)comparison) == 0x3;  // NOLINT
#else
    return (comparison[0] & comparison[1]) != 0;
#endif
}

#endif

}  // namespace stf::STF_TARGET
