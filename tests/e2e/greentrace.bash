# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the tests of greentrace have in common, on top of common.bash: running it, and the
# programs that it looks at.  GREENTRACE is a greentrace to test instead of that build's.
# shellcheck disable=SC2034,SC2154,SC2004 # used by the scripts, and theirs; an array by pid
greentrace=${GREENTRACE:-$build/greentrace}
export DEBUGINFOD_URLS='' GREEN_WORKERS=2
unset SLOW_PEER

if ! [ -x "$greentrace" ]; then
	skip greentrace 'not built, for lack of libbpf-dev, libdw-dev, bpftool or clang'
	exit 77
fi

# trace EXPECTED ARGUMENT...: runs it; output in $temp/out and $temp/err.
trace() {
	local expected=$1 status
	shift
	timeout 120 "$greentrace" "$@" >"$temp/out" 2>"$temp/err" </dev/null
	status=$?
	equal "greentrace $*: exit status" "$expected" $status && return
	cat "$temp/err" "$temp/out"
	return 1
}

# start PROGRAM MODE: in the background; $pid is its number.
start() {
	[ -p "$temp/input" ] || mkfifo "$temp/input"
	: >"$temp/said"
	"$@" <>"$temp/input" >"$temp/said" 2>&1 3>&- &
	pid=$!
	children[$pid]=1
	until grep -q '^ready' "$temp/said"; do
		[ -d "/proc/$pid" ] || { echo "$* did not get ready"; return 1; }
		sleep 0.02
	done
}

# stop_serving: the program ends of its own accord, having done something.
stop_serving() {
	kill -0 "$pid" || { echo 'the program has ended before'; return 1; }
	echo q >"$temp/input"
	wait "$pid"
	equal 'exit status of the program' 0 $? || { cat "$temp/said"; return 1; }
	at_least 'rounds' 1 "$(sed -n 's/^done //p' "$temp/said")"
}

# said KIND FIELD: what the program printed of that kind.
said() { sed -n "s/^$1 //p" "$temp/out" | cut -d' ' -f"$2"; }

# seen KIND MEMBER: the sum over all its switch points, from lines of JSON.
seen() {
	sed -n "s/^{\"type\":\"site\".*\"why\":\"$1\".*\"$2\":\([0-9]*\)[,}].*/\1/p" "$temp/out" |
		awk '{ n += $1 } END { printf "%.0f", n }'
}

clean() { equal "control characters of $1" 0 "$(LC_ALL=C tr -d '\n -~' <"$2" | wc -c)"; }

make_traced() { compile "$1" tests/e2e/traced.c "${@:2}"; }
"${CC:-cc}" -O1 -o "$temp/jsoncheck" tests/e2e/jsoncheck.c || exit 1
