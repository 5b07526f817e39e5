// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "stf/check.h"
#include "stf/dispatch.h"

namespace stf::bind {

inline Level checked_level(const std::optional<std::string>& name) {
    const std::optional<Level> level = level_named(name ? name->c_str() : nullptr);
    STF_CHECK(level.has_value(), "there is no kernel '", name.value_or(""), "' on this machine");
    return *level;
}

}  // namespace stf::bind
