// SPDX-License-Identifier: Apache-2.0
// Arithmetic that is compiled more than once: for several instruction sets, and for a device.
#pragma once

// Sources of one operation are compiled for several instruction sets and linked together. Their inline functions must
// not be taken for one another, so everything in them lives in a namespace of its own, named by the build.
#ifndef STF_TARGET
#define STF_TARGET portable
#endif

#ifdef __CUDACC__
#define STF_HD __host__ __device__ inline
#elif defined(__GNUC__)
#define STF_HD inline __attribute__((always_inline))
#else
#define STF_HD inline
#endif

#ifdef __GNUC__
#define STF_RESTRICT __restrict__
#define STF_PREFETCH(address) __builtin_prefetch(address)
#define STF_UNROLL _Pragma("GCC unroll 32")
#else
#define STF_RESTRICT
#define STF_PREFETCH(address) static_cast<void>(address)
#define STF_UNROLL
#endif

namespace stf::STF_TARGET {

// Whether this machine has the instructions that the source is compiled for.
inline bool runs_here() {
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
#else
    return true;
#endif
}

}  // namespace stf::STF_TARGET
