#!/bin/sh
# A resident filter in plain shell: for each line in, one line out, in order. The rule's input-path makes the line a JSON string,
# the file's key. Anything but {"error":...} is success.
mkdir -p "$RESULTS"

while IFS= read -r line; do
    key=$(printf '%s\n' "$line" | sed 's/^"//; s/"$//; s/\\\(["\\]\)/\1/g')
    if words=$(wc -w <"$FILES/$key"); then
        # A file for each key: when an event comes twice, the same number is written twice.
        printf '%d\n' "$words" >"$RESULTS/$(printf '%s' "$key" | tr / _).count"
        printf '{"words":%d}\n' "$words"
    else
        printf '{"error":{"type":"NoSuchFile","message":"cannot read the file of this event"}}\n'
    fi
done
