#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Programs that do what a runtime beneath them has to survive: close all descriptors, change
# who they are, overflow stacks, jump out of handlers and calls, end in any way.  Each case
# of tests/hostile runs natively; what it prints and how it ends has to be the same under
# greenrun, in each mode of interception, with one and two workers, on both engines: a choice
# in which each pair occurs; HOSTILE=all takes all.  BUILD names the build directory.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
limit=60
at_once=4
needs_greenrun

compile hostile tests/hostile/*.c -D_GNU_SOURCE -Wall -Werror
"$temp/hostile" --list | sort >"$temp/list"

# outcome FILE COMMAND...: what it prints and how it ends.
outcome() {
	timeout -s KILL $limit "${@:2}" >"$1" 2>"$1.err" </dev/null
	echo "status $?" >>"$1"
}

# outcomes FOLDER COMMAND...: of all cases, some at once.
outcomes() {
	local case folder=$1 running=0
	mkdir "$folder"
	while read -r case; do
		if [ $running -eq $at_once ]; then
			wait -n
			running=$((running - 1))
		fi
		outcome "$folder/$case" "${@:2}" "$case" 2>"$folder/$case.shell" &
		running=$((running + 1))
	done <"$temp/list"
	wait
}

same() {
	local case bad=0
	outcomes "$temp/found" "$run" "$@" "$temp/hostile" green
	while read -r case; do
		cmp -s "$temp/native/$case" "$temp/found/$case" && continue
		echo "$case: $(diff "$temp/native/$case" "$temp/found/$case" | head -n 4 | tr '\n' ' ')" \
			"$(tail -n 2 "$temp/found/$case.err" | tr '\n' ' ')"
		bad=1
	done <"$temp/list"
	rm -rf "$temp/found"
	return $bad
}

outcomes "$temp/native" "$temp/hostile" native
grep -l '^SKIP' "$temp"/native/* | while read -r file; do
	remark "natively $(basename "$file"): $(grep '^SKIP' "$file")"
done
cases=$(wc -l <"$temp/list")
while read -r mode workers engine; do
	label="$mode $workers $engine"
	if ! engine_there "$engine"; then
		skip everything 'the kernel refuses io_uring'
	else
		check "$cases cases" same --intercept "$mode" --workers "$workers" --engine "$engine"
	fi
done < <(interceptions "${HOSTILE:-}")
# Its handler runs in the first thread, which has no turn while another one computes.
label=serial
sed -i '/^limit_of_cpu_time$/d' "$temp/list"
check "$((cases - 1)) cases" same --serial
label=
summary
