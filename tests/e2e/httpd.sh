#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# examples/httpd from outside: byte-exact answers against curl, clients that
# misbehave, draining, load.  BUILD names the build directory; GREEN_ENGINE an
# engine, else both are tested.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
httpd=$build/examples/httpd
fetch=$build/examples/fetch
root=$temp/root
probe=$temp/httpprobe

# ---- comparing -----------------------------------------------------------------

# between WHAT LEAST MOST FOUND
between() {
	[ "$2" -le "$4" ] && [ "$4" -le "$3" ] && return
	echo "$1: expected $2 to $3, found $4"
	return 1
}

# same_file WHAT EXPECTED FOUND
same_file() {
	cmp "$2" "$3" >"$temp/cmp" 2>&1 && return
	echo "$1: $(cat "$temp/cmp")"
	return 1
}

# ---- the server ----------------------------------------------------------------

# start OPTION...: starts httpd on a free port.
start() {
	: >"$temp/out"
	"$httpd" --listen 127.0.0.1:0 --root "$root" --engine "$label" --status --debug "$@" \
		>"$temp/out" 2>"$temp/err" &
	wait_until_listening $!
}

# stop: ends the server by SIGTERM and returns its exit status.
stop() {
	kill -TERM "$server" 2>/dev/null
	ended "$server"
}

# ended PID: waits for a child at most 20 s, returns its exit status.
ended() {
	local i
	for ((i = 0; i < 200; i++)); do
		kill -0 "$1" 2>/dev/null || break
		sleep 0.1
	done
	kill -9 "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	local status=$?
	unset "children[$1]"
	return $status
}

url() { echo "http://127.0.0.1:$port$1"; }
get() { curl -s --max-time 20 "$@"; }
status_of() { get -o /dev/null -w '%{http_code}' "$@"; }

# answer_to TEXT [OPTION...]: the status that the raw bytes (printf) are given.
answer_to() {
	local text=$1
	shift
	# shellcheck disable=SC2059 # the text is meant to be a format
	printf "$text" | "$probe" send "$@" --half-close "$port" 2>"$temp/probe" |
		sed -n '1s/^HTTP\/1.1 \([0-9]*\).*/\1/p'
}

# wait_for_connections N: until the server has that many, and a moment for what
# they have sent to arrive.
wait_for_connections() {
	local i found
	for ((i = 0; i < 100; i++)); do
		found=$(get "$(url /_status)" | sed -n 's/.*"connections":\([0-9]*\).*/\1/p')
		# The one that asks is counted, too.
		if [ "${found:-0}" -gt "$1" ]; then
			sleep 0.3
			return 0
		fi
		sleep 0.1
	done
	echo "only ${found:-0} connections"
	return 1
}

# ---- tests: answers ------------------------------------------------------------

test_get() {
	local name
	for name in empty one 1k small edge over large; do
		get "$(url /$name)" -o "$temp/got" || { echo "curl: $name"; return 1; }
		same_file "$name" "$root/$name" "$temp/got" || return 1
	done
	get "$(url /dir/)" -o "$temp/got"
	same_file index "$root/dir/index.html" "$temp/got" || return 1
	get "$(url '/with%20space')" -o "$temp/got"
	same_file space "$root/with space" "$temp/got" || return 1
	equal 'a missing file' 404 "$(status_of "$(url /nowhere)")" || return 1
	equal 'a directory' "301 $(url /dir/)" \
		"$(get -o /dev/null -w '%{http_code} %{redirect_url}' "$(url /dir)")" || return 1
	equal type 'text/html; charset=utf-8' \
		"$(get -o /dev/null -w '%{content_type}' "$(url /dir/index.html)")"
}

test_head() {
	local name length
	for name in empty 1k large; do
		length=$(get -I "$(url /$name)" | tr -d '\r' | sed -n 's/^Content-Length: //p')
		equal "length of $name" "$(stat -c %s "$root/$name")" "$length" || return 1
	done
	# Nothing but the head, or the next answer would not be found.
	equal 'two on one connection' '200 200 ' \
		"$(get -I -o /dev/null -o /dev/null -w '%{http_code} ' "$(url /1k)" "$(url /large)")"
}

# range NAME SPEC FIRST COUNT
range() {
	get -r "$2" "$(url "/$1")" -o "$temp/got"
	tail -c "+$(($3 + 1))" "$root/$1" | head -c "$4" >"$temp/expected"
	same_file "range $2 of $1" "$temp/expected" "$temp/got"
}

test_range() {
	range 1k 0-0 0 1 && range 1k 10-19 10 10 && range 1k 1000- 1000 24 &&
		range 1k 1000-9999 1000 24 && range 1k -5 1019 5 && range 1k -9999 0 1024 &&
		range large 12345-1234567 12345 1222223 || return 1
	equal 'beyond the end' 416 "$(status_of -r 1024- "$(url /1k)")" || return 1
	equal 'content range' 'bytes */1024' "$(get -r 1024- -D - -o /dev/null "$(url /1k)" |
		tr -d '\r' | sed -n 's/^Content-Range: //p')" || return 1
	equal 'two ranges' 200 "$(status_of -r 0-1,5-6 "$(url /1k)")" || return 1
	equal 'one range' 206 "$(status_of -r 0-1 "$(url /1k)")" || return 1
	equal 'other if-range' 200 "$(status_of -H 'If-Range: "x"' -r 0-1 "$(url /1k)")"
}

test_conditions() {
	local tag date
	tag=$(get -I "$(url /1k)" | tr -d '\r' | sed -n 's/^ETag: //p')
	date=$(get -I "$(url /1k)" | tr -d '\r' | sed -n 's/^Last-Modified: //p')
	equal 'same time' 304 "$(status_of -H "If-Modified-Since: $date" "$(url /1k)")" || return 1
	equal 'curl -z' 304 "$(status_of -z "$root/1k" "$(url /1k)")" || return 1
	equal 'older' 200 "$(status_of -H 'If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT' \
		"$(url /1k)")" || return 1
	equal 'no date' 200 "$(status_of -H 'If-Modified-Since: now' "$(url /1k)")" || return 1
	equal 'same tag' 304 "$(status_of -H "If-None-Match: \"x\", W/$tag" "$(url /1k)")" || return 1
	equal 'same if-range' 206 "$(status_of -H "If-Range: $tag" -r 0-1 "$(url /1k)")"
}

test_echo() {
	local name
	for name in empty one 1k small edge over large; do
		get --data-binary "@$root/$name" "$(url /echo)" -o "$temp/got" -H 'Expect:'
		same_file "$name by length" "$root/$name" "$temp/got" || return 1
		get --data-binary "@$root/$name" -H 'Transfer-Encoding: chunked' -H 'Expect:' \
			"$(url /echo)" -o "$temp/got"
		same_file "$name chunked" "$root/$name" "$temp/got" || return 1
		get -T "$root/$name" -H 'Expect: 100-continue' "$(url /echo)" -o "$temp/got"
		same_file "$name after 100 Continue" "$root/$name" "$temp/got" || return 1
		get --http1.0 --data-binary "@$root/$name" "$(url /echo)" -o "$temp/got"
		same_file "$name by HTTP/1.0" "$root/$name" "$temp/got" || return 1
	done
	printf 'POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n' >"$temp/request"
	printf 'Connection: close\r\n\r\n3;x=y\r\nxyz\r\n00A\r\nklmnopqrst\r\n' >>"$temp/request"
	printf '0\r\nTrailer: t\r\n\r\n' >>"$temp/request"
	"$probe" send --bytewise "$port" <"$temp/request" >"$temp/got"
	equal 'bytewise chunks' xyzklmnopqrst "$(body_of "$temp/got" | tr -d '\r\n0-9a-f')"
}

test_limits() {
	equal 'declared body' 413 "$(status_of --data-binary "@$root/over_limit" -H 'Expect:' \
		"$(url /echo)")" || return 1
	equal 'refused before it is sent' 413 "$(status_of -T "$root/over_limit" \
		-H 'Expect: 100-continue' "$(url /echo)")" || return 1
	equal 'unknown method' 501 "$(status_of -X BREW "$(url /1k)")" || return 1
	equal 'other method' 405 "$(status_of -X DELETE "$(url /1k)")" || return 1
	equal allow 'GET, HEAD, OPTIONS' "$(get -X OPTIONS -i "$(url /1k)" | tr -d '\r' |
		sed -n 's/^Allow: //p')" || return 1
	equal 'long target' 414 "$(status_of "$(url "/$(head -c 5000 /dev/zero | tr '\0' x)")")" ||
		return 1
	equal 'POST to a file, then GET' '405 200 ' "$(get -o /dev/null -o /dev/null \
		-w '%{http_code} ' --data-binary "@$root/small" "$(url /1k)" --next -s \
		-o /dev/null -w '%{http_code} ' "$(url /1k)")"
}

test_refusals() {
	local text
	while IFS= read -r text; do
		equal "$text" 400 "$(answer_to "$text")" || return 1
	done <<-'END'
		GET / HTTP/1.1\r\n\r\n
		GET / HTTP/1.1\nHost: a\n\n
		GET /a b HTTP/1.1\r\nHost: a\r\n\r\n
		GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n
		GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n
		GET / HTTP/1.1\r\nHost : a\r\n\r\n
		POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n
		POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab
		POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n
		POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n
		GET / HTTP/1.1\r\nHost: a\r\nX: \001\r\n\r\n
		GET /%%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n
		\026\003\001\002
		GET / HTTP/1.1\r\nHost: a
	END
}

test_no_way_out() {
	local path found
	for path in /../secret /dir/../../secret /%2e%2e/secret /..%2fsecret /%2e%2e%2fsecret \
		/dir/..%2f..%2fsecret //../secret /./../secret /link /absolute /up/secret \
		/.hidden '/..\\secret' /%2fetc/passwd //etc/passwd; do
		get --path-as-is "$(url "$path")" -o "$temp/got" || return 1
		grep -q 'geheim\|root:' "$temp/got" && { echo "$path gets out"; return 1; }
		found=$(status_of --path-as-is "$(url "$path")")
		equal "$path" 404 "$found" || return 1
	done
	equal 'a link inside' 200 "$(status_of "$(url /inside)")" ||
		echo '(no openat2 here: links are refused)'
}

# ---- tests: clients that misbehave ---------------------------------------------

request='GET /1k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

# The body behind the head of what the probe printed.
body_of() { sed '1,/^\r$/d' "$1"; }

test_byte_by_byte() {
	# shellcheck disable=SC2059
	printf "$request" | "$probe" send --bytewise "$port" >"$temp/got"
	body_of "$temp/got" | cmp - "$root/1k"
}

test_half_closed() {
	# shellcheck disable=SC2059
	printf "${request/Connection: close\\r\\n/}" |
		"$probe" send --half-close "$port" >"$temp/got" || return 1
	body_of "$temp/got" | cmp - "$root/1k" || return 1
	{ printf 'GET /large HTTP/1.1\r\nHost: a\r\n\r\n'; } |
		"$probe" send --half-close "$port" >"$temp/got" || return 1
	body_of "$temp/got" | cmp - "$root/large"
}

test_slow_reader() {
	printf 'GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' |
		"$probe" send --slow-read "$port" >"$temp/got" || return 1
	body_of "$temp/got" | cmp - "$root/large"
}

test_resets() {
	printf 'GET /large HTTP/1.1\r\nHost: a\r\n\r\n' | "$probe" reset "$port" 50 || return 1
	equal 'afterwards' 200 "$(status_of "$(url /1k)")"
}

test_long_header_line() {
	local found
	found=$({ printf 'GET / HTTP/1.1\r\nHost: a\r\nX: '; head -c 100000 /dev/zero | tr '\0' x
		printf '\r\n\r\n'; } | "$probe" send "$port" | head -1 | tr -d '\r')
	equal 'long line' 'HTTP/1.1 431 Request Header Fields Too Large' "$found" || return 1
	found=$({ printf 'GET / HTTP/1.1\r\nHost: a\r\n'; yes 'X: y' | head -20000 |
		sed 's/$/\r/'; printf '\r\n'; } | "$probe" send "$port" | head -1 | tr -d '\r')
	equal 'many lines' 'HTTP/1.1 431 Request Header Fields Too Large' "$found"
}

test_pipelining() {
	local i
	for ((i = 0; i < 500; i++)); do
		printf 'GET /1k HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\n'
		printf 'Content-Length: 6\r\n\r\nbody%d\n' $((i % 10))
	done >"$temp/request"
	# shellcheck disable=SC2059
	printf "$request" >>"$temp/request"
	"$probe" send "$port" <"$temp/request" >"$temp/got" || return 1
	equal answers 1001 "$(grep -ao 'HTTP/1.1 200 OK' "$temp/got" | wc -l)" || return 1
	equal bodies 500 "$(grep -ac '^body[0-9]' "$temp/got")" || return 1
	tail -c 1024 "$temp/got" | cmp - "$root/1k"
}

test_timeouts() {
	local began found
	found=$({ printf 'GET / HTTP/1.1\r\nHo'; sleep 2; } | "$probe" send "$port" | head -1)
	equal 'slow head' 'HTTP/1.1 408 Request Timeout' "${found%$'\r'}" || return 1
	found=$({ printf 'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n'; } |
		"$probe" send "$port" | head -1)
	equal 'slow body' 'HTTP/1.1 408 Request Timeout' "${found%$'\r'}" || return 1
	# Nothing sent at all, and an idle connection: closed without a word.
	found=$("$probe" hold "$port" 5 </dev/null | tail -1)
	between silent 300 2500 "$found" || return 1
	found=$(printf 'GET /1k HTTP/1.1\r\nHost: a\r\n\r\n' | "$probe" hold "$port" 5 | tail -1)
	between idle 300 2500 "$found" || return 1
	began=$SECONDS
	equal 'handler within its time' 200 "$(status_of "$(url '/_sleep?ms=1500')")" || return 1
	[ $((SECONDS - began)) -ge 1 ]
}

# ---- tests: the server as a whole ----------------------------------------------

# A free descriptor for every connection that ended, and no zombie green thread.
test_nothing_leaks() {
	local i fds
	for ((i = 0; i < 50; i++)); do
		fds=$(find "/proc/$server/fd" -mindepth 1 2>/dev/null | wc -l)
		[ "$fds" -le "$fds_at_start" ] && return
		sleep 0.1
	done
	echo "$fds descriptors, $fds_at_start at the start:"
	find "/proc/$server/fd" -mindepth 1 -printf '%l ' 2>/dev/null
	return 1
}

test_drain() {
	local client idle silent began found
	start --drain-timeout 10000 || return 1
	printf 'GET /1k HTTP/1.1\r\nHost: a\r\n\r\n' | "$probe" hold "$port" 100 >"$temp/held" &
	idle=$!
	"$probe" hold "$port" 20 </dev/null >"$temp/silent" &
	silent=$!
	get -i "$(url '/_sleep?ms=3000')" >"$temp/slept" &
	client=$!
	wait_for_connections 121 || return 1
	began=$(date +%s%N)
	kill -TERM "$server"
	wait "$idle" "$silent" || { echo 'idle connections were not closed well'; return 1; }
	found=$((($(date +%s%N) - began) / 1000000))
	between 'closing idle connections, ms' 0 1500 $found || return 1
	curl -s --max-time 2 "$(url /1k)" -o /dev/null && { echo 'still accepting'; return 1; }
	wait "$client" || { echo 'the request in flight was cut'; return 1; }
	grep -q '^done' "$temp/slept" || { echo 'the request in flight was not answered'; return 1; }
	grep -qi '^connection: close' "$temp/slept" || { echo 'no Connection: close'; return 1; }
	ended "$server"
	equal 'exit status' 0 $? || return 1
	found=$((($(date +%s%N) - began) / 1000000))
	between 'draining, ms' 1000 6000 $found
}

test_drain_cut_short() {
	start --drain-timeout 300 || return 1
	get "$(url '/_sleep?ms=10000')" -o /dev/null &
	wait_for_connections 1 || return 1
	stop
	equal 'exit status' 3 $?
}

test_second_signal() {
	start || return 1
	get "$(url '/_sleep?ms=10000')" -o /dev/null &
	wait_for_connections 1 || return 1
	kill -INT "$server"
	sleep 0.3
	stop
	equal 'exit status' 3 $?
}

test_socket_handed_over() {
	: >"$temp/out"
	"$probe" listen "$httpd" --root "$root" --engine "$label" >"$temp/out" 2>"$temp/err" &
	wait_until_listening $! || return 1
	get "$(url /1k)" | cmp - "$root/1k" || return 1
	stop
	equal 'exit status' 0 $? || return 1
	LISTEN_PID=1 LISTEN_FDS=1 start || return 1 # not for us
	stop
}

test_access_log() {
	rm -f "$temp/log" "$temp/log.1"
	start --log "$temp/log" --workers 2 || return 1
	get "$(url /1k)" -A 'agent "x"' -e 'from\here' -o /dev/null
	get "$(url /nowhere)" -o /dev/null
	printf 'GET /\001 HTTP/1.1\r\n\r\n' | "$probe" send "$port" >/dev/null
	sleep 1.5
	mv "$temp/log" "$temp/log.1"
	kill -HUP "$server"
	sleep 0.5
	get "$(url /one)" -o /dev/null
	stop
	equal 'exit status' 0 $? || return 1
	local when='\[[0-9]*/[A-Z][a-z]*/[0-9]*:[0-9:]* +0000\]'
	grep -q "^127.0.0.1 - - $when \"GET /1k HTTP/1.1\" 200 1024 \"from.x5chere\" \"agent .x22x.x22\"$" \
		"$temp/log.1" || { echo "line: $(head -1 "$temp/log.1")"; return 1; }
	grep -q '"GET /nowhere HTTP/1.1" 404 14 "-"' "$temp/log.1" || { echo 'no 404'; return 1; }
	grep -q '"GET /.x01 HTTP/1.1" 400 ' "$temp/log.1" || { echo 'no 400'; return 1; }
	grep -q '"GET /one HTTP/1.1" 200 1 ' "$temp/log" || { echo 'not reopened'; return 1; }
	equal 'lines' '3 1' "$(wc -l <"$temp/log.1") $(wc -l <"$temp/log")"
}

# exit_of STATUS PATTERN COMMAND...: it ends with the status and says the pattern.
exit_of() {
	local status
	timeout 10 "${@:3}" >"$temp/said" 2>&1 </dev/null
	status=$?
	equal "status of ${*:4}" "$1" $status && grep -q -- "$2" "$temp/said" && return
	echo "${*:4}: said $(cat "$temp/said")"
	return 1
}

test_bad_options() {
	start || return 1
	exit_of 0 Usage "$httpd" --help &&
		exit_of 2 '--workers.*abc' "$httpd" --workers abc &&
		exit_of 2 '--max-header' "$httpd" --max-header 1 &&
		exit_of 2 '--engine' "$httpd" --engine steam &&
		exit_of 2 nonsense "$httpd" nonsense &&
		exit_of 2 unrecognized "$httpd" --nonsense &&
		exit_of 1 '--root /nonexistent' "$httpd" --listen 127.0.0.1:0 --root /nonexistent &&
		exit_of 1 '--log /nonexistent' "$httpd" --listen 127.0.0.1:0 --log /nonexistent/x &&
		exit_of 1 '--listen nonsense' "$httpd" --listen nonsense &&
		exit_of 1 'in use' "$httpd" --listen "127.0.0.1:$port" || return 1
	stop
}

test_concurrency() {
	local found
	start --concurrency 4 --workers 2 || return 1
	for _ in 1 2 3 4 5 6 7 8; do
		get "$(url '/_sleep?ms=300')" -o /dev/null -H 'Connection: close' &
		children[$!]=1
		found="${found:-} $!"
	done
	sleep 0.1
	# shellcheck disable=SC2086 # a list
	wait $found || { echo 'a request failed'; return 1; }
	stop
}

test_wrk() {
	local errors
	start || return 1
	wrk -c 1000 -t 2 -d 5 --timeout 8s "$(url /1k)" >"$temp/wrk" 2>&1 || { cat "$temp/wrk"; return 1; }
	errors=$(grep -E 'Socket errors|Non-2xx' "$temp/wrk")
	equal errors '' "$errors" || return 1
	sed -n 's/^Requests.sec: */# wrk -c 1000: requests per second: /p' "$temp/wrk" >&3
	equal 'afterwards' 200 "$(status_of "$(url /1k)")" || return 1
	stop
	equal 'exit status' 0 $?
}

# The same function with the runtime and without it.
test_fetch() {
	local here=127.0.0.1:$port
	"$fetch" --plain "$here/1k" "$here/large" "$here/one" >"$temp/plain" || return 1
	"$fetch" --green "$here/1k" "$here/large" "$here/one" >"$temp/green" || return 1
	cat "$root/1k" "$root/large" "$root/one" >"$temp/expected"
	same_file plain "$temp/expected" "$temp/plain" || return 1
	same_file green "$temp/expected" "$temp/green" || return 1
	"$fetch" "$here/1k" "$here/dir/" | cmp - <(cat "$root/1k" "$root/dir/index.html") || return 1
	"$fetch" "$here/nowhere" 2>/dev/null && { echo 'fetched what is not there'; return 1; }
	"$fetch" "localhost:1/x" 2>/dev/null && { echo 'fetched from nobody'; return 1; }
	return 0
}

# ---- all of them ---------------------------------------------------------------

prepare() {
	local size
	mkdir -p "$root/dir"
	for size in empty:0 one:1 1k:1024 small:10000 edge:16384 over:16385 large:3000000; do
		head -c "${size#*:}" /dev/urandom >"$root/${size%:*}"
	done
	head -c 20000000 /dev/zero >"$root/over_limit"
	echo '<h1>index</h1>' >"$root/dir/index.html"
	echo space >"$root/with space"
	echo hidden >"$root/.hidden"
	echo geheim >"$temp/secret"
	ln -s ../secret "$root/link"
	ln -s /etc/passwd "$root/absolute"
	ln -s .. "$root/up"
	ln -s dir/index.html "$root/inside"
	"${CC:-cc}" -D_GNU_SOURCE -O1 -o "$probe" tests/e2e/httpprobe.c
}

serves_on_it() {
	start && get "$(url /_status)" | grep -q "\"engine\":\"$label\""
	local there=$?
	stop
	return $there
}

run_all() {
	local name
	start || return 1
	get "$(url /1k)" -o /dev/null # whatever is opened on first use is open now
	get "$(url /large)" -o /dev/null
	fds_at_start=$(find "/proc/$server/fd" -mindepth 1 | wc -l)
	for name in get head range conditions echo limits refusals no_way_out byte_by_byte \
		half_closed slow_reader resets long_header_line pipelining fetch nothing_leaks; do
		check $name test_$name
	done
	stop
	check exit_status equal 'exit status' 0 $?
	start --header-timeout 500 --body-timeout 500 --idle-timeout 500
	check timeouts test_timeouts
	stop
	for name in drain drain_cut_short second_signal socket_handed_over access_log \
		bad_options concurrency; do
		check $name test_$name
	done
	if ! command -v wrk >/dev/null; then
		skip wrk 'wrk is not installed'
	elif [ "$(ulimit -Hn)" != unlimited ] && [ "$(ulimit -Hn)" -lt 1100 ]; then
		skip wrk 'RLIMIT_NOFILE is below 1100'
	else
		ulimit -Sn "$(ulimit -Hn)"
		check wrk test_wrk
	fi
}

if ! command -v curl >/dev/null; then
	echo 'SKIP: httpd: curl is not installed'
	exit 77
fi
prepare || exit 1
for label in ${GREEN_ENGINE:-io_uring epoll}; do
	# The option decides; the variable would override it.
	unset GREEN_ENGINE
	if [ "$label" = io_uring ] && ! serves_on_it; then
		skip everything 'the kernel refuses io_uring'
		continue
	fi
	run_all
done
summary
