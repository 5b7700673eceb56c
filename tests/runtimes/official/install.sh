#!/usr/bin/env bash
# install.sh FOLDER: AWS's own runtime clients into FOLDER: node and python, a function in go and in rust, and an extension in rust, built with theirs. Needs the network; what
# cannot be had is named, and no failure. Writes FOLDER/clients.json: {name: [program, argument...], "skipped": {name: why}}; to node's and python's
# command the handler is added. For ctest: SLUICE_OFFICIAL_RUNTIMES=FOLDER. What is there already is kept.
set -euo pipefail
(($# == 1)) || { echo "usage: install.sh FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
declare -A command skipped

# tools NAME TOOL...: whether all of them are here.
tools() {
    local name=$1 tool missing=()
    shift
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    ((${#missing[@]} == 0)) || skipped[$name]="not installed: ${missing[*]}"
    ((${#missing[@]} == 0))
}

# made NAME FILE COMMAND...: runs COMMAND unless FILE is there and newer than its sources; the log of a failure is told by its name.
made() {
    local name=$1 file=$2 log=$folder/$1.log
    shift 2
    [[ ! -e $file || -n $(find "$here/$name" -newer "$file" -type f 2>/dev/null) ]] || return 0
    rm -f "$file"
    echo "$name: making $file (log: $log)"
    if ! ("$@") >>"$log" 2>&1 </dev/null || [[ ! -e $file ]]; then
        skipped[$name]="could not be made: $(grep -iE 'error|cannot|not found|fail' "$log" | tail -n 1 | tr -cd '[:alnum:] .,:/_-' | cut -c1-160)"
        return 1
    fi
}

# Of these a step that fails ends the rest: `set -e` is off where a caller asks how it went.

# It builds libcurl and a client in C++.
install_node() {
    local version=3.3.0 native
    (($(node -p 'process.versions.node.split(".")[0]') < 22)) || version=4.0.2
    cd "$folder/node" && echo '{"private": true}' >package.json && npm install --no-save "aws-lambda-ric@$version" || return
    native=$(find node_modules/aws-lambda-ric -name rapid-client.node)
    # npm from 11 on runs no install scripts that are not approved.
    if [[ -z $native ]]; then
        npm install-scripts approve aws-lambda-ric && npm rebuild aws-lambda-ric || return
        native=$(find node_modules/aws-lambda-ric -name rapid-client.node)
    fi
    [[ -n $native ]] && echo "$native" >client
}

install_python() {
    python3 -m venv "$folder/python" && "$folder/python/bin/pip" install awslambdaric==4.2.2 &&
        "$folder/python/bin/python3" -c 'import awslambdaric, runtime_client' && touch "$folder/python/client"
}

install_go() {
    cd "$folder/go" && go mod tidy && CGO_ENABLED=0 go build -tags lambda.norpc -trimpath -o bootstrap .
}

install_rust() {
    cd "$folder/rust" && cargo build --release && cp target/release/bootstrap bootstrap
}

# An extension, made with their crate.
install_rust_extension() {
    cd "$folder/rust_extension" && cargo build --release && cp target/release/agent agent
}

for name in node python go rust rust_extension; do
    mkdir -p "$folder/$name"
    [[ ! -d $here/$name ]] || cp -rp "$here/$name/." "$folder/$name/"
done
if tools node node npm autoconf automake libtoolize cmake g++ make python3 && made node "$folder/node/client" install_node; then
    program=$folder/node/node_modules/aws-lambda-ric/bin/index.mjs
    [[ -e $program ]] || program=$folder/node/node_modules/aws-lambda-ric/index.mjs
    command[node]="\"$(command -v node)\", \"$program\""
fi
if tools python python3 && made python "$folder/python/client" install_python; then
    command[python]="\"$folder/python/bin/python3\", \"-m\", \"awslambdaric\""
fi
if tools go go && made go "$folder/go/bootstrap" install_go; then
    command[go]="\"$folder/go/bootstrap\""
fi
if tools rust cargo && made rust "$folder/rust/bootstrap" install_rust; then
    command[rust]="\"$folder/rust/bootstrap\""
fi
if tools rust_extension cargo && made rust_extension "$folder/rust_extension/agent" install_rust_extension; then
    command[rust_extension]="\"$folder/rust_extension/agent\""
fi

{
    echo "{"
    for name in "${!command[@]}"; do
        echo "  \"$name\": [${command[$name]}],"
    done
    echo "  \"skipped\": {"
    separator=
    for name in "${!skipped[@]}"; do
        echo "    $separator\"$name\": \"${skipped[$name]}\""
        separator=,
    done
    echo "  }"
    echo "}"
} >"$folder/clients.json"
for name in "${!skipped[@]}"; do
    echo "skipped: $name: ${skipped[$name]}"
done
echo "installed: ${!command[*]}; see $folder/clients.json"
