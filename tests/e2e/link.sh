#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Link mode from outside: examples/commands waits for all its commands at once, on one
# worker, in each mode of interception and on both engines; without interception it does
# the same one after the other.  BUILD names the build directory.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash

# commands MODE ENGINE COMMAND...: on one worker; sets status and took, in ms.
commands() {
	local begin
	begin=$(date +%s%N)
	GREEN_INTERCEPT=$1 GREEN_ENGINE=$2 GREEN_WORKERS=1 timeout 60 "$build/examples/commands" \
		"${@:3}" >"$temp/out" 2>"$temp/err"
	status=$?
	took=$((($(date +%s%N) - begin) / 1000000))
}

sleepers=()
for i in 1 2 3 4 5 6 7 8 9 10; do
	sleepers+=("sleep 1; echo $i")
	echo "$i" >>"$temp/expected"
done

# Ten seconds, one after the other; starting shells takes its time on a busy machine.
test_at_once() {
	commands "$1" "$2" "${sleepers[@]}"
	if grep 'one after the other' "$temp/err"; then return 77; fi
	equal status 0 $status || { cat "$temp/err"; return 1; }
	cmp "$temp/expected" "$temp/out" || return 1
	[ $took -lt 8000 ] || { echo "it took $took ms"; return 1; }
}

test_off() {
	commands off epoll 'echo a' 'exit 3'
	equal status 1 $status && equal output a "$(cat "$temp/out")" &&
		has 'what it says' 'one after the other' "$temp/err"
}

test_usage() {
	commands auto epoll
	equal status 2 $status && has 'what it says' Usage "$temp/err"
}

check usage test_usage
check off test_off
for engine in epoll io_uring; do
	for mode in auto patch dispatch both; do
		label="$mode $engine"
		if engine_there $engine; then
			check at_once test_at_once $mode $engine
		else
			skip at_once 'the kernel refuses io_uring'
		fi
	done
done
label=
summary
