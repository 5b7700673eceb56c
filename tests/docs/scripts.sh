#!/bin/sh
# scripts.sh: shellcheck over every shell script of the checkout, by name or by first line. 77 (skipped) without shellcheck.
set -eu
command -v shellcheck >/dev/null || { echo "shellcheck is not installed"; exit 77; }
set -- check quickstart .ci/run .ci/install consumers/examples/lambda-bash/bootstrap broker/daemon/debian/postinst broker/daemon/debian/prerm broker/daemon/debian/postrm
for script in $(find broker producers consumers schemas tests bench -name '*.sh' | sort); do
    set -- "$@" "$script"
done
echo "$# scripts"
shellcheck "$@"
