#!/usr/bin/env bash
# tidy.sh BUILD [FILE...]: clang-tidy by .clang-tidy over these files, else, without its analyzer, over broker/core and schemas; with
# SLUICE_LONG whole over all of broker, schemas, producers and consumers. BUILD holds compile_commands.json. Quiet and 0, or what it found and 1;
# 77 (skipped) without clang-tidy-14, as each version has checks of its own.
set -euo pipefail
build=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."

command -v clang-tidy-14 >/dev/null || { echo "tidy.sh: there is no clang-tidy-14: skipped"; exit 77; }
files=("$@") checks=()
if ((${#files[@]} == 0)); then
    folders=(broker/core schemas)
    checks=(--checks=-clang-analyzer-*) # added to those of .clang-tidy: the analyzer takes nine tenths of the time
    if [[ -n ${SLUICE_LONG:-} ]]; then folders=(broker schemas producers consumers) checks=(); fi
    mapfile -t files < <(find "${folders[@]}" -name '*.c' | sort)
fi

# One process a file: in a process with several, clang 14's analyzer mixes them up.
if ! printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy-14 -p "$build" --quiet "${checks[@]}" 2>/dev/null; then
    echo "tidy.sh: fix what stands above, or answer it in its place: // NOLINT(check) and why" >&2
    exit 1
fi
echo "${#files[@]} files are tidy"
