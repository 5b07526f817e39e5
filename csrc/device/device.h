// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace stf {

// Why nothing can run on a device here; empty where something can.
std::string device_problem();

}  // namespace stf
