#!/usr/bin/env bash
# search.sh FUZZER CORPUS [DICTIONARY]: libFuzzer over the corpus, then onward from it for $SLUICE_FUZZ_SECONDS (6; two minutes
# with SLUICE_LONG=1). What it finds on the way is not kept; an input that fails is, and its path is printed.
set -euo pipefail
fuzzer=$1 corpus=$2 dictionary=${3:-}
seconds=${SLUICE_FUZZ_SECONDS:-$([[ -n ${SLUICE_LONG:-} ]] && echo 120 || echo 6)}

[[ -n $(ls "$corpus") ]] || { echo "search.sh: $corpus holds no corpus" >&2; exit 1; }
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 -verbosity=0
    -artifact_prefix="$(basename "$fuzzer")-")
if [[ -n $dictionary ]]; then options+=(-dict="$dictionary"); fi
"$fuzzer" "${options[@]}" "$found" "$corpus"
