#!/bin/sh
# pages.sh BUILD: every key of schemas/config.md is in sluice.yaml(5), every function of the public headers in libsluice(3),
# under a name of its own too; and mandoc finds no mistake in any page. Without mandoc that last part is left out, and said.
set -eu
build=$1
status=0

# Its tables are made from config.md: none may be left out.
page=$build/schemas/sluice.yaml.5
rows=$(grep -c '^| `' schemas/config.md)
items=$(grep -c '^\.It Cm' "$page")
[ "$items" = "$rows" ] || { echo "sluice.yaml(5) has $items keys, schemas/config.md $rows"; status=1; }

functions=$(sed -nE 's/^[a-z_ ]*[ *](sluice_[a-z_]+)\(.*/\1/p' producers/client/include/sluice/producer.h \
    consumers/sdk/include/sluice/function.h schemas/include/sluice/error.h | sort -u)
for function in $functions; do
    [ "$function" != sluice_ack ] || continue # a type of function
    grep -q "^\.Nm $function" producers/client/libsluice.3 || { echo "libsluice(3) does not name $function"; status=1; }
    grep -q "^\.F[no] $function\b" producers/client/libsluice.3 || { echo "libsluice(3) does not declare $function"; status=1; }
    [ -f "$build/producers/client/man3/$function.3" ] || { echo "no page $function(3)"; status=1; }
done

pages="$page $(find broker producers consumers -name '*.[1358]')"
if command -v mandoc >/dev/null; then
    for one in $pages; do
        # Warnings about what is missing on this machine (referenced pages) or is taste (STYLE) are no mistakes of the page.
        mandoc -Tlint -W error "$one" || status=1
    done
else
    echo "mandoc is not installed: the pages' markup is not checked"
fi
exit "$status"
