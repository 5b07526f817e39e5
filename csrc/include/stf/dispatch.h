// SPDX-License-Identifier: Apache-2.0
// Inner loops that are compiled for several instruction sets, called for the one that this machine has.
#pragma once

#include <optional>
#include <vector>

#include "stf/target.h"

namespace stf {

// What sources may be compiled for: the levels of x86-64 that GCC and Clang know, or whatever the compiler takes.
enum class Level { portable, v3, v4 };

// The widest level that sources are compiled for and this machine runs.
Level machine_level();

// All of them, the widest first.
std::vector<Level> machine_levels();

const char* name_of(Level level);

// The level of that name, or the widest where `name` is null; nothing where it does not run on this machine.
std::optional<Level> level_named(const char* name);

}  // namespace stf

// Declares a function of every target. Its sources define it in the namespace STF_TARGET.
// STF_CALL(name, arguments) calls the one of this machine, STF_CALL_AT(level, name, arguments) that of a level.
#ifdef STF_X86_TARGETS
#define STF_DECLARE_TARGETS(...) \
    namespace stf::x86_64_v4 {   \
    __VA_ARGS__;                 \
    }                            \
    namespace stf::x86_64_v3 {   \
    __VA_ARGS__;                 \
    }                            \
    namespace stf::portable {    \
    __VA_ARGS__;                 \
    }
#define STF_CALL_AT(level, name, ...)                                    \
    ((level) == ::stf::Level::v4   ? ::stf::x86_64_v4::name(__VA_ARGS__) \
     : (level) == ::stf::Level::v3 ? ::stf::x86_64_v3::name(__VA_ARGS__) \
                                   : ::stf::portable::name(__VA_ARGS__))
#else
#define STF_DECLARE_TARGETS(...) \
    namespace stf::portable {    \
    __VA_ARGS__;                 \
    }
#define STF_CALL_AT(level, name, ...) (static_cast<void>(level), ::stf::portable::name(__VA_ARGS__))
#endif
#define STF_CALL(name, ...) STF_CALL_AT(::stf::machine_level(), name, __VA_ARGS__)
