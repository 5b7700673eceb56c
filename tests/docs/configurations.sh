#!/bin/sh
# configurations.sh SLUICE EXAMPLES_BIN: the first function in README.md and the examples' configurations pass `sluice config check`.
set -eu
sluice=$1
PATH=$2:$PATH
export PATH

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
awk '/^```yaml$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"$folder/readme.yaml"
grep -q '^functions:' "$folder/readme.yaml" || { echo "README.md holds no configuration" >&2; exit 1; }
"$sluice" config check "$folder/readme.yaml"
"$sluice" config check consumers/examples/sluice.yaml
if command -v node >/dev/null; then
    "$sluice" config check consumers/examples/lambda/sluice.yaml
else
    echo "node is not installed: consumers/examples/lambda/sluice.yaml is not checked"
fi
