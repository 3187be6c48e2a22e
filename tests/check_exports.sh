#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The shared object exports what the public headers declare, under its version,
# and nothing else.
set -eu
cd "$(dirname "$0")/.."
library=$(echo "${BUILD:-build/release}"/libgreen.so.*.*)
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT

${CC:-cc} -E -P -idirafter runtime runtime/green.h | grep -o '\bgreen_[a-z0-9_]*(' | tr -d '(' |
	sort -u | sed 's/$/@@GREEN_0.1/' >"$lists/declared"
nm -D --defined-only --format=posix "$library" | awk '$2 != "A" { print $1 }' |
	sort -u >"$lists/exported"
sed -n 's/^\t\([a-z0-9_]*\);$/\1@@GREEN_0.1/p' runtime/libgreen.map | sort -u >"$lists/mapped"

status=0
if ! diff "$lists/declared" "$lists/mapped" >"$lists/diff"; then
	echo 'runtime/libgreen.map (>) is not what the headers declare (<):'
	cat "$lists/diff"
	status=1
fi
if ! diff "$lists/declared" "$lists/exported" >"$lists/diff"; then
	echo "$library exports (>) what the headers do not declare, or lacks (<) what they do:"
	cat "$lists/diff"
	status=1
fi
soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
if [ "$soname" != libgreen.so.0 ]; then
	echo "$library: SONAME is $soname"
	status=1
fi
exit $status
