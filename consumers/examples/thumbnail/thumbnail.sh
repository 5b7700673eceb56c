#!/bin/sh
# One picture, one process: the event comes on stdin, exit 0 is success, stdout is the result, stderr goes to the log.
set -eu

key=$(jq -r .detail.object.key)
out=$RESULTS/${key%.*}.jpg
mkdir -p "$(dirname "$out")"

# Made beside and renamed: an event may come twice, and nobody shall see half a picture.
new=$(mktemp "$out.XXXXXX")
trap 'rm -f "$new"' EXIT
convert -define jpeg:size=640x640 "$FILES/$key" -auto-orient -thumbnail 320x320 -strip "jpg:$new"
chmod 644 "$new"
mv "$new" "$out"

jq -nc --arg thumbnail "${out#"$RESULTS"/}" '{$thumbnail}'
