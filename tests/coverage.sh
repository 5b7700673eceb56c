#!/usr/bin/env bash
# coverage.sh [CTEST-OPTION...]: builds the coverage preset, runs the tests (those that the options name, such as -R unit_) and prints
# line and branch coverage a folder. A test that fails is told, and does not hide the figures.
set -euo pipefail
cd -P "$(dirname "$0")/.."
jobs=$(nproc)
log=build/coverage/tests.log

cmake --preset coverage >/dev/null
cmake --build --preset coverage --parallel "$jobs" >/dev/null
find build/coverage -name '*.gcda' -delete # counts of a run before
ctest --preset coverage --parallel "$jobs" "$@" >"$log" 2>&1 || grep -A 100 'tests FAILED' "$log" || true
python3 tests/coverage.py build/coverage
