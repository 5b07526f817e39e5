// SPDX-License-Identifier: Apache-2.0
// The one place that says which instruction sets run here.
#include <cstring>

#include "stf/dispatch.h"

#ifdef STF_X86_TARGETS
#include <cpuid.h>
#endif

namespace stf {

#ifdef STF_X86_TARGETS
namespace {

// Not every compiler that has `__builtin_cpu_supports` knows of it.
bool has_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

}  // namespace
#endif

Level machine_level() {
#ifdef STF_X86_TARGETS
    static const Level level = [] {
        const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_f16c();
        const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
        return v4 ? Level::v4 : v3 ? Level::v3 : Level::portable;
    }();
    return level;
#else
    return Level::portable;
#endif
}

std::vector<Level> machine_levels() {
    std::vector<Level> levels;
    for (const Level level : {Level::v4, Level::v3, Level::portable})
        if (level <= machine_level()) levels.push_back(level);
    return levels;
}

const char* name_of(Level level) {
    constexpr const char* names[] = {"portable", "x86_64_v3", "x86_64_v4"};
    return names[static_cast<int>(level)];
}

std::optional<Level> level_named(const char* name) {
    for (const Level level : machine_levels())
        if (name == nullptr || std::strcmp(name, name_of(level)) == 0) return level;
    return std::nullopt;
}

}  // namespace stf
