#!/usr/bin/env bash
# pkg_config.sh PREFIX BUILD_DIR: builds and runs a C and a C++ program with what pkg-config says of the installation at PREFIX.
set -euo pipefail
prefix="$1" dir="$2" here="$(cd "$(dirname "$0")" && pwd)"
config=$(find "$prefix" -name sandbox.pc)
export PKG_CONFIG_PATH="${config%/*}"
rm -rf "$dir"
mkdir -p "$dir"
unset SANDBOX_BIN_DIR

flags() { pkg-config "$@" | tr '\n' ' '; }
[[ $(pkg-config --variable=prefix sandbox-c) -ef "$prefix" ]]
[[ -x $(pkg-config --variable=helperdir sandbox)/sandbox-launcher ]]

# shellcheck disable=SC2046 # words are meant
cc -std=c11 -Wall -Werror "$here/find_package/main.c" -o "$dir/c" $(flags --cflags --libs sandbox-c)
LD_LIBRARY_PATH="$(pkg-config --variable=libdir sandbox-c)" "$dir/c" "$dir/state-c"

# shellcheck disable=SC2046
c++ -std=c++20 -DHELPERS="\"$(pkg-config --variable=helperdir sandbox)\"" "$here/find_package/main.cpp" -o "$dir/cpp" $(flags --cflags --libs sandbox)
"$dir/cpp" "$dir/state-cpp"
