#!/usr/bin/env bash
# files_end_to_end.sh SLUICED SLUICE_FILES: the real source and the real daemon, both killed again and again while files come.
# The function's own output is the judge: each file once, for the daemon drops what was published before.
set -euo pipefail

sluiced=$1 sluice_files=$2
readonly FILES=2000 KILLS=9 WAIT_S=60

root=$(mktemp -d "${TMPDIR:-/tmp}/sluice-files-test.XXXXXX")
daemon_pid='' source_pid='' writer_pid=''
finish() {
    local pid
    for pid in $writer_pid $source_pid $daemon_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$root"
}
trap finish EXIT
fail() {
    printf 'FAIL: %s\n--- daemon\n%s\n--- source\n%s\n' "$1" "$(tail -n 20 "$root/daemon.log")" "$(tail -n 20 "$root/source.log")" >&2
    exit 1
}

mkdir -p "$root/conf" "$root/files"
export SLUICE_URL=ipc://$root/bus.sock
cat >"$root/conf/sluice.yaml" <<EOF
listen: {bus: ["$SLUICE_URL"]}
functions:
  sink:
    command: [sh, -c, 'while IFS= read -r key; do echo "\$\$ \$key" >>"\$OUT"; echo ok; done']
    protocol: stdio-lines
    environment: {OUT: "$root/keys"}
    concurrency: 10
    scale: {max: 1}
rules:
  all: {pattern: {source: [files], detail: {bucket: {name: [test]}}}, targets: [{function: sink, input-path: \$.detail.object.key}]}
EOF
: >"$root/keys"

start_daemon() {
    "$sluiced" --config "$root/conf" --data "$root/data" >>"$root/daemon.log" 2>&1 &
    daemon_pid=$!
}
start_source() {
    "$sluice_files" --bucket test --state "$root/state" "$root/files" >>"$root/source.log" 2>&1 &
    source_pid=$!
}
published() { cut -d' ' -f2- "$root/keys" | sort -u | wc -l; } # a line: the process that got it, the key
wait_published() {
    local deadline=$((SECONDS + WAIT_S))
    while (($(published) < $1)); do
        ((SECONDS < deadline)) || fail "$(published) of $1 files arrived within $WAIT_S s"
        kill -0 "$source_pid" 2>/dev/null || fail "the source ended"
        kill -0 "$daemon_pid" 2>/dev/null || fail "the daemon ended"
        sleep 0.02
    done
}

start_daemon
start_source
for ((i = 1; i <= FILES; i++)); do
    ((i % 100 != 1)) || mkdir -p "$root/files/folder-$((i / 100))"
    echo "$i" >"$root/files/folder-$(((i - 1) / 100))/$i"
done &
writer_pid=$!

for ((round = 1; round <= KILLS; round++)); do
    wait_published $((FILES * round / (KILLS + 1)))
    kill -KILL "$source_pid"
    wait "$source_pid" 2>/dev/null || true
    if ((round % 3 == 0)); then
        kill -KILL "$daemon_pid"
        wait "$daemon_pid" 2>/dev/null || true
        start_daemon
    fi
    start_source
done
wait "$writer_pid"
writer_pid=
wait_published "$FILES"

kill -TERM "$source_pid"
wait "$source_pid" || fail "the source ended with $?"
source_pid=
kill -TERM "$daemon_pid"
wait "$daemon_pid" || fail "the daemon ended with $?"
daemon_pid=

(($(published) == FILES)) || fail "$(published) different files arrived, $FILES were written"
# A file may arrive twice only where a kill of the daemon lies between: what was leased, or answered and not yet committed, comes again
# to the function's next process. Within the life of one process each file is met once.
twice=$(sort "$root/keys" | uniq -d | wc -l)
((twice == 0)) || fail "$twice files arrived twice at one process"
lives=$(cut -d' ' -f1 "$root/keys" | sort -u | wc -l)
((lives <= 1 + KILLS / 3)) || fail "the function had $lives processes, more than lives of the daemon"
repeats=$(($(wc -l <"$root/keys") - FILES))
echo "ok: $FILES files, $KILLS kills, $repeats repeats"
