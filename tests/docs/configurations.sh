#!/bin/sh
# configurations.sh SLUICE EXAMPLES_BIN: README.md's configurations, each with the code folders that it names, and the examples' pass
# `sluice config check`.
set -eu
sluice=$1
PATH=$2:$PATH
export PATH

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/hello" "$folder/greet" "$folder/plain"
printf '#!/bin/sh\n' >"$folder/plain/bootstrap"
chmod +x "$folder/plain/bootstrap"
touch "$folder/hello/index.js" "$folder/greet/app.py"
awk -v folder="$folder" '/^```yaml$/ { on = 1; file = folder "/readme" ++count ".yaml"; next } /^```$/ { on = 0 } on { print > file }' README.md
for page in "$folder"/readme*.yaml; do
    grep -q '^functions:' "$page" || { echo "README.md holds no configuration" >&2; exit 1; }
    "$sluice" config check "$page"
done
"$sluice" config check consumers/examples/sluice.yaml
if command -v node >/dev/null; then
    "$sluice" config check consumers/examples/lambda/sluice.yaml
else
    echo "node is not installed: consumers/examples/lambda/sluice.yaml is not checked"
fi
