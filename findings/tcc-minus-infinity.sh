#!/usr/bin/env bash
# TCC 0.9.27 (Debian 12): INFINITY and NAN are constant expressions, as C99 7.12 promises, and may initialise a static
# object; -INFINITY may not, although a unary minus is allowed in an arithmetic constant expression (6.6):
#
#     static const double a = INFINITY;      compiles
#     static const double a = NAN;           compiles
#     static const double a = -INFINITY;     error: initializer element is not constant
#     static const double a = -1.0 / 0.0;    compiles, and is -inf
#
# GCC compiles all four with -std=c99 -pedantic-errors. Exits 1 if that has changed. Needs tcc and gcc, which it installs
# by apt-get if they are missing.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ command -v tcc && command -v gcc; } >/dev/null ||
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends tcc gcc libc6-dev >/dev/null
tcc -v
compiles() {  # the compiler with its flags, and the number
    printf '#include <math.h>\nstatic const double a = %s;\nint main(void) { return a > 1; }\n' "$2" >"$folder/a.c"
    if $1 "$folder/a.c" -o "$folder/a" 2>"$folder/said"; then echo yes; else tail -1 "$folder/said" | sed 's/.*error: //'; fi
}
seen=0
for number in "INFINITY" "NAN" "-INFINITY" "-1.0 / 0.0"; do
    tcc=$(compiles tcc "$number") gcc=$(compiles "gcc -std=c99 -pedantic-errors" "$number")
    echo "$number: tcc: $tcc; gcc: $gcc"
    wanted=yes
    [ "$number" != "-INFINITY" ] || wanted="initializer element is not constant"
    [ "$tcc" = "$wanted" ] && [ "$gcc" = yes ] || seen=1
done
exit $seen
