#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What greentrace learns from the kernel besides switches: where the time of requests of
# io_uring goes, system calls past the runtime, pages of stacks that are touched first.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
# shellcheck source=tests/e2e/greentrace.bash
. tests/e2e/greentrace.bash

# The parts of a wait add up to it, as lines of JSON have them.
adds_up() {
	local whole parts
	whole=$(seen io total_ns)
	parts=$(sed -n '/"type":"io_uring"/s/.*"queued_ns":\([0-9]*\),"kernel_ns":\([0-9]*\),.*"reaped_ns":\([0-9]*\),"ready_ns":\([0-9]*\)}/\1 \2 \3 \4/p' \
		"$temp/out" | awk '{ n += $1 + $2 + $3 + $4 } END { printf "%.0f", n }')
	awk -v a="$whole" -v b="$parts" 'BEGIN {
		d = a > b ? a - b : b - a
		if (a == 0 || d > a / 50) { print "waits took", a, "and their parts", b; exit 1 }
	}'
}

tracefs_there() { [ -r /sys/kernel/tracing/events/io_uring/io_uring_complete/id ]; }
no_tracefs() { echo 'no tracefs is mounted at /sys/kernel/tracing'; return 77; }

test_requests() {
	tracefs_there || { no_tracefs; return; }
	engine_there io_uring || { echo 'the kernel does not allow io_uring'; return 77; }
	local -x GREEN_ENGINE=io_uring
	trace 0 -c --io -- "$temp/traced" talk || return 1
	has 'polls' '^ +[0-9]+ +0 .* POLL_ADD +talk \(traced.c:' "$temp/out" || return 1
	trace 0 -c -j --io -- "$temp/traced" talk || return 1
	"$temp/jsoncheck" type=io_uring request=POLL_ADD count punted kernel_ns \
		< <(grep '"type":"io_uring"' "$temp/out") || return 1
	equal 'waits' "$(seen io count)" \
		"$(sed -n 's/.*"type":"io_uring".*"count":\([0-9]*\),.*/\1/p' "$temp/out")" || return 1
	adds_up
}

test_punts() {
	tracefs_there || { no_tracefs; return; }
	engine_there io_uring || { echo 'the kernel does not allow io_uring'; return 77; }
	local -x GREEN_ENGINE=io_uring
	trace 0 record "$temp/recording" --io -- "$temp/traced" punt || return 1
	trace 0 report "$temp/recording" --io || return 1
	has 'each to a thread of the kernel' '^ +10 +10 .* FSYNC +flush_file \(traced.c:' "$temp/out"
}

test_without_tracefs() {
	local status
	unshare -m true 2>/dev/null || { echo 'no mount namespace can be made here'; return 77; }
	# shellcheck disable=SC2016 # for the inner shell
	timeout 60 unshare -m sh -c 'while umount /sys/kernel/debug/tracing || umount /sys/kernel/debug ||
		umount /sys/kernel/tracing; do :; done 2>/dev/null
		exec "$@"' - "$greentrace" -c --io -- "$temp/traced" talk >"$temp/out" 2>"$temp/err" </dev/null
	status=$?
	equal 'exit status' 2 $status && has 'the remedy' 'mount -t tracefs tracefs' "$temp/err"
}

test_epoll_has_none() {
	tracefs_there || { no_tracefs; return; }
	GREEN_ENGINE=epoll trace 0 -c --io -- "$temp/traced" talk || return 1
	has 'why' 'no wait for a request was seen' "$temp/out"
}

test_syscalls() {
	trace 0 -c --syscalls -- "$temp/traced" block || return 1
	has 'five calls' '^ +5  nanosleep$' "$temp/out" || return 1
	has 'where' '^      legacy_call \(traced.c:' "$temp/out" || return 1
	equal 'no others' 1 "$(grep -cE '^ +[0-9]+  [a-z]+( [0-9]+)?$' "$temp/out")" || return 1
	trace 0 record "$temp/recording" --syscalls -- "$temp/traced" block || return 1
	trace 0 report "$temp/recording" -j || return 1
	has 'five calls' '"type":"syscall","in":"nanosleep","count":5,.*"function":"legacy_call"' "$temp/out"
}

# Regressions: threads that the runtime starts for offload were shown as the program's; and
# some calls only by their numbers.
test_syscalls_of_the_runtime() {
	GREEN_ENGINE=epoll trace 0 -c --syscalls -- "$temp/traced" punt || return 1
	has "the program's own" '^ +1  openat$' "$temp/out" || return 1
	! grep -E '^      os_thread_start |  syscall [0-9]+$|  clone3$' "$temp/out"
}

# A sleep that is interrupted is gone on with by a call of another number.
test_interrupted_syscalls() {
	local tracer traced
	"$greentrace" -c --syscalls -- "$temp/traced" block >"$temp/out" 2>"$temp/err" </dev/null &
	tracer=$!
	until traced=$(pgrep -P $tracer) && grep -q '^ready' "$temp/out"; do
		[ -d /proc/$tracer ] || { cat "$temp/err"; return 1; }
		sleep 0.01
	done
	while kill -STOP "$traced" && kill -CONT "$traced"; do sleep 0.005; done 2>/dev/null
	wait $tracer
	equal 'exit status' 0 $? || { cat "$temp/err"; return 1; }
	sed -n '/^System calls/,$s/^ *\([0-9][0-9]*\)  /\1 /p' "$temp/out" >"$temp/calls"
	equal 'calls' '5 nanosleep' "$(cat "$temp/calls")"
}

# 16 frames of 2,000 bytes.
test_faults() {
	trace 0 -c -j --faults -- "$temp/traced" deep || return 1
	has 'where' '"type":"fault","count":[0-9]+,.*"function":"deeper"' "$temp/out" || return 1
	at_least 'pages' 7 "$(sed -n 's/.*"type":"fault","count":\([0-9]*\),.*/\1/p' "$temp/out" |
		awk '{ n += $1 } END { print n }')" || return 1
	at_least 'the deepest' 28000 "$(sed -n 's/.*"deepest_bytes":\([0-9]*\),.*/\1/p' "$temp/out" |
		sort -n | tail -n 1)"
}

# Stacks of that size are mapped when the first is wanted.
test_large_stacks() {
	trace 0 -c -j --faults -- "$temp/traced" large || return 1
	at_least 'the deepest' 126000 "$(sed -n 's/.*"type":"fault".*"deepest_bytes":\([0-9]*\),.*/\1/p' \
		"$temp/out" | sort -n | tail -n 1)"
}

# The same where greentrace is stopped from before the program's runtime starts until it has
# ended: it cannot look anything up then.
test_unseen_requests() { UNSEEN=1 test_requests; }
test_unseen_stacks() { UNSEEN=1 test_large_stacks; }

make_traced traced "${archive[@]}"

needs_tracing 'kernel views'
for name in requests punts without_tracefs epoll_has_none syscalls syscalls_of_the_runtime interrupted_syscalls \
	faults large_stacks unseen_requests unseen_stacks; do
	check $name test_$name
done
summary
