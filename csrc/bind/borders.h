// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "gather/elements.h"
#include "stf/check.h"

namespace stf::bind {

inline Border border_named(const std::string& name) {
    if (name == "reflect") return Border::reflect;
    if (name == "edge") return Border::edge;
    if (name == "zero") return Border::zero;
    if (name == "mirror") return Border::mirror;
    fail("border is '", name, "'; reflect, edge, zero or mirror is wanted");
}

}  // namespace stf::bind
