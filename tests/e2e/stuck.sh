#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A handler that burns CPU for a second and more keeps one worker of two busy: the
# connections of the other worker, and new ones, are served meanwhile, and the stuck
# worker is reported with the green thread that it runs.  BUILD names the build directory;
# GREEN_ENGINE an engine, else both are tested.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
connections=1000

start() {
	: >"$temp/out"
	GREEN_ENGINE=$label GREEN_WORKERS=2 GREEN_DEBUG=stuck "$build/examples/httpd" --debug \
		--status --listen 127.0.0.1:0 --root "$temp/root" >"$temp/out" 2>"$temp/err" &
	wait_until_listening $!
}

stop() {
	kill -TERM "$server"
	wait "$server"
	equal 'exit status' 0 $?
}

# of NAME: a figure that the probe printed.
of() { sed -n "s/^$1 //p" "$temp/figures"; }

test_stuck_worker() {
	start || return 1
	"$temp/stuckprobe" "$port" $connections /one 1000 >"$temp/figures" || return 1
	remark "$(tr "\n" " " <"$temp/figures")"
	at_least 'the spin, ms' 1000 "$(of spin_ms)" || return 1
	# The workers share the connections, but on a busy machine not evenly: what
	# one does not take at once, another does.
	at_least "connections answered during the spin" $((connections / 10)) \
		"$(of answered)" || return 1
	equal 'connections of the other worker that waited for the end' 0 "$(of cut_off)" ||
		return 1
	equal 'new connections' 50 "$(of new)" || return 1
	equal 'new connections answered during the spin' "$(of new)" "$(of new_answered)" ||
		return 1
	equal 'connections answered in the end' $connections "$(of afterwards)" || return 1
	at_least 'times that a worker was found stuck' 1 "$(of found_stuck)" || return 1
	stop || return 1 # which waits for a report that is being made
	has report 'worker [01] is stuck: it has been running green thread [0-9]+ "[a-z]' \
		"$temp/err"
}

hard=$(ulimit -Hn)
if [ "$hard" != unlimited ] && [ "$hard" -lt $((connections + 200)) ]; then
	echo "SKIP: stuck: RLIMIT_NOFILE is below $((connections + 200))"
	exit 77
fi
ulimit -Sn "$hard"
mkdir "$temp/root"
printf x >"$temp/root/one"
"${CC:-cc}" -D_GNU_SOURCE -O1 -o "$temp/stuckprobe" tests/e2e/stuckprobe.c || exit 1
for label in ${GREEN_ENGINE:-io_uring epoll}; do
	if ! engine_there "$label"; then
		skip stuck_worker 'the kernel refuses io_uring'
		continue
	fi
	check stuck_worker test_stuck_worker
done
label=
summary
