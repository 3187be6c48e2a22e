#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The files of a target are cut short or replaced while greenps and greentrace read them:
# what is missing then is said, and they end by no signal and wait for nothing.  BUILD names
# the build directory.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
# shellcheck source=tests/e2e/sights.bash
. tests/e2e/sights.bash
greentrace=${GREENTRACE:-$build/greentrace}
sizes=(0 20 4096 200000)

# fresh_library: a new file, which nobody has mapped yet.
fresh_library() {
	cp -L "$build/libgreen.so" "$temp/lib/new"
	mv "$temp/lib/new" "$temp/lib/libgreen.so.0"
}

# started: a program whose library can be cut; it stands still, as it would miss that too.
started() {
	fresh_library
	state=unknown start "$temp/shared" || return 1
	kill -STOP "$pid"
}

# gone: the program, so that the next one can be started.
gone() {
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	return 0
}

# cut FILE AT SIZE COMMAND...: that, while FILE is cut to SIZE when it has been opened for the
# AT-th time.  It must have been; $status is the exit status, and no signal's.
cut() {
	local file=$1 at=$2 size=$3
	shift 3
	rm -f "$temp/count"
	CUT_FILE=$file CUT_AT=$at CUT_SIZE=$size CUT_COUNT=$temp/count LD_PRELOAD=$temp/cutshort.so \
		timeout 60 "$@" >"$temp/out" 2>"$temp/err"
	status=$?
	at_most "exit status of $* (cut to $size bytes)" 2 $status || return 1
	at_least "openings of $file by $*" "$at" "$(cat "$temp/count" 2>/dev/null)"
}

says_so='has been cut short'

# ---- greenps -------------------------------------------------------------------------

test_process() {
	local size
	for size in "${sizes[@]}"; do
		started && cut "$temp/lib/libgreen.so.0" 1 "$size" "$greenps" "$pid" --stacks || return 1
		equal 'exit status' 0 "$status" || return 1
		has 'what it says' "^greenps: $temp/lib/libgreen.so.0: the file $says_so" "$temp/err" ||
			return 1
		equal 'threads' 11 "$(grep -c '^[0-9]* *parked' "$temp/out")" || return 1
		gone
	done
}

# Before it looks.
test_process_after() {
	local size
	for size in "${sizes[@]}"; do
		started && truncate -s "$size" "$temp/lib/libgreen.so.0" || return 1
		ps "$pid" --stacks || return 1
		has 'what it says' "$says_so|not a libgreen program" "$temp/err" || return 1
		gone
	done
}

# Debug information beside the program, of that name.
test_debug_information() {
	local size
	mkdir -p "$temp/apart"
	for size in "${sizes[@]}"; do
		objcopy --only-keep-debug "$temp/sights" "$temp/apart/sights.debug"
		objcopy -S --add-gnu-debuglink="$temp/apart/sights.debug" "$temp/sights" "$temp/apart/sights"
		start "$temp/apart/sights" || return 1
		cut "$temp/apart/sights.debug" 1 "$size" "$greenps" "$pid" --stacks || return 1
		equal 'exit status' 0 "$status" || return 1
		equal 'threads' 11 "$(grep -c '^[0-9]* *parked' "$temp/out")" || return 1
		gone
	done
	succeeds_with_it
}

# Whole, it is used.
succeeds_with_it() {
	objcopy --only-keep-debug "$temp/sights" "$temp/apart/sights.debug"
	start "$temp/apart/sights" && succeeds "$pid" --stacks && stacks_are_whole 11 || return 1
	has 'source lines' ' sleep_long\+0x[0-9a-f]+ \(sights.c:[0-9]+\)' "$temp/out"
}

core_of_shared() {
	fresh_library
	rm -rf "$temp/dump.core" "$temp/core"
	cp "$temp/sights" "$temp/whole"
	cp "$temp/shared" "$temp/sights"
	kernel_core core
	local made=$?
	mv "$temp/whole" "$temp/sights"
	return $made
}

test_core() {
	local size
	core_of_shared || return
	cp --sparse=always "$temp/core" "$temp/kept"
	for size in "${sizes[@]}" 1000000 3000000; do
		cp --sparse=always "$temp/kept" "$temp/core"
		cut "$temp/core" 1 "$size" "$greenps" "$temp/core" --stacks || return 1
		[ $status -eq 0 ] || has 'what it says' '^greenps: ' "$temp/err" || return 1
	done
}

test_file_of_core() {
	local size
	core_of_shared || return
	for size in "${sizes[@]}"; do
		fresh_library
		cut "$temp/lib/libgreen.so.0" 1 "$size" "$greenps" "$temp/core" --stacks || return 1
		has 'what it says' "^greenps: .*$says_so" "$temp/err" || return 1
		# And now that it is.
		ps "$temp/core" --stacks || return 1
		has 'what it says' "^greenps: .*($says_so|no libgreen 0.1 or later found)" "$temp/err" ||
			return 1
	done
}

# Where the core says that the library was, there is something to wait at.
test_pipe_for_file_of_core() {
	core_of_shared || return
	rm "$temp/lib/libgreen.so.0"
	mkfifo "$temp/lib/libgreen.so.0"
	timeout 20 "$greenps" "$temp/core" --stacks >"$temp/out" 2>"$temp/err"
	at_most 'exit status' 2 $?
}

# ---- greentrace ----------------------------------------------------------------------

# traced ARGUMENT...: the library is cut at each of its openings, as often as there are.
traced() {
	local size at opened
	for size in 0 4096 200000; do
		for ((at = 1, opened = 1; at <= opened; at++)); do
			started || return 1
			cut "$temp/lib/libgreen.so.0" $at $size "$greentrace" "$@" -p "$pid" || return 1
			opened=$(cat "$temp/count")
			[ $status -eq 0 ] && ! [ -s "$temp/err" ] && [ $at -lt "$opened" ] &&
				{ echo "$*: cut at $at of $opened to $size bytes: nothing is said"; return 1; }
			[ $status -eq 0 ] || has 'what it says' "^greentrace: .*$says_so" "$temp/err" ||
				return 1
			gone
		done
	done
}

"${CC:-cc}" -shared -fPIC -O1 -g -o "$temp/cutshort.so" tests/e2e/cutshort.c -ldl || exit 1
mkdir "$temp/lib"
fresh_library
ln -s libgreen.so.0 "$temp/lib/libgreen.so"
make_sights shared -L "$temp/lib" -Wl,-rpath,"$temp/lib" -lgreen
for name in process process_after debug_information core file_of_core pipe_for_file_of_core; do
	check $name test_$name
done
if ! [ -x "$greentrace" ]; then
	skip greentrace 'not built'
else
	needs_tracing greentrace
	check probes traced probes
	check summary traced -c -k -d 0.05
	check sites traced sites -d 0.05
fi
summary
