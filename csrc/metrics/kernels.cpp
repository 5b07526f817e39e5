// SPDX-License-Identifier: Apache-2.0
// Which of the compiled kernels run on this machine.
#include <cstring>

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

Index metrics_kernels(const MetricsKernel** found, Index most) {
    const MetricsKernel* all[] = {
#ifdef STF_X86_TARGETS
        &x86_64_v4::kernel,
        &x86_64_v3::kernel,
#endif
        &portable::kernel,
    };
    Index n = 0;
    for (const MetricsKernel* one : all)
        if (n < most && one->runs_here()) found[n++] = one;
    return n;
}

const MetricsKernel* metrics_kernel(const char* name) {
    const MetricsKernel* found[4];
    const Index n = metrics_kernels(found, 4);
    for (Index i = 0; i < n; ++i)
        if (name == nullptr || std::strcmp(name, found[i]->name) == 0) return found[i];
    return nullptr;
}

}  // namespace stf
