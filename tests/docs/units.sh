#!/bin/sh
# units.sh BUILD: systemd-analyze finds no mistake in the units as they are installed, and their hardening is no weaker than it was.
# 77 (skipped) without systemd-analyze.
set -eu
command -v systemd-analyze >/dev/null || { echo "systemd-analyze is not installed"; exit 77; }
build=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# verify wants the programs to be there: those of the build tree stand for the installed ones.
sed "s|^ExecStart=[^ ]*/sluiced |ExecStart=$build/broker/daemon/sluiced |" "$build/broker/daemon/sluiced.service" >"$folder/sluiced.service"
sed "s|^ExecStart=[^ ]*/sluice-files |ExecStart=$build/producers/sources/files/sluice-files |" \
    "$build/producers/sources/files/sluice-files@.service" >"$folder/sluice-files@.service"
cp "$build/consumers/sluice-consumer@.service" "$folder/sluice-consumer@.service"
cp "$folder/sluice-consumer@.service" "$folder/sluice-consumer@journal.service"
grep -q "^ExecStart=$build" "$folder/sluiced.service"
grep -q "^ExecStart=$build" "$folder/sluice-files@.service"
cp "$folder/sluice-files@.service" "$folder/sluice-files@pictures.service"
status=0
for unit in sluiced.service sluice-files@pictures.service sluice-consumer@journal.service; do
    systemd-analyze verify --man=no --recursive-errors=no "$folder/$unit" >"$folder/said" 2>&1 || status=1
    grep "$unit\|sluice" "$folder/said" && status=1
done
[ "$status" = 0 ] || { echo "systemd-analyze verify finds mistakes"; exit 1; }

# "exposure", 0 to 100: the functions run inside the daemon's unit, so that one cannot be as tight.
systemd-analyze security --no-pager --offline=yes --threshold=25 "$folder/sluiced.service" >"$folder/said" || { cat "$folder/said"; exit 1; }
for unit in sluice-files@.service sluice-consumer@.service; do
    systemd-analyze security --no-pager --offline=yes --threshold=15 "$folder/$unit" >"$folder/said" || { cat "$folder/said"; exit 1; }
done
