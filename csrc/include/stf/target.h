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
#define STF_PREFETCH_FAR(address) __builtin_prefetch(address, 0, 2)  // not into the nearest cache
#ifdef __CUDACC__
#define STF_UNROLL _Pragma("unroll")
#else
#define STF_UNROLL _Pragma("GCC unroll 32")
#endif
#else
#define STF_RESTRICT
#define STF_PREFETCH(address) static_cast<void>(address)
#define STF_PREFETCH_FAR(address) static_cast<void>(address)
#define STF_UNROLL
#endif
