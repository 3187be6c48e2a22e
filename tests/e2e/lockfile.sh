#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The lockfile of greentrace on examples/httpd: the same requests make the same file, byte
# by byte, however fast the peer is, and a call that was added is named.  LOCKFILE_RUNS is
# how often (4).  BUILD names the build directory.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
greentrace=${GREENTRACE:-$build/greentrace}
runs=${LOCKFILE_RUNS:-4}
root=$temp/root
probe=$temp/httpprobe
export DEBUGINFOD_URLS='' GREEN_WORKERS=2

if ! [ -x "$greentrace" ]; then
	skip greentrace 'not built, for lack of libbpf-dev, libdw-dev, bpftool or clang'
	exit 77
fi
needs_tracing attaching

# ---- the peers -----------------------------------------------------------------------

# request NAME "FIRST LINE" [HEADERS AND BODY]: by printf's escapes; with Connection: close.
request() {
	printf '%b' "$2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${3:-\r\n}" \
		>"$temp/requests/$1"
}

write_requests() {
	mkdir -p "$temp/requests"
	request get 'GET /file'
	request head 'HEAD /file'
	request large 'GET /large'
	request range 'GET /file' 'Range: bytes=2-5\r\n\r\n'
	# A name that nobody has looked up before: the kernel has to look.
	request missing "GET /nowhere-$(date +%s%N)"
	request length 'POST /echo' 'Content-Length: 6\r\n\r\n123456'
	request chunks 'POST /echo' 'Transfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n0\r\n\r\n'
	{
		printf 'GET /file HTTP/1.1\r\nHost: a\r\n\r\n'
		cat "$temp/requests/get"
	} >"$temp/requests/two"
	printf 'nonsense\r\n\r\n' >"$temp/requests/refused"
}

declare -A answers=([get]=200 [head]=200 [large]=200 [range]=206 [missing]=404 [length]=200
	[chunks]=200 [two]=200 [refused]=400)

# ask OPTION...: each of them, in this manner.  Some calls are made only where a request
# comes in pieces: so that each run has to have both.
ask() {
	local name found
	for name in "${!answers[@]}"; do
		"$probe" send "$@" "$port" <"$temp/requests/$name" >"$temp/answer" || return 1
		found=$(sed -n '1s/^HTTP\/1.1 \([0-9]*\).*/\1/p' "$temp/answer" | tr -d '\0')
		equal "answer to $name" "${answers[$name]}" "$found" || return 1
	done
}

# ---- the server ----------------------------------------------------------------------

# session PROGRAM PEER OPTION...: serves it the requests, traced.
session() {
	local program=$1 peer=$2 tracer status
	shift 2
	: >"$temp/out"
	"$greentrace" sites "$@" -- "$program" --listen 127.0.0.1:0 --root "$root" \
		>"$temp/out" 2>"$temp/err" 3>&- &
	tracer=$!
	wait_until_listening $tracer || return 1
	write_requests || return 1
	case $peer in
	fast) ask && ask --bytewise ;;
	slow) ask --slow-read && sleep 0.3 && ask --bytewise --slow-read ;;
	esac || { kill -9 $tracer; return 1; }
	pkill -TERM -P $tracer
	wait $tracer
}

test_same_file() {
	local i peers=(fast slow)
	session "$build/examples/httpd" fast --lock "$temp/first" || { cat "$temp/err"; return 1; }
	has 'a call' '^io	httpd	connection_receive	[0-9]+$' "$temp/first" || return 1
	for ((i = 1; i < runs; i++)); do
		session "$build/examples/httpd" "${peers[i % 2]}" --lock "$temp/again" ||
			{ cat "$temp/err"; return 1; }
		cmp "$temp/first" "$temp/again" && continue
		echo "run $i, a ${peers[i % 2]} peer:"
		diff "$temp/first" "$temp/again"
		return 1
	done
	remark "$(grep -vc '^#' "$temp/first") places, the same in $runs runs"
}

# A server like it, but for one call.
test_added_call() {
	mkdir "$temp/httpd.src"
	cp examples/httpd/*.[ch] "$temp/httpd.src"
	sed -i '/^struct slice mime_type/,/^{/s/^{/{\n\tgreen_fdatasync(-1);/' \
		"$temp/httpd.src/mime.c"
	cmp -s examples/httpd/mime.c "$temp/httpd.src/mime.c" && { echo 'nothing was added'; return 1; }
	compile httpd "$temp/httpd.src"/*.c -D_GNU_SOURCE -include green.h -I "$temp/httpd.src" "${archive[@]}"
	session "$build/examples/httpd" fast --lock "$temp/lock" || return 1
	session "$temp/httpd" fast --check "$temp/lock"
	equal 'exit status' 1 $? || return 1
	equal 'what is new' 'new: io in mime_type of httpd' "$(grep '^new' "$temp/out")" || return 1
	session "$build/examples/httpd" slow --check "$temp/lock"
	equal 'exit status without it' 0 $?
}

mkdir "$root"
echo content >"$root/file"
head -c 3000000 /dev/urandom >"$root/large"
"${CC:-cc}" -D_GNU_SOURCE -O1 -o "$probe" tests/e2e/httpprobe.c || exit 1
check same_file test_same_file
check added_call test_added_call
summary
