#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every benchmark of greenbench, with small counts: it succeeds, prints JSON whose
# last line is the summary, and refuses what it does not understand.  BUILD names the
# build directory; GREEN_ENGINE an engine, else both are tested.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
bench=$build/greenbench
load='requests_per_s server_cpu_us_per_request p50_us p99_us'

# bench_json NAME UNIT KEYS OPTION...
bench_json() {
	local name=$1 unit=$2 keys=$3 status
	shift 3
	# shellcheck disable=SC2086 # "scale skynet" is two words
	timeout 120 "$bench" $name --json --workers 2 --rounds 2 "$@" >"$temp/json" \
		2>"$temp/err" </dev/null
	status=$?
	equal 'exit status' 0 $status || { tail -5 "$temp/err"; return 1; }
	# shellcheck disable=SC2086 # words
	"$temp/jsoncheck" "bench=${name%% *}" value "unit=$unit" $keys <"$temp/json" || return 1
	grep -v '^{' "$temp/json" && return 1
	return 0
}

# The same as a table.
test_table() {
	timeout 60 "$bench" yield --count 10k --rounds 2 --workers 1 >"$temp/table" || return 1
	has 'the table' 'ns' "$temp/table" && ! grep '^{' "$temp/table"
}

# exit_of STATUS PATTERN OPTION...: ends with the status and says the pattern.
exit_of() {
	local status
	timeout 20 "$bench" "${@:3}" >"$temp/said" 2>&1 </dev/null
	status=$?
	equal "status of ${*:3}" "$1" $status && has "${*:3}" "$2" "$temp/said"
}

# What is measured of the server, some of it once and after the last round.
test_server_measured() {
	local key
	echo x >"$temp/x"
	bench_json http requests/s "$load" --connections 8 --duration 0.3 --warmup 0.1 \
		--server "$build/examples/httpd --listen 127.0.0.1:0 --root $temp --status" \
		--url /x --status-path /_status || return 1
	tail -n 1 "$temp/json" >"$temp/summary"
	for key in server_threads server_rss_kb server_bytes_per_connection \
		server_switches_per_s_per_worker; do
		has "$key" "\"$key\": -?[0-9]" "$temp/summary" || return 1
	done
}

# A server that stands still for longer than a round: that one lasts until a response comes.
# Stopped for good, what it had been sent is an error, although the end of the last round
# comes before the time after which a response is overdue.
test_server_stops() {
	local status
	echo x >"$temp/x"
	: >"$temp/out"
	"$build/examples/httpd" --listen 127.0.0.1:0 --root "$temp" >"$temp/out" 2>"$temp/err" 3>&- &
	wait_until_listening $! || return 1
	{ sleep 0.5; kill -STOP "$server"; sleep 2; kill -CONT "$server"; } &
	exit_of 0 '"errors": 0,' http --url "http://127.0.0.1:$port/x" --connections 8 --rate 1000 \
		--warmup 1 --duration 0.3 --rounds 1 --timeout 20 --json || return 1
	: >"$temp/said"
	{ until grep -q 'round 1' "$temp/said" || ! kill -0 "$server"; do sleep 0.05; done
		kill -STOP "$server"; } 2>/dev/null &
	exit_of 1 'errors: timeout 8' http --url "http://127.0.0.1:$port/x" --connections 8 \
		--warmup 0.5 --duration 4 --rounds 1 --timeout 6 --progress lines --json
	status=$?
	kill -KILL "$server"
	return $status
}

test_usage() {
	local name
	exit_of 0 Usage --help && exit_of 0 '0\.' --version &&
		exit_of 2 . && exit_of 2 nonsense nonsense && exit_of 2 nonsense yield --nonsense &&
		exit_of 2 count yield --count abc && exit_of 2 count yield --count -1 &&
		exit_of 2 workers yield --workers 0x && exit_of 2 engine yield --engine steam &&
		exit_of 2 . scale && exit_of 2 . scale nonsense &&
		exit_of 2 how spawn --how nonsense && exit_of 2 'no option' yield 7 &&
		exit_of 2 'which is for echo, http' yield --connections 1 &&
		exit_of 2 'takes no value' yield --json=1 && exit_of 2 before --json yield &&
		exit_of 2 duration yield --duration 0 && exit_of 2 'needs a value' yield --rounds ||
		return 1
	for name in yield spawn pingpong chan skynet park grow timer echo http intercept scale all; do
		exit_of 0 Usage $name --help || return 1
	done
	exit_of 1 . http --url http://127.0.0.1:1/ --connections 1 --duration 0.1 --rounds 1 ||
		return 1
	"$bench" yield --count 1000 --rounds 1 >/dev/full 2>"$temp/err"
	equal 'exit status with a full disk' 1 $? || return 1
	"$bench" yield --count 1000 --rounds 1 >&- 2>"$temp/err"
	equal 'exit status without an output' 1 $?
}

# Every benchmark takes the common options, and a round lasts as long as they say.
test_common_options() {
	local name took few
	for name in yield:ns spawn:ns pingpong:ns chan:ns skynet:ms park:bytes grow:ns timer:ns \
		echo:requests/s http:requests/s; do
		few=()
		case $build/$name in # of 65,536 stacks at most a sanitizer keeps track
		*san/park:* | *san/timer:*) few=(--threads 10k) ;;
		esac
		bench_json ${name%:*} ${name#*:} '' --engine auto --duration 0.1 --limit 50 \
			--progress none "${few[@]}" || return 1
	done
	took=$(date +%s%N)
	bench_json yield ns duration_s --count 1k --duration 0.6 || return 1
	took=$((($(date +%s%N) - took) / 1000000))
	[ $took -ge 1200 ] || { echo "two rounds of 0.6 s took $took ms"; return 1; }
}

# Threads that were there when another could not be spawned are no trouble.
test_few_threads() {
	local name
	for name in 'yield --count 1k' chan park grow timer; do
		# shellcheck disable=SC2086 # words
		GREEN_THREADS_MAX=5 exit_of 3 'could not be spawned' $name --workers 2 --rounds 1 || return 1
		! grep -i sanitizer "$temp/said" || return 1
	done
	GREEN_THREADS_MAX=5 exit_of 3 'spawning failed' spawn --workers 2 --rounds 1
}

run_all() {
	check yield bench_json yield ns '' --count 10k
	check spawn bench_json spawn ns '' --threads 5000
	check spawn_cold bench_json spawn ns 'plain_ns_page ratio_page' --how cold --threads 2000
	check pingpong bench_json pingpong ns '' --count 500
	check chan bench_json chan ns '' --count 5000
	check skynet bench_json skynet ms '' --threads 1000
	check park bench_json park bytes '' --threads 1000
	check grow bench_json grow ns 'ns_56k plain_ns_56k ratio_56k'
	check timer bench_json timer ns '' --threads 100 --duration 0.2
	check echo bench_json echo requests/s "$load" --connections 8 --duration 0.3 --warmup 0.1
	check http bench_json http requests/s "$load" --connections 8 --duration 0.3 --warmup 0.1
	check server_measured test_server_measured
	check intercept bench_json intercept ns 'native_read native_recv native_start' --count 1k
	check scale bench_json "scale skynet" efficiency 'limit_speedup of_limit' --threads 1000
}

"${CC:-cc}" -O1 -o "$temp/jsoncheck" tests/e2e/jsoncheck.c || exit 1
for label in ${GREEN_ENGINE:-io_uring epoll}; do
	if ! engine_there "$label"; then
		skip everything 'the kernel refuses io_uring'
		continue
	fi
	export GREEN_ENGINE=$label
	run_all
done
label=
check table test_table
case $build in
*tsan) skip common_options 'what they run by default takes minutes with the thread sanitizer' ;;
*) check common_options test_common_options ;;
esac
check few_threads test_few_threads
check server_stops test_server_stops
check usage test_usage
summary
