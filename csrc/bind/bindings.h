// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

namespace stf::bind {

void bind_metrics(pybind11::module_& m);
void bind_starfm(pybind11::module_& m);

}  // namespace stf::bind
