// SPDX-License-Identifier: Apache-2.0
// Inner loops that are compiled for several instruction sets, called for the one that this machine has.
#pragma once

#include "stf/target.h"

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
