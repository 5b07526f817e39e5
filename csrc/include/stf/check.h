// SPDX-License-Identifier: Apache-2.0
// Boundary checks whose message names the variable and the value that was met.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace stf {

template <class... Parts>
[[noreturn]] inline void fail(const Parts&... parts) {
    std::ostringstream message;
    (message << ... << parts);
    throw std::invalid_argument(message.str());
}

}  // namespace stf

#define STF_CHECK(condition, ...)                   \
    do {                                            \
        if (!(condition)) ::stf::fail(__VA_ARGS__); \
    } while (false)
