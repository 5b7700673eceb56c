#!/usr/bin/env bash
# run.sh BUILD [--json] [--rounds N]: bench/invoke beside serverless-offline, the local Lambda of the Serverless Framework: the same node
# handler behind the same Invoke call, in one run. Installs it by npm into a temporary folder; needs node and npm.
set -euo pipefail
build=$(cd -P "${1:?usage: run.sh BUILD [--json] [--rounds N]}" && pwd)
shift
here=$(cd -P "$(dirname "$0")" && pwd)
work=$(mktemp -d)
peer=0
trap 'kill -- "-$peer" 2>/dev/null || true; rm -rf "$work"' EXIT
cp "$here"/package.json "$here"/serverless.yml "$here"/index.js "$work"
cd "$work"
npm install --no-audit --no-fund >npm.log 2>&1 || { echo "run.sh: npm cannot install serverless-offline:" >&2; tail -n 5 npm.log >&2; exit 1; }
export SLS_TELEMETRY_DISABLED=1 SLS_NOTIFICATIONS_MODE=off
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
setsid npx serverless offline start --host 127.0.0.1 --lambdaPort "$port" --httpPort "$((port + 1))" --useInProcess >peer.log 2>&1 &
peer=$!
path=/2015-03-31/functions/peer-dev-noop/invocations
for ((tries = 0; tries < 300; tries++)); do # up to 60 s
    [[ $(curl -s -o answer -w '%{http_code}' -d '{"key":"text"}' "http://127.0.0.1:$port$path") == 200 ]] && break
    sleep 0.2 # between two looks
done
[[ $(cat answer) == '{"key":"text"}' ]] || { echo "run.sh: serverless-offline does not answer:" >&2; tail -n 5 peer.log >&2; exit 1; }
SLUICE_PEER="$port $path" "$build"/bench/invoke "$@"
