#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Debuggers and profilers on green threads: gdb, perf, and a profiler in the process
# that interrupts it ten thousand times a second.  BUILD names the build directory;
# GREEN_ENGINE an engine, else both are tested.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
stress=$build/tests/stress_mix

# ---- gdb -----------------------------------------------------------------------

# in_gdb COMMAND...: runs nested in gdb; what gdb says is in $temp/gdb.
in_gdb() {
	local command options=()
	for command; do options+=(-ex "$command"); done
	timeout 120 gdb -nx -q -batch -ex 'set pagination off' -ex 'set confirm off' \
		-ex 'set debuginfod enabled off' \
		-ex 'handle all nostop noprint pass' "${options[@]}" "$temp/nested" \
		</dev/null >"$temp/gdb" 2>&1
	if grep -q 'ptrace: Operation not permitted\|Could not trace the inferior' "$temp/gdb"; then
		echo 'ptrace is not permitted'
		return 77
	fi
}

no_errors() {
	! grep -E 'Backtrace stopped|previous frame|Cannot access memory|corrupt' "$temp/gdb"
}

# A breakpoint in a green thread that has been switched away and back.
test_gdb_backtrace() {
	in_gdb 'break leaf' run 'bt' || return
	has 'innermost frame' '^#0 .*leaf' "$temp/gdb" || return 1
	has 'its caller' '^#1 .*middle' "$temp/gdb" || return 1
	has 'the entry function' '^#2 .*entry' "$temp/gdb" || return 1
	equal 'outermost frame' switch_boot \
		"$(sed -n 's/^#[0-9]* .*in \([a-z_]*\) .*/\1/p' "$temp/gdb" | tail -1)" || return 1
	no_errors
}

# Every instruction of a switch, from the green thread to whoever runs next.
test_gdb_each_instruction() {
	local i commands=('break leaf' run 'break switch_stacks' continue)
	for ((i = 0; i < 40; i++)); do commands+=(stepi 'bt -1'); done
	in_gdb "${commands[@]}" || return
	equal 'backtraces' 40 "$(grep -cE '^#[0-9]+ .*(switch_boot|main|clone3?|start_thread) ' \
		"$temp/gdb")" || return 1
	no_errors
}

# ---- profilers -----------------------------------------------------------------

# stress_with COMMAND...: two seconds of stress under it.
stress_with() {
	timeout 100 "$@" "$stress" --seconds 2 --seeds 100000 >"$temp/stress" 2>&1
	equal 'exit status' 0 $? && return
	tail -n 20 "$temp/stress"
	return 1
}

test_perf() {
	perf record -g -o "$temp/perf.data" -- true >"$temp/perf" 2>&1 ||
		{ echo "perf record is not permitted: $(head -1 "$temp/perf")"; return 77; }
	stress_with perf record -g -F 2000 -o "$temp/perf.data" -- || return 1
	perf script -i "$temp/perf.data" >"$temp/perf" 2>/dev/null
	at_least 'samples in green threads' 10 "$(grep -c spawn_boot "$temp/perf")" || return 1
	has 'the outermost frame' 'switch_boot' "$temp/perf"
}

# profile HOW...
profile() {
	local samples deepest
	stress_with env PROFILER="$*" LD_PRELOAD="$temp/profiler.so" || return 1
	# Each process that runs seeds reports; the one that waits for them does nothing
	# that could be profiled.
	read -r samples deepest < <(awk '
		/^samples/ { samples += $2; if ($4 > deepest) deepest = $4 }
		END { print samples + 0, deepest + 0 }' "$temp/stress")
	remark "profiler $*: $samples samples, the deepest $deepest frames"
	# How many it takes depends on the CPU time that the machine gives; some hundreds
	# show that it was at work, and what is called from a session that it saw green threads.
	at_least samples 100 "$samples" && at_least 'frames of the deepest' 4 "$deepest"
}

# ---- all of them ---------------------------------------------------------------

if grep -qs -e '-fsanitize=' "$build/flags"; then
	skip everything 'a program here without a sanitizer cannot be linked with this build'
	summary
	exit 77
fi
"${CC:-cc}" -O1 -g -fno-omit-frame-pointer -I "$build/include" -o "$temp/nested" \
	tests/e2e/nested.c "$build/libgreen.a" -l:liburing.a -lm -pthread || exit 1
"${CC:-cc}" -D_GNU_SOURCE -O1 -shared -fPIC -o "$temp/profiler.so" tests/e2e/profiler.c \
	-pthread || exit 1
for engine in ${GREEN_ENGINE:-io_uring epoll}; do
	label=$engine
	export GREEN_ENGINE=$engine GREEN_WORKERS=2
	if ! engine_there "$engine"; then
		skip everything 'the kernel refuses io_uring'
		continue
	fi
	for name in gdb_backtrace gdb_each_instruction; do
		if command -v gdb >/dev/null; then
			check $name test_$name
		else
			skip $name 'gdb is not installed'
		fi
	done
	if command -v perf >/dev/null; then
		check perf test_perf
	else
		skip perf 'perf is not installed'
	fi
	for how in 'plain walk' 'altstack walk' 'plain backtrace' 'altstack backtrace'; do
		# shellcheck disable=SC2086 # words
		check "profiler_${how/ /_}" profile $how
	done
done
label=
summary
