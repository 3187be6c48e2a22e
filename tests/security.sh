#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What is linked has a stack that is not executable, full RELRO, no relocations in
# its text, and does not claim a shadow stack, which the switch does not keep.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build/release}
status=0

complain() {
	echo "$file: $1"
	status=1
}

checked=0
for file in "$build"/libgreen.so.*.* "$build"/green* "$build"/examples/*; do
	if ! [ -f "$file" ] || ! [ -x "$file" ]; then
		continue
	fi
	checked=$((checked + 1))
	headers=$(readelf -lW "$file")
	dynamic=$(readelf -dW "$file")
	notes=$(readelf -nW "$file")
	echo "$headers" | grep -q 'GNU_STACK.* RW ' || complain 'executable stack'
	echo "$headers" | grep -q 'LOAD.* RWE ' && complain 'memory both writable and executable'
	echo "$headers" | grep -q GNU_RELRO || complain 'no RELRO'
	echo "$dynamic" | grep -qE 'BIND_NOW|FLAGS_1.*NOW' || complain 'RELRO is not full'
	echo "$dynamic" | grep -q TEXTREL && complain 'relocations in the text'
	echo "$notes" | grep -q SHSTK && complain 'claims a shadow stack'
done
[ "$checked" -gt 0 ] || { echo "nothing to check in $build"; exit 1; }

# Each object, because a static program takes only some.
for file in "$build"/obj/runtime/*.o "$build"/obj/runtime/arch/*.o "$build"/obj/stacks/*.o; do
	readelf -SW "$file" | grep -q '\.note\.GNU-stack' || complain 'no .note.GNU-stack'
	readelf -nW "$file" | grep -q SHSTK && complain 'claims a shadow stack'
done
exit $status
