#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# greentrace comes and goes, is killed, and sees its target die, while that is under load:
# no crash, no request lost, nothing left behind.  ATTACH_ROUNDS is how often (20).  BUILD
# names the build directory; GREENTRACE a greentrace to test instead of that build's.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
greentrace=${GREENTRACE:-$build/greentrace}
rounds=${ATTACH_ROUNDS:-20}
export DEBUGINFOD_URLS='' GREEN_WORKERS=2
RANDOM=${ATTACH_SEED:-1}

if ! [ -x "$greentrace" ]; then
	skip greentrace 'not built, for lack of libbpf-dev, libdw-dev, bpftool or clang'
	exit 77
fi
needs_tracing attaching

# ---- what is left behind -------------------------------------------------------------

# Programs of greentrace that no process holds: others may be tracing at the same time.
orphans() {
	comm -23 <(bpftool prog show 2>/dev/null |
		sed -nE 's/^([0-9]+): .* name on_(flush|stack|enter|forbidden|switch|wakeup|sample|worker_[a-z]+) .*/\1/p' |
		sort -u) <(cat /proc/[0-9]*/fdinfo/* 2>/dev/null | sed -n 's/^prog_id:[^0-9]*//p' | sort -u)
}

# nothing_left PID: the kernel takes probes out when the last descriptor closes.
nothing_left() {
	local i
	for ((i = 0; i < 100; i++)); do
		[ -z "$(orphans)" ] && { [ $# -eq 0 ] || zero "$1"; } && return
		sleep 0.1
	done
	echo "programs left: $(orphans)"
	[ $# -eq 0 ] || "$greentrace" probes -p "$1"
	return 1
}

# zero PID: are its semaphores?
zero() { "$greentrace" probes -p "$1" >"$temp/probes" && ! grep -q ' attached ' "$temp/probes"; }

# What one round asks for: each view takes part.
views=('-c' '-c -k' '-c -k --blocked 5 --runq' '-c --hog 20' 'sites' 'sites -j --hog 50 --blocked 1')

# attach_once PID ROUND: for a moment; it must work.
attach_once() {
	# shellcheck disable=SC2086 # words
	timeout -s KILL 60 "$greentrace" ${views[$2 % ${#views[@]}]} -d 0.02 -p "$1" \
		>"$temp/traced.out" 2>"$temp/traced.err" </dev/null && return
	echo "round $2 (${views[$2 % ${#views[@]}]}): exit status $?"
	cat "$temp/traced.err" "$temp/traced.out"
	return 1
}

# attach_and_kill PID: the tracer dies before, while or after it attaches.
attach_and_kill() {
	local tracer
	"$greentrace" -k --hog 50 --blocked 5 -p "$1" >"$temp/killed.out" 2>&1 </dev/null &
	tracer=$!
	sleep "0.$(printf %03d $((RANDOM % 400)))"
	kill -9 $tracer
	wait $tracer 2>/dev/null
}

# ---- load ----------------------------------------------------------------------------

# Trees of 100,000 threads, one after the other: each checks its sum.
skynets() {
	until [ -e "$temp/enough" ]; do
		timeout -s KILL 300 "$build/greenbench" skynet --threads 100000 --duration 10 --rounds 1 \
			--progress none >"$temp/skynet.out" 2>&1 || {
			echo "skynet: exit status $?" >"$temp/failed"
			cat "$temp/skynet.out" >>"$temp/failed"
			return
		}
		echo >>"$temp/runs"
	done
}

# The pid of the program that runs now.
current() {
	local i pid
	for ((i = 0; i < 200; i++)); do
		pid=$(pgrep -P "$1" -f 'greenbench skynet' | head -n 1)
		pid=${pid:+$(pgrep -P "$pid" greenbench | head -n 1)}
		[ -n "$pid" ] && echo "$pid" && return
		sleep 0.02
	done
	return 1
}

# Requests at a steady rate; what is lost, late or wrong is an error.
requests() {
	until [ -e "$temp/enough" ]; do
		timeout -s KILL 300 "$build/greenbench" http --url "http://127.0.0.1:$port/file" \
			--connections 20 --rate 1000 --duration 2 --rounds 1 --warmup 0 --clients 1 \
			--timeout 20 --json >"$temp/load.out" 2>&1 || {
			echo "requests: exit status $?" >"$temp/failed"
			cat "$temp/load.out" >>"$temp/failed"
			return
		}
		cat "$temp/load.out" >>"$temp/runs"
	done
}

start_server() {
	mkdir -p "$temp/root"
	echo content >"$temp/root/file"
	: >"$temp/out"
	"$build/examples/httpd" --listen 127.0.0.1:0 --root "$temp/root" >"$temp/out" \
		2>"$temp/err" 3>&- &
	wait_until_listening $!
}

# begin LOAD: in the background; end_load waits for it, and says whether all went well.
begin() {
	rm -f "$temp/enough" "$temp/failed" "$temp/runs"
	"$1" 3>&- &
	load=$!
	children[$load]=1
}
end_load() {
	local slowest
	touch "$temp/enough"
	wait "$load"
	[ ! -e "$temp/failed" ] || { cat "$temp/failed"; return 1; }
	at_least 'runs under load' 1 "$(wc -l <"$temp/runs")" || return 1
	slowest=$(sed -nE 's/.*"summary": true.*"max_us": ([0-9]+).*/\1/p' "$temp/runs" | sort -n | tail -n 1)
	[ -z "$slowest" ] || remark "the slowest response took $((slowest / 1000)) ms"
}

stop_server() {
	kill -TERM "$server"
	wait "$server"
	equal 'exit status of the server' 0 $? || { cat "$temp/err"; return 1; }
}

# ---- tests ---------------------------------------------------------------------------

test_server() {
	local i
	start_server || return 1
	begin requests
	for ((i = 0; i < rounds; i++)); do attach_once "$server" $i || return 1; done
	end_load && nothing_left "$server" && stop_server
}

test_server_killed_tracers() {
	local i
	start_server || return 1
	begin requests
	for ((i = 0; i < rounds; i++)); do attach_and_kill "$server"; done
	end_load && nothing_left "$server" || return 1
	# And it can be traced as before.
	attach_once "$server" 1 && stop_server
}

test_server_two_tracers() {
	local i first
	start_server || return 1
	begin requests
	for ((i = 0; i < rounds / 4 + 1; i++)); do
		"$greentrace" -c -k -d 0.2 -p "$server" >"$temp/first" 2>&1 </dev/null &
		first=$!
		attach_once "$server" $((i * 2)) && attach_once "$server" $((i * 3)) || return 1
		wait $first || { echo "the first: exit status $?"; cat "$temp/first"; return 1; }
	done
	end_load && nothing_left "$server" && stop_server
}

gone='^greentrace: process [0-9]+( \(.*\))?(: there is none|:? it has no memory| has ended| ended while it was being read)'

# A run may end while somebody attaches to it: that is said, and is no other problem.
test_skynet() {
	local i status good=0
	begin skynets
	for ((i = 0; i < rounds; i++)); do
		target=$(current $load) || { echo 'no skynet runs'; cat "$temp/failed"; return 1; }
		attach_once "$target" $i >"$temp/round" && good=$((good + 1)) && continue
		# shellcheck disable=SC2015 # cat does not fail
		grep -q 'exit status 2$' "$temp/round" && grep -qE "$gone" "$temp/traced.err" ||
			{ cat "$temp/round"; return 1; }
	done
	end_load && nothing_left || return 1
	at_least 'rounds that found it running' $((rounds / 2)) $good
}

# The target ends or is killed at any moment of the attaching.
test_target_ends() {
	local i target tracer status
	for ((i = 0; i < rounds; i++)); do
		"$temp/traced" serve <"$temp/input" >/dev/null 2>&1 3>&- &
		target=$!
		until [ "$(readlink /proc/$target/exe)" = "$temp/traced" ]; do sleep 0.01; done
		"$greentrace" -c -k --hog 50 --blocked 5 -p $target >"$temp/out" 2>&1 </dev/null &
		tracer=$!
		sleep "0.$(printf %03d $((RANDOM % 400)))"
		kill -9 $target
		wait $target 2>/dev/null
		timeout 30 tail --pid=$tracer -f /dev/null || { echo 'it does not end'; return 1; }
		wait $tracer
		status=$?
		[ $status -eq 0 ] || [ $status -eq 2 ] ||
			{ echo "round $i: exit status $status"; cat "$temp/out"; return 1; }
		[ $status -eq 0 ] || has 'what happened' "$gone" "$temp/out" || return 1
	done
	nothing_left
}

compile traced tests/e2e/traced.c "${archive[@]}"
mkfifo "$temp/input"
exec 4<>"$temp/input"
check server test_server
check server_killed_tracers test_server_killed_tracers
check server_two_tracers test_server_two_tracers
check skynet test_skynet
check target_ends test_target_ends
summary
