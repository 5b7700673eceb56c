#!/usr/bin/env bash
# install.sh FOLDER: AWS's own clients into FOLDER: the runtime clients of node and python, a function in go and in rust, and an extension in
# rust, built with theirs, and the JS SDK v3. Needs the network; what cannot be had is named, and no failure. All are made at the same time; what is
# there, and newer than its sources, is kept, and asks the network for nothing. For ctest: SLUICE_OFFICIAL_RUNTIMES=FOLDER.
# Writes FOLDER/clients.json: {name: [program, argument...], "skipped": {name: why}}; to node's and python's command the handler is added,
# js_sdk's is the folder for NODE_PATH.
set -euo pipefail
(($# == 1)) || { echo "usage: install.sh FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
export folder
folder=$(cd "$1" && pwd)
seconds_max=900 # for each, and far more than it needs
# Without a network npm asks for two minutes.
export NPM_CONFIG_FETCH_RETRY_MINTIMEOUT=1000 NPM_CONFIG_FETCH_RETRY_MAXTIMEOUT=5000 NPM_CONFIG_AUDIT=false NPM_CONFIG_FUND=false
export NPM_CONFIG_UPDATE_NOTIFIER=false PIP_DISABLE_PIP_VERSION_CHECK=1
# Most of the crates are the same, and of the minutes the optimiser's.
export CARGO_TARGET_DIR=$folder/rust_target CARGO_PROFILE_RELEASE_OPT_LEVEL=0

# ---- how each is made: in FOLDER/NAME, by a shell of its own with `set -e` ----

# It builds libcurl and a client in C++.
install_node() {
    local version=3.3.0 native
    (($(node -p 'process.versions.node.split(".")[0]') < 22)) || version=4.0.2
    echo '{"private": true}' >package.json
    npm install --no-save "aws-lambda-ric@$version"
    native=$(find node_modules/aws-lambda-ric -name rapid-client.node)
    # npm from 11 on runs no install scripts that are not approved.
    if [[ -z $native ]]; then
        npm install-scripts approve aws-lambda-ric
        npm rebuild aws-lambda-ric
        native=$(find node_modules/aws-lambda-ric -name rapid-client.node)
    fi
    [[ -n $native ]]
    if [[ -e node_modules/aws-lambda-ric/bin/index.mjs ]]; then
        ln -sf node_modules/aws-lambda-ric/bin/index.mjs client
    else
        ln -sf node_modules/aws-lambda-ric/index.mjs client
    fi
}

install_python() {
    python3 -m venv --clear .
    bin/pip install awslambdaric==4.2.2
    bin/python3 -c 'import awslambdaric, runtime_client'
    touch client
}

install_go() {
    go mod tidy
    CGO_ENABLED=0 go build -tags lambda.norpc -trimpath -o client .
}

install_rust() {
    cargo build --release
    cp "$folder/rust_target/release/bootstrap" client
}

# An extension, made with their crate.
install_rust_extension() {
    cargo build --release
    cp "$folder/rust_target/release/agent" client
}

# The last that node 18 loads is younger than this.
install_js_sdk() {
    echo '{"private": true}' >package.json
    npm install --no-save @aws-sdk/client-lambda@3.966.0 @aws-sdk/client-eventbridge@3.966.0
    node -e 'require("@aws-sdk/client-lambda"), require("@aws-sdk/client-eventbridge")'
    touch client
}

# ---- all of them ----

# client NAME TOOL...: FOLDER/NAME/client, by install_NAME and these tools, unless it is there and newer than its sources. Why it is
# not there is in FOLDER/NAME.skipped; what was said in FOLDER/NAME.log.
client() {
    local name=$1 tool missing=() since=$SECONDS
    local client=$folder/$name/client log=$folder/$name.log skipped=$folder/$name.skipped
    shift
    rm -f "$skipped"
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    if ((${#missing[@]})); then
        echo "not installed: ${missing[*]}" >"$skipped"
        return
    fi
    mkdir -p "$folder/$name"
    [[ ! -d $here/$name ]] || cp -rp "$here/$name/." "$folder/$name/"
    if [[ -e $client && -z $(find "$here/install.sh" "$here/$name" -newer "$client" -type f 2>/dev/null) ]]; then return; fi
    rm -f "$client"
    if (cd "$folder/$name" && timeout "$seconds_max" bash -euo pipefail -c "$(declare -f "install_$name"); install_$name") \
        >"$log" 2>&1 </dev/null && [[ -e $client ]]; then
        touch "$client"
        echo "$name: made in $((SECONDS - since)) s"
    else
        echo "could not be made: $(grep -iE 'error|cannot|not found|fail' "$log" | tail -n 1 | tr -cd '[:alnum:] .,:/_-' | cut -c1-160)" >"$skipped"
    fi
}

trap 'jobs -p | xargs -r kill 2>/dev/null || true' EXIT
client node node npm autoconf automake libtoolize cmake g++ make python3 &
client js_sdk node npm &
client python python3 &
client go go &
client rust cargo &
client rust_extension cargo &
wait

command_of() {
    case $1 in
    node) echo "\"$(command -v node)\", \"$(readlink -f "$folder/node/client")\"" ;;
    python) echo "\"$folder/python/bin/python3\", \"-m\", \"awslambdaric\"" ;;
    js_sdk) echo "\"$folder/js_sdk/node_modules\"" ;;
    *) echo "\"$folder/$1/client\"" ;;
    esac
}
names=(node python go rust rust_extension js_sdk) had=() skipped=()
clients=$folder/clients.json.$$ # a suite that runs beside us reads the whole of one or of the other
{
    echo "{"
    for name in "${names[@]}"; do
        if [[ -e $folder/$name.skipped ]]; then
            skipped+=("$name")
        else
            had+=("$name")
            echo "  \"$name\": [$(command_of "$name")],"
        fi
    done
    echo "  \"skipped\": {"
    separator=
    for name in "${skipped[@]}"; do
        echo "    $separator\"$name\": \"$(<"$folder/$name.skipped")\""
        separator=,
    done
    echo "  }"
    echo "}"
} >"$clients"
mv -f "$clients" "$folder/clients.json"
for name in "${skipped[@]}"; do
    echo "skipped: $name: $(<"$folder/$name.skipped")"
done
echo "installed: ${had[*]}; see $folder/clients.json"
