# Shared by the scripts beside it; sourced, not run. Callers set -euo pipefail first.
# shellcheck shell=bash

root_dir="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

say() { printf '%s: %s\n' "$(basename "$0")" "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }
now_ms() { date +%s%3N; }

# One preset then finds in ccache what another put there: agent and launcher are the same in all of them.
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR="$root_dir"

# Installs what is missing as root; otherwise goes on only if nothing is.
ensure_deps() { "$root_dir/scripts/install-deps" "$@" || die "some packages are missing; see above"; }

# configure_preset PRESET: once.
configure_preset() {
  local preset="$1" dir="$root_dir/build/$1"
  if [[ -f "$dir/build.ninja" ]]; then return; fi
  mkdir -p "$dir"
  say "configuring $preset"
  (cd "$root_dir" && cmake --preset "$preset") >"$dir/build.log" 2>&1 ||
    { tail -n 40 "$dir/build.log" >&2; die "configuring $preset failed"; }
}

# build_preset PRESET [TARGET…]: configures once and builds, with progress. A failed build prints its last lines.
build_preset() {
  local preset="$1" dir="$root_dir/build/$1" log begin
  shift
  log="$dir/build.log"
  begin="$(now_ms)"
  configure_preset "$preset"
  say "building $preset into build/$preset"
  local status=0
  if [[ -t 1 ]]; then
    ninja -C "$dir" "$@" || status=$?
  else
    # One line per tenth of the work: enough to see that it moves, little enough to read in a log.
    NINJA_STATUS='[%p] ' ninja -C "$dir" "$@" 2>&1 | tee "$log" |
      awk '/^\[ *[0-9]+%\]/{p=$0; gsub(/[^0-9].*/,"",p); split($0,a,"%"); gsub(/[^0-9]/,"",a[1]); t=int(a[1]/10);
           if(t!=last){last=t; printf "  %d %%\n", a[1]; fflush()}}' || status=$?
    if [[ $status -ne 0 ]]; then grep -E -A12 'FAILED:|error:' "$log" | head -n 60 >&2 || true; fi
  fi
  [[ $status -eq 0 ]] || die "building $preset failed (full log: build/$preset/build.log)"
  say "built $preset in $((($(now_ms) - begin) / 1000)) s"
}
