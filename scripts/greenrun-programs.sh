#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Unmodified programs of Debian on threads of the kernel and under greenrun, in turn:
# the same load, the results compared, and medians of what both achieved.
#
#   scripts/greenrun-programs.sh [--rounds N] [--workers N] [NAME ...]
#   scripts/greenrun-programs.sh --soak N [--workers N] [NAME ...]
#
# --soak: nothing is compared.  Each program is started, loaded for a moment, stopped and
# looked at N times under greenrun alone; each failure is told, with how it ended.
#
# NAME: one of the programs below; without, all that are installed.  BUILD names the build
# directory; GREENRUN_OPTIONS more options of greenrun.  Servers listen on the loopback
# interface, and keep their files in a temporary folder.  Needs mariadb-server, stunnel4,
# tinyproxy, microsocks, nginx, apache2, haproxy, pdns-server with pdns-backend-bind, dnsperf,
# iperf, siege, wrk, curl; what is absent is skipped by name.
#
# Prints for each program both medians, the ratio (above 1: greenrun is ahead), the CPU
# time that the program took for as much work, as a ratio too (below 1: greenrun needs
# less; that holds on a machine that others use as well, where throughput does not), and the
# number of OS threads seen meanwhile; with --soak how many runs were clean.  Exit status 1
# when a result was wrong.
# shellcheck disable=SC2317,SC2034 # functions and variables are called by name
set -u
cd "$(dirname "$0")/.." || exit 2
build=$PWD/${BUILD:-build/release}
temp=$(mktemp -d)
rounds=5 workers=2 soak=0 names=()
# Two of these at once are on ports of their own.
bad=0 server='' threads_seen=0 cpu=0 port=$((21000 + $$ % 100 * 100)) backend='' backend_port=

while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=$2; shift 2 ;;
	--workers) workers=$2; shift 2 ;;
	--soak) soak=$2; shift 2 ;;
	-*) sed -n '4,23s/^# \{0,1\}//p' "$0"; exit 2 ;;
	*) names+=("$1"); shift ;;
	esac
done
case $soak in
*[!0-9]* | '') echo "--soak: no number: $soak" >&2; exit 2 ;;
esac
# A run's load is the share-th part of what is compared by.
share=1 load_s=2 look_s=1 streams=50
[ "$soak" -eq 0 ] || share=5 load_s=1 look_s=0.3 streams=10

clean_up() {
	[ -z "$server" ] || kill -9 "$server" 2>/dev/null
	[ -z "$backend" ] || { kill -9 "$backend" && wait "$backend"; } 2>/dev/null
	rm -rf "$temp"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---- what the programs have in common --------------------------------------------

# How the program is run: set to nothing, or greenrun and its options.
prefix=()
green() {
	# shellcheck disable=SC2206 # words
	prefix=("$build/greenrun" --workers "$workers" ${GREENRUN_OPTIONS:-} --)
}

there() {
	local name
	for name; do
		command -v "$name" >/dev/null || [ -x "/usr/sbin/$name" ] || { missing=$name; return 1; }
	done
}

seconds() { date +%s.%N; }
elapsed() { awk -v a="$1" -v b="$(seconds)" 'BEGIN { printf "%.4f", b - a }'; }

next_port() { port=$((port + 1)); }

# Starts a server in the background; ready COMMAND... tells when it is.
start() {
	: >"$temp/server.log" # what the one before said tells nothing
	"$@" >"$temp/server.log" 2>&1 </dev/null &
	server=$!
}
ready() {
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" >/dev/null 2>&1 && return 0
		kill -0 "$server" 2>/dev/null || break
		sleep 0.05
	done
	echo "the server does not start: $(tail -n 3 "$temp/server.log")" >"$temp/why"
	return 1
}
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# The same without a connection.
port_listens() { grep -q ":$(printf %04X "$1") 00000000:0000 0A" /proc/net/tcp; }

# Ends it by a signal; true when it ended by itself or by that signal.
stop() {
	local signal=${1:-TERM} i status
	see_threads
	kill "-$signal" "$server" 2>/dev/null
	for ((i = 0; i < 200; i++)); do
		kill -0 "$server" 2>/dev/null || break
		sleep 0.05
	done
	if kill -9 "$server" 2>/dev/null && [ "$i" -eq 200 ]; then
		echo "it did not end by SIG$signal" >"$temp/why"
		server=
		return 1
	fi
	wait "$server" 2>/dev/null
	status=$?
	server=
	[ "$status" -eq 0 ] || [ "$status" -eq $((128 + $(kill -l "$signal"))) ] || {
		echo "it ended with status $status: $(tail -n 4 "$temp/server.log")" >"$temp/why"
		return 1
	}
}
# Of the program and its children.
see_threads() {
	local count pid pids ticks
	pids="$server $(pgrep -P "$server")"
	count=$(for pid in $pids; do find "/proc/$pid/task" -mindepth 1 -maxdepth 1; done 2>/dev/null | wc -l)
	[ "$count" -le "$threads_seen" ] || threads_seen=$count
	# User and system time, in ticks, without the name, which may have spaces.
	ticks=$(for pid in $pids; do sed 's/.*) //' "/proc/$pid/stat"; done 2>/dev/null |
		awk '{ t += $12 + $13 } END { if (t) print t }')
	[ -z "$ticks" ] || cpu=$ticks
}

# A plain HTTP server for those that stand before one.
start_backend() {
	[ -z "$backend" ] || return 0
	head -c 2000 /dev/zero | tr '\0' x >"$temp/file"
	: >"$temp/backend"
	"$build/examples/threaded_httpd" --listen 127.0.0.1:0 --root "$temp" >"$temp/backend" 2>&1 &
	backend=$!
	local i
	for ((i = 0; i < 100; i++)); do
		backend_port=$(sed -n 's/^listening on .*:\([0-9]*\).*/\1/p' "$temp/backend")
		[ -n "$backend_port" ] && return 0
		sleep 0.05
	done
	echo 'the HTTP server behind it does not start' >"$temp/why"
	return 1
}

# ---- the programs: need NAME, run NAME -------------------------------------------
# Each run prints one figure, of which more is better, to $temp/figure.

figure() { echo "$1" >"$temp/figure"; }

need_mariadb() { there mariadbd mysqlslap mariadb-install-db mysqladmin mysqlcheck; }
unit_mariadb='queries/s, 50 clients'
unit_mariadb_500='queries/s, 500 clients, 20 ms each'
unit_mariadb_3000='queries/s, 3,000 clients, 20 ms each'
need_mariadb_500() { need_mariadb; }
need_mariadb_3000() { need_mariadb; }

my() { timeout 120 "$1" --no-defaults -uroot "--socket=$temp/my.sock" "${@:2}"; }

# mariadb_server COMMAND...: runs it beside a server that is then shut down and checked.
mariadb_server() {
	if ! [ -d "$temp/db" ]; then
		mkdir "$temp/db"
		mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$temp/db" \
			--auth-root-authentication-method=normal >"$temp/install" 2>&1 ||
			{ tail -n 3 "$temp/install" >"$temp/why"; return 1; }
	fi
	start "${prefix[@]}" "$(command -v mariadbd || echo /usr/sbin/mariadbd)" --no-defaults \
		--user="$(id -un)" --datadir="$temp/db" --socket="$temp/my.sock" --skip-networking \
		--pid-file="$temp/my.pid" --max-connections=3100 --back-log=3100 --thread-cache-size=0 \
		--innodb-buffer-pool-size=64M
	ready my mysqladmin ping || return 1
	"$@" || return 1
	see_threads
	my mysqlcheck --all-databases --silent >"$temp/check" 2>&1
	if [ -s "$temp/check" ]; then
		cp "$temp/check" "$temp/why"
		return 1
	fi
	my mysqladmin shutdown
	stop TERM
}

# slap QUERIES OPTION...: the figure is queries a second.
slap() {
	local queries=$1 took
	shift
	my mysqlslap --csv="$temp/slap" --number-of-queries="$queries" "$@" >"$temp/slap.log" 2>&1 &
	local client=$!
	sleep 0.5
	see_threads
	wait "$client" || { tail -n 3 "$temp/slap.log" >"$temp/why"; return 1; }
	took=$(cut -d, -f3 "$temp/slap")
	rm -f "$temp/slap"
	figure "$(awk -v n="$queries" -v s="$took" 'BEGIN { print n / s }')"
}
run_mariadb() {
	mariadb_server slap $((5000 / share)) --concurrency=50 --auto-generate-sql \
		--auto-generate-sql-load-type=mixed
}
run_mariadb_500() {
	mariadb_server slap $((10000 / share)) --concurrency=500 --query='select sleep(0.02)'
}
run_mariadb_3000() {
	mariadb_server slap $((15000 / share)) --concurrency=3000 --query='select sleep(0.02)'
}

need_stunnel() { there stunnel4 openssl wrk curl; }
unit_stunnel='requests/s over TLS, 50 connections'
run_stunnel() {
	start_backend || return 1
	[ -e "$temp/pem" ] || openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
		-keyout "$temp/key" -out "$temp/cert" 2>/dev/null && cat "$temp/key" "$temp/cert" >"$temp/pem"
	next_port
	printf '%s\n' 'foreground = yes' 'pid =' 'debug = 3' '[t]' "accept = 127.0.0.1:$port" \
		"connect = 127.0.0.1:$backend_port" "cert = $temp/pem" 'TIMEOUTclose = 0' >"$temp/stunnel"
	start "${prefix[@]}" "$(command -v stunnel4)" "$temp/stunnel"
	ready port_open "$port" || return 1
	load https "$port" && stop TERM
}

# load SCHEME PORT [OPTION...]: wrk; the figure is requests a second, which may be none where
# others have the machine; but an answer there must be.
load() {
	wrk -t1 -c50 "-d$load_s" "${@:3}" "$1://127.0.0.1:$2/file" >"$temp/wrk" 2>&1 &
	local client=$!
	sleep "$look_s"
	see_threads
	wait "$client"
	if grep -E 'Socket errors|Non-2xx|unable' "$temp/wrk" >"$temp/why"; then return 1; fi
	curl -sk --max-time 60 -o "$temp/one" "$1://127.0.0.1:$2/file"
	if ! cmp -s "$temp/one" "$temp/file"; then
		echo 'no answer, or a wrong one, after the load' >"$temp/why"
		return 1
	fi
	figure "$(awk '/Requests.sec/ { print $2 }' "$temp/wrk")"
}

# fetch COUNT CURL-OPTION...: so many files by curl, 50 at once; the figure is files a second.
fetch() {
	local before count=$1 got
	before=$(seconds)
	timeout 60 curl -s -Z --parallel-max 50 "${@:2}" "http://127.0.0.1:$backend_port/file?[1-$count]" \
		-o "$temp/got_#1" 2>"$temp/why" &
	local client=$!
	sleep 0.2
	see_threads
	wait "$client" || { echo "curl: status $?" >>"$temp/why"; return 1; }
	figure "$(awk -v n="$count" -v s="$(elapsed "$before")" 'BEGIN { print n / s }')"
	got=$(cat "$temp"/got_* | wc -c)
	rm -f "$temp"/got_*
	[ "$got" -eq $((count * 2000)) ] || { echo "$got bytes of $((count * 2000))" >"$temp/why"; return 1; }
}

need_tinyproxy() { there tinyproxy curl; }
unit_tinyproxy='files/s through the proxy'
run_tinyproxy() {
	start_backend || return 1
	next_port
	printf '%s\n' "Port $port" 'Listen 127.0.0.1' 'Timeout 20' 'MaxClients 200' 'Allow 127.0.0.1' \
		'LogLevel Error' >"$temp/tinyproxy"
	start "${prefix[@]}" "$(command -v tinyproxy)" -d -c "$temp/tinyproxy"
	ready port_open "$port" || return 1
	fetch $((2000 / share)) -x "http://127.0.0.1:$port" && stop TERM
}

need_microsocks() { there microsocks curl; }
unit_microsocks='files/s through SOCKS5'
run_microsocks() {
	start_backend || return 1
	next_port
	start "${prefix[@]}" "$(command -v microsocks)" -i 127.0.0.1 -p "$port"
	ready port_open "$port" || return 1
	fetch $((2000 / share)) --socks5 "127.0.0.1:$port" && stop TERM
}

# Files are read by its pool of threads, each of which it tells by an event.
need_nginx() { there nginx wrk curl; }
unit_nginx='requests/s of files read by a pool, 50 connections'
run_nginx() {
	local kind
	head -c 2000 /dev/zero | tr '\0' x >"$temp/file"
	next_port
	printf '%s\n' 'daemon off; master_process off;' "pid $temp/nginx.pid; error_log $temp/nginx.err;" \
		'thread_pool default threads=32; events { worker_connections 500; }' \
		"http { access_log off; aio threads; server { listen 127.0.0.1:$port; root $temp; }" \
		"$(for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $temp/$kind;"; done) }" \
		>"$temp/nginx.conf"
	start "${prefix[@]}" "$(command -v nginx || echo /usr/sbin/nginx)" -p "$temp" -e "$temp/nginx.err" \
		-c "$temp/nginx.conf"
	ready port_open "$port" || return 1
	load http "$port" && stop QUIT
}

# A process that forks those that have the threads.
need_apache() { there apache2 wrk curl && [ -e /usr/lib/apache2/modules/mod_mpm_worker.so ]; }
unit_apache='requests/s, two processes of 50 threads'
run_apache() {
	head -c 2000 /dev/zero | tr '\0' x >"$temp/file"
	next_port
	mkdir -p "$temp/apache"
	printf '%s\n' "ServerRoot $temp/apache" 'ServerName localhost' "Listen 127.0.0.1:$port" \
		"PidFile $temp/apache/pid" "ErrorLog $temp/apache/err" "DefaultRuntimeDir $temp/apache" \
		"DocumentRoot $temp" 'StartServers 2' 'ServerLimit 2' 'ThreadsPerChild 50' \
		'MaxRequestWorkers 100' 'MinSpareThreads 1' 'MaxSpareThreads 100' >"$temp/apache/conf"
	local module
	for module in mpm_worker authz_core; do
		echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"
	done >>"$temp/apache/conf"
	start "${prefix[@]}" "$(command -v apache2 || echo /usr/sbin/apache2)" -f "$temp/apache/conf" -DFOREGROUND
	ready port_open "$port" || return 1
	load http "$port" && stop TERM
}

need_haproxy() { there haproxy wrk curl; }
unit_haproxy='requests/s through 4 threads, 50 connections'
run_haproxy() {
	start_backend || return 1
	next_port
	printf '%s\n' global 'nbthread 4' defaults 'mode http' 'timeout connect 5s' 'timeout client 9s' \
		'timeout server 9s' 'listen l' "bind 127.0.0.1:$port" "server s 127.0.0.1:$backend_port" \
		>"$temp/haproxy"
	start "${prefix[@]}" "$(command -v haproxy || echo /usr/sbin/haproxy)" -db -f "$temp/haproxy"
	ready port_open "$port" || return 1
	load http "$port" && stop TERM
}

# A C++ program that keeps state in thread_local variables: eight threads receive, and hand
# each query to one of eight more each.
need_pdns() { there pdns_server dnsperf && [ -n "$(find /usr/lib -name libbindbackend.so -print -quit)" ]; }
unit_pdns='queries/s of DNS, 72 threads'
run_pdns() {
	next_port
	if ! [ -e "$temp/zone" ]; then
		echo "zone \"example.org\" { type master; file \"$temp/zone\"; };" >"$temp/named.conf"
		printf '%s\n' '@ 60 IN SOA ns.example.org. a.example.org. 1 60 60 600 60' '@ 60 IN NS ns' \
			'ns 60 IN A 127.0.0.1' >"$temp/zone"
		awk 'BEGIN { for (i = 1; i <= 1000; i++) printf "h%d 60 IN A 10.0.%d.%d\n", i, i / 250, i % 250 }' \
			>>"$temp/zone"
		awk 'BEGIN { for (i = 1; i <= 1000; i++) printf "h%d.example.org A\n", i }' >"$temp/queries"
		mkdir "$temp/pdns"
	fi
	printf '%s\n' launch=bind "bind-config=$temp/named.conf" local-address=127.0.0.1 \
		"local-port=$port" "socket-dir=$temp/pdns" daemon=no guardian=no loglevel=3 cache-ttl=0 \
		query-cache-ttl=0 negquery-cache-ttl=0 receiver-threads=8 distributor-threads=8 \
		>"$temp/pdns/pdns.conf"
	start "${prefix[@]}" "$(command -v pdns_server || echo /usr/sbin/pdns_server)" "--config-dir=$temp/pdns"
	ready port_open "$port" || return 1
	dnsperf -s 127.0.0.1 -p "$port" -d "$temp/queries" -l "$load_s" -c 50 -q 200 >"$temp/dnsperf" 2>&1 &
	local client=$! status
	sleep "$look_s"
	see_threads
	wait "$client"
	status=$?
	stop TERM || return 1
	if [ "$status" -ne 0 ] || ! grep -q 'Queries lost: *0 ' "$temp/dnsperf" ||
		! grep -q 'Response codes: *NOERROR [0-9]* (100.00%)' "$temp/dnsperf"; then
		grep -E 'lost|codes' "$temp/dnsperf" >"$temp/why"
		return 1
	fi
	figure "$(awk '/Queries per second/ { print $4 }' "$temp/dnsperf")"
}

# iperf 2.1.8 locks and counts in memory that it has freed (then SIGABRT by malloc's checks,
# SIGSEGV, or a hang), of itself as under greenrun: the streams of one client share a
# SumReport, which the reporter frees when all that have been counted by then have ended;
# but a stream is counted by its own thread, some time after it has been given the report.
# So no stream may end before the last one has begun.  One that only looks whether the port
# is open does; of 50 that take a second the first did once in 15 servers, beside other work.
need_iperf() { there iperf; }
unit_iperf='Mbit/s received, 50 streams'
run_iperf() {
	next_port
	start "${prefix[@]}" "$(command -v iperf)" -s -B 127.0.0.1 -p "$port"
	ready port_listens "$port" || return 1
	timeout 60 iperf -c 127.0.0.1 -p "$port" -P "$streams" -t "$load_s" -y C >"$temp/iperf" 2>&1 &
	local client=$! status count
	sleep "$look_s"
	see_threads
	wait "$client"
	status=$?
	stop TERM || return 1
	count=$(awk -F, 'NF > 8 { n++ } END { print n + 0 }' "$temp/iperf")
	if [ "$status" -ne 0 ] || [ "$count" -ne "$streams" ]; then
		echo "the client: status $status, $count of $streams streams: $(tail -n 2 "$temp/iperf")" >"$temp/why"
		return 1
	fi
	figure "$(awk -F, 'NF > 8 { n += $9 } END { print n / 1e6 }' "$temp/iperf")"
}

# The client is what greenrun runs: a thread that waits for signals, cancelled threads.
need_siege() { there siege; }
unit_siege='requests/s of the client, 50 threads'
run_siege() {
	start_backend || return 1
	mkdir -p "$temp/home/.siege"
	printf '%s\n' 'verbose = false' 'quiet = false' 'show-logfile = false' 'logging = false' \
		'connection = close' 'benchmark = true' >"$temp/home/.siege/siege.conf"
	local i good status
	HOME="$temp/home" start "${prefix[@]}" "$(command -v siege)" -R "$temp/home/.siege/siege.conf" \
		-b -c 50 -r $((100 / share)) "http://127.0.0.1:$backend_port/file"
	for ((i = 0; i < 200; i++)); do
		see_threads
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	kill -9 "$server" 2>/dev/null && echo 'it did not end' >"$temp/why"
	wait "$server"
	status=$?
	server=
	cp "$temp/server.log" "$temp/siege"
	[ "$status" -eq 0 ] || { echo "status $status: $(tail -n 2 "$temp/siege")" >>"$temp/why"; return 1; }
	good=$(sed -n 's/^Transactions:[^0-9]*\([0-9]*\).*/\1/p' "$temp/siege")
	[ "$good" = $((5000 / share)) ] || { echo "$good of $((5000 / share)) requests" >"$temp/why"; return 1; }
	figure "$(sed -n 's/^Transaction rate:[^0-9]*\([0-9.]*\).*/\1/p' "$temp/siege")"
}

all='mariadb mariadb_500 mariadb_3000 stunnel tinyproxy microsocks nginx apache haproxy pdns iperf siege'

# ---- running ---------------------------------------------------------------------

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { print b ? a / b : 0 }'; }

# one NAME HOW: a run; its figure goes to the list of this way.
one() {
	rm -f "$temp/figure" "$temp/why"
	threads_seen=0 cpu=0
	if ! "run_$1" || ! [ -s "$temp/figure" ]; then
		echo "not ok $1 $2: $(cat "$temp/why" 2>/dev/null || tail -n 3 "$temp/server.log")"
		[ -z "$server" ] || kill -9 "$server" 2>/dev/null
		server=
		bad=1
		return 1
	fi
	cat "$temp/figure" >>"$temp/$1.$2"
	echo "$threads_seen" >>"$temp/$1.$2.threads"
	awk -v cpu="$cpu" '{ print ($1 > 0 ? cpu / $1 : 0) }' "$temp/figure" >>"$temp/$1.$2.cpu"
}

compare() {
	local name=$1 i unit=unit_$1 native green
	if ! "need_$name"; then
		echo "SKIP: $name: $missing is not installed"
		return
	fi
	for ((i = 0; i < rounds; i++)); do
		prefix=()
		one "$name" native || return
		green
		one "$name" green || return
	done
	native=$(median "$temp/$name.native") green=$(median "$temp/$name.green")
	printf 'ok %-13s native %9.1f  green %9.1f  ratio %.3f  CPU %.2f  OS threads %4d %4d  %s\n' \
		"$name" "$native" "$green" "$(ratio "$green" "$native")" \
		"$(ratio "$(median "$temp/$name.green.cpu")" "$(median "$temp/$name.native.cpu")")" \
		"$(sort -n "$temp/$name.native.threads" | tail -n 1)" \
		"$(sort -n "$temp/$name.green.threads" | tail -n 1)" "${!unit}"
}

soak() {
	local name=$1 i clean=0 ok=ok began
	if ! "need_$name"; then
		echo "SKIP: $name: $missing is not installed"
		return
	fi
	green
	began=$(seconds)
	for ((i = 1; i <= soak; i++)); do
		if one "$name" green; then clean=$((clean + 1)); else echo "	that was run $i"; fi
	done
	[ "$clean" -eq "$soak" ] || ok='not ok'
	printf '%s %-13s %d of %d runs clean, %.1f s each\n' "$ok" "$name" "$clean" "$soak" \
		"$(ratio "$(elapsed "$began")" "$soak")"
}

[ ${#names[@]} -gt 0 ] || read -ra names <<<"$all"
ulimit -n "$(ulimit -Hn)"
for name in "${names[@]}"; do
	case " $all " in
	*" $name "*) if [ "$soak" -gt 0 ]; then soak "$name"; else compare "$name"; fi ;;
	*) echo "no program named $name; there are: $all" >&2; exit 2 ;;
	esac
done
exit $bad
