#!/usr/bin/env bash
# gcc 12.2 (Debian 12): C99 knows 0, 1, 2 and -1 for FLT_EVAL_METHOD, so that a file that must have no excess precision
# asks for 0. With -march=sapphirerapids (or -march=native there), which has half precision of its own, gcc says 16 in its
# GNU modes, which ISO/IEC TS 18661-3 added: float and double are still themselves. With -std=c99 it says 0.
#
#     -march=sapphirerapids: gnu11 16, c99 0; -march=skylake-avx512: gnu11 0, c99 0
#
# A file that asks for 0 is refused on new processors alone, and only without -std=c99. Exits 1 if that has changed. Needs
# gcc, which it installs by apt-get if it is missing; on another processor than x86-64 it says so and tries nothing.
set -eu
[ "$(uname -m)" = x86_64 ] || { echo "not x86-64: not tried"; exit 0; }
command -v gcc >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends gcc libc6-dev >/dev/null
gcc --version | head -1
says() {
    printf '#include <float.h>\nFLT_EVAL_METHOD\n' | gcc "-march=$1" "-std=$2" -E -P - | tail -1
}
for processor in sapphirerapids skylake-avx512; do
    echo "-march=$processor: gnu11 $(says $processor gnu11), c99 $(says $processor c99)"
done
[ "$(says sapphirerapids gnu11)" = 16 ] && [ "$(says sapphirerapids c99)" = 0 ] && [ "$(says skylake-avx512 gnu11)" = 0 ]
