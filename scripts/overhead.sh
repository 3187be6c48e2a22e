#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What tracing costs the traced program: CPU time of an operation, by mode, as medians of
# runs that are taken in turn, of each run the best round.
#
#   scripts/overhead.sh [RUNS [BENCH...]]      7 runs of all benches
#
# BUILD names the build directory.  A mode is what greentrace is given; "detached" is without it, "no flight recorder" with GREEN_FLIGHT=0.
set -u
cd "$(dirname "$0")/.." || exit 2
build=$(realpath "${BUILD:-build/release}")
runs=${1:-7}
shift || true
export DEBUGINFOD_URLS='' PATH="$build:$PATH"
temp=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null; rm -rf "$temp"' EXIT

# One operation is a switch, a message and its answer (two waits), or a request.
declare -A benches=(
	[yield-1M]="greenbench yield --workers 1 --threads 2 --count 1M --work 900 --rounds 5"
	[yield-5M]="greenbench yield --workers 1 --threads 2 --count 4M --work 175 --rounds 5"
	[yield]="greenbench yield --workers 1 --threads 2 --count 10M --rounds 5"
	[wait-1M]="greenbench pingpong --workers 1 --how same --count 500k --work 880 --rounds 5"
	[wait]="greenbench pingpong --workers 1 --how same --count 2M --rounds 5"
	[echo]="greenbench echo --in-process --workers 2 --connections 64 --duration 1 --rounds 3"
	[http]="greenbench http --connections 64 --clients 1 --rate 8000 --duration 2 --rounds 2"
)
order=(yield-1M yield-5M yield wait-1M wait echo http)
[ $# -eq 0 ] || order=("$@")
modes=(detached 'no flight recorder' '-c' '-c -k' '-c --blocked 10 --hog 50 --runq' sites)

# cpu_of: nanoseconds of an operation in the least disturbed round.
cpu_of() {
	sed -nE -e 's/.*"cpu_ns_per_op_min": ([0-9.]+).*/\1/p' \
		-e 's/.*"server_cpu_us_per_request_min": ([0-9.]+).*/\1e3/p' <(tail -n 1 "$temp/bench")
}

# The server is another process than the load: it is that which is traced.
http_once() {
	local url tracer=
	: >"$temp/listening"
	GREEN_WORKERS=2 "$build/examples/httpd" --listen 127.0.0.1:0 --root . >"$temp/listening" &
	server=$!
	until grep -q listening "$temp/listening"; do sleep 0.05; done
	url=http://$(sed 's/.* //' "$temp/listening")/LICENSE
	if [ $# -gt 0 ]; then
		greentrace "$@" -d 8 -p $server >"$temp/trace" 2>&1 &
		tracer=$!
		sleep 0.7
	fi
	# shellcheck disable=SC2086 # words
	${benches[http]} --url "$url" --pid $server --json --progress none >"$temp/bench"
	kill -TERM $server
	wait $server
	server=
	[ -z "$tracer" ] || wait $tracer
}

# once BENCH MODE
once() {
	local arguments=() flight=1024
	case $2 in
	detached) ;;
	'no flight recorder') flight=0 ;;
	*) read -ra arguments <<<"$2" ;;
	esac
	export GREEN_FLIGHT=$flight
	if [ "$1" = http ]; then
		http_once "${arguments[@]}"
	elif [ ${#arguments[@]} -eq 0 ]; then
		# shellcheck disable=SC2086 # words
		${benches[$1]} --json --progress none >"$temp/bench"
	else
		# shellcheck disable=SC2086 # words
		greentrace "${arguments[@]}" -- ${benches[$1]} --json --progress none >"$temp/both"
		grep '^{' "$temp/both" >"$temp/bench"
		grep -v '^{' "$temp/both" >"$temp/trace"
	fi
	grep -q LOST "$temp/trace" 2>/dev/null && echo "lost records: $1, $2" >&2
	cpu_of >>"$temp/$1.$2"
}

median() { sort -n "$1" | awk '{ v[NR] = $1 + 0 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }

for bench in "${order[@]}"; do
	for ((i = 0; i < runs; i++)); do
		for mode in "${modes[@]}"; do once "$bench" "$mode"; done
	done
	echo "$bench: ${benches[$bench]}"
	base=$(median "$temp/$bench.detached")
	for mode in "${modes[@]}"; do
		median "$temp/$bench.$mode" | awk -v mode="$mode" -v base="$base" '{
			printf "  %-38s %10.1f ns %+8.2f ns %+7.2f %%\n", mode, $1, $1 - base, ($1 / base - 1) * 100 }'
	done
done
