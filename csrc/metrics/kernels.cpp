// SPDX-License-Identifier: Apache-2.0
#include "metrics/kernel.h"

namespace stf {

#define STF_DECLARE(target)            \
    namespace target {                 \
    extern const MetricsKernel kernel; \
    }
#ifdef STF_X86_TARGETS
STF_DECLARE(x86_64_v4)
STF_DECLARE(x86_64_v3)
#endif
STF_DECLARE(portable)
#undef STF_DECLARE

const MetricsKernel& metrics_kernel([[maybe_unused]] Level level) {
#ifdef STF_X86_TARGETS
    if (level == Level::v4) return x86_64_v4::kernel;
    if (level == Level::v3) return x86_64_v3::kernel;
#endif
    return portable::kernel;
}

}  // namespace stf
