#!/usr/bin/env bash
# avr-gcc 5.4.0 (Debian 12): the manual says of named address spaces that each one supported has "an equally named but
# uppercase built-in macro", to test whether its keyword is there, and that they are not there in ISO C. With -std=c99 the
# macro __FLASH is defined all the same, and __flash is no keyword:
#
#     #ifdef __FLASH
#     static const __flash int a[] = {1};    -std=gnu99: compiles; -std=c99: error: unknown type name '__flash'
#     #endif                                 (or: expected '=' … before 'int')
#
# A file that tests as the manual says fails to compile; __STRICT_ANSI__ has to be asked, too. Exits 1 if that has
# changed. Needs avr-gcc, which it installs by apt-get if it is missing.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
command -v avr-gcc >/dev/null ||
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends gcc-avr >/dev/null
avr-gcc --version | head -1
printf '#ifdef __FLASH\nstatic const __flash int a[] = {1};\nint f(int i) { return a[i]; }\n#endif\n' >"$folder/a.c"
compiles() {
    if avr-gcc "-std=$1" -c "$folder/a.c" -o "$folder/a.o" 2>"$folder/said"; then echo yes; else echo no; fi
}
for standard in gnu99 c99; do
    macro=$(avr-gcc "-std=$standard" -dM -E - </dev/null | grep -c '^#define __FLASH 1$' || true)
    echo "-std=$standard: __FLASH is defined: $macro; compiles: $(compiles $standard)"
done
[ "$(compiles gnu99)" = yes ] && [ "$(compiles c99)" = no ] &&
    avr-gcc -std=c99 -dM -E - </dev/null | grep -q '^#define __FLASH 1$'
