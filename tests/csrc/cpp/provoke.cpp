// SPDX-License-Identifier: Apache-2.0
// Does what the sanitizers are there to find.
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

int main(int count, char** arguments) {
    const std::string wanted = count == 2 ? arguments[1] : "";
    // The compiler does not know the size, the number or the value.
    volatile int size = 4, most = std::numeric_limits<int>::max();
    volatile float far_off = 1e10F;
    if (wanted == "overrun") {
        const std::vector<int> values(static_cast<std::size_t>(size));
        return values.data()[size];
    }
    if (wanted == "overflow") return most + size;
    if (wanted == "conversion") return static_cast<std::int16_t>(far_off);
    return 2;
}
