#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make demo: the same load on a server with green threads and on one with a thread
# for each connection, then a table.  BUILD names the build directory,
# DEMO_CONNECTIONS is how many (10,000).  Takes less than a minute, leaves nothing
# behind, and fails if anything did.
set -u
cd "$(dirname "$0")/.." || exit 1

build=${BUILD:-build/release}
wanted=${DEMO_CONNECTIONS:-10000}
rounds=5
round_s=2
run_s=27 # longest time of one of the two runs
bytes_per_connection=65536 # user and kernel memory of both ends, generously
descriptors_kept=200
tasks_kept=300

for program in greenbench examples/httpd examples/threaded_httpd; do
	[ -x "$build/$program" ] && continue
	echo "demo: $build/$program is not there; build it with: make" >&2
	exit 1
done

work=$(mktemp -d) || exit 1
running=
clean_up() {
	if [ -n "$running" ] && kill -TERM "$running" 2>/dev/null; then
		wait "$running"
	fi
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- what fits here --------------------------------------------------------

say_fewer() { # WHAT NUMBER REASON
	echo "Only $2 connections for $1: $3."
}

fit_descriptors() {
	ulimit -S -n "$(ulimit -H -n)"
	local limit
	limit=$(ulimit -n)
	[ "$limit" = unlimited ] && return
	if [ "$connections" -gt $((limit - descriptors_kept)) ]; then
		connections=$((limit - descriptors_kept))
		say_fewer 'both servers' $connections \
			"RLIMIT_NOFILE is $limit (raise it with ulimit -Hn)"
	fi
}

fit_memory() {
	local available most
	available=$(awk '/^MemAvailable/ { print $2 * 1024 }' /proc/meminfo)
	most=$(awk -v a="$available" -v c=$bytes_per_connection 'BEGIN { printf "%d", a / c }')
	if [ "$connections" -gt "$most" ]; then
		connections=$most
		say_fewer 'both servers' "$connections" \
			"$((available / 1048576)) MB of memory are available"
	fi
}

# A thread for each connection needs as many tasks.
fit_threads() {
	local cgroup limit used
	threaded=$connections
	limit=$(cat /proc/sys/kernel/threads-max)
	fit_threads_to $((limit - tasks_kept)) "kernel.threads-max is $limit"
	limit=$(ulimit -u)
	[ "$limit" = unlimited ] || [ "$(id -u)" -eq 0 ] ||
		fit_threads_to $((limit - tasks_kept)) "RLIMIT_NPROC is $limit"
	cgroup=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
	[ -e "$cgroup/pids.max" ] || cgroup=/sys/fs/cgroup
	limit=$(cat "$cgroup/pids.max" 2>/dev/null || echo max)
	used=$(cat "$cgroup/pids.current" 2>/dev/null || echo 0)
	[ "$limit" = max ] ||
		fit_threads_to $((limit - used - tasks_kept)) "the control group allows $limit tasks"
	# Two mappings a thread: its stack and the guard below.
	limit=$(cat /proc/sys/vm/max_map_count)
	fit_threads_to $((limit / 2 - tasks_kept)) "vm.max_map_count is $limit"
}

fit_threads_to() { # NUMBER REASON
	[ "$threaded" -le "$1" ] && return
	threaded=$1
	say_fewer 'the thread-per-connection server' "$threaded" "$2"
}

# ---- the two runs ----------------------------------------------------------

progress=auto
[ -t 2 ] || progress=lines

load() { # SERVER CONNECTIONS RESULT
	timeout --foreground "$run_s" "$build/greenbench" http \
		--server "$build/examples/$1 --listen 127.0.0.1:0 --root $work/root --status" \
		--url /file.bin --status-path /_status --connections "$2" \
		--rounds $rounds --duration $round_s --progress $progress --json >"$work/$3" &
	running=$!
	wait "$running"
	local status=$?
	running=
	[ $status -eq 0 ] && return
	[ $status -eq 124 ] && echo "demo: not finished after $run_s s" >&2
	echo "demo: the load on $1 failed (status $status)" >&2
	exit 1
}

# The member KEY of the JSON object on standard input, without quotes; - when it is
# null or absent.
member() { # KEY
	local value
	value=$(sed -nE "s/.*\"$1\": *(\"[^\"]*\"|[^,}\"]*).*/\1/p")
	value=${value#\"}
	value=${value%\"}
	if [ -z "$value" ] || [ "$value" = null ]; then
		value=-
	fi
	echo "$value"
}

# Of the summary in FILE, the server's own status left out.
json() { # FILE KEY
	tail -n 1 "$work/$1" | sed -E 's/"server_status": *\{[^}]*\}//' | member "$2"
}

# ---- the report ------------------------------------------------------------

number() { # VALUE DIVISOR DECIMALS
	[ "$1" = - ] && echo - && return
	awk -v v="$1" -v by="$2" -v d="$3" 'BEGIN {
		text = sprintf("%.*f", d, v / by)
		while (match(text, /^[0-9][0-9][0-9][0-9]/)) {
			match(text, /^[0-9]+/)
			cut = RLENGTH - 3
			text = substr(text, 1, cut) "," substr(text, cut + 1)
		}
		print text
	}'
}

row() { # LABEL GREEN THREADED
	printf '  %-34s %18s %18s\n' "$1" "$2" "$3"
}

measured() { # LABEL KEY DIVISOR DECIMALS
	row "$1" "$(number "$(json green "$2")" "$3" "$4")" \
		"$(number "$(json threaded "$2")" "$3" "$4")"
}

# RSS, page tables and kernel stacks together, KiB a connection.
memory() { # FILE
	local user kernel
	user=$(json "$1" server_bytes_per_connection)
	kernel=$(json "$1" server_kernel_stack_bytes_per_connection)
	awk -v u="$user" -v k="$kernel" 'BEGIN { printf "%.1f", (u + k) / 1024 }'
}

report() {
	local features
	echo
	row '' 'green threads' 'OS threads'
	row 'server' httpd threaded_httpd
	row 'engine' "$(json green engine)" -
	row 'workers' "$(json green workers)" -
	measured 'OS threads' server_threads 1 0
	measured 'connections' connections 1 0
	measured 'requests/s' requests_per_s 1 0
	measured 'latency p50, ms' p50_us 1000 1
	measured '        p99, ms' p99_us 1000 1
	measured '        p99.9, ms' p999_us 1000 1
	measured 'server CPU a request, us' server_cpu_us_per_request 1 1
	row 'memory a connection, KiB' "$(memory green)" "$(memory threaded)"
	measured 'switches/s a worker' server_switches_per_s_per_worker 1 0
	measured 'errors' errors 1 0
	echo
	echo "Medians of $rounds rounds of $round_s s; the clients share the CPUs with the server."
	echo "Memory: RSS, page tables, and 16 KiB of kernel stack for each OS thread; less what"
	echo "the server had before the first connection.  Sockets cost the same in both."
	features=$(tail -n 1 "$work/green" | member features)
	[ "$features" = - ] || echo "Features: $features"
}

connections=$wanted
fit_descriptors
fit_memory
fit_threads
if [ "$connections" -lt 10 ] || [ "$threaded" -lt 10 ]; then
	echo "demo: not enough room for ten connections" >&2
	exit 1
fi

mkdir "$work/root" && head -c 1024 /dev/urandom >"$work/root/file.bin" || exit 1
echo "httpd: $connections connections on green threads, $((rounds * round_s)) s of load"
load httpd "$connections" green
echo "threaded_httpd: $threaded connections, an OS thread each, the same load"
load threaded_httpd "$threaded" threaded
report
