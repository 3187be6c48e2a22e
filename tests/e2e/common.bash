# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the end-to-end tests have in common: counting, comparing, ending what was
# started.  A script sets build and label (for its lines), and calls summary last.
#
# Prints "ok LABEL NAME", "not ok LABEL NAME: why" or "SKIP: LABEL NAME: why" for
# each test, and the sum; exit status 0 when none failed.
# shellcheck disable=SC2034 # used by the scripts
build=${BUILD:-build/release}
label=
temp=$(mktemp -d)
passed=0 failed=0 skipped=0
server='' port=''
declare -A children=()

ok() {
	echo "ok ${label:+$label }$1"
	passed=$((passed + 1))
}
not_ok() {
	echo "not ok ${label:+$label }$1: $2"
	failed=$((failed + 1))
}
skip() {
	echo "SKIP: ${label:+$label }$1: $2"
	skipped=$((skipped + 1))
}

# check NAME COMMAND...: passes when the command succeeds; its output says why not,
# and status 77 that it was skipped.
check() {
	local name=$1 output status
	shift
	output=$(contained "$@" 2>&1)
	status=$?
	case $status in
	0) ok "$name" ;;
	77) skip "$name" "${output:-no reason given}" ;;
	*) not_ok "$name" "${output:-$* failed}" ;;
	esac
}

# Runs a test, which is in a subshell, and ends the processes that it left.
contained() {
	local status
	children=()
	"$@"
	status=$?
	end_children
	return $status
}

end_children() {
	local pid
	for pid in "${!children[@]}"; do kill -9 "$pid" 2>/dev/null; done
}

# compile NAME SOURCE FLAG...: a program of that name in $temp; with the static library
# by the flags in archive.
archive=("$build/libgreen.a" -l:liburing.a -lm)
compile() {
	"${CC:-cc}" -O1 -g -fno-omit-frame-pointer -I "$build/include" -o "$temp/$1" "${@:2}" \
		-pthread 2>"$temp/cc" || { cat "$temp/cc"; exit 1; }
}

# equal WHAT EXPECTED FOUND
equal() {
	[ "$2" = "$3" ] && return
	echo "$1: expected '$2', found '$3'"
	return 1
}

# at_least WHAT LEAST FOUND
at_least() {
	[ "${3:-0}" -ge "$2" ] && return
	echo "$1: expected at least $2, found '$3'"
	return 1
}

# has WHAT PATTERN FILE
has() {
	grep -qE -- "$2" "$3" && return
	echo "$1: no '$2' in: $(tail -n 20 "$3")"
	return 1
}

# wait_until_listening PID: an httpd that writes to $temp/out and $temp/err; sets
# server and port.
wait_until_listening() {
	local i
	server=$1
	children[$server]=1
	for ((i = 0; i < 100; i++)); do
		port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$temp/out")
		[ -n "$port" ] && return 0
		sleep 0.1
	done
	echo "the server does not start: $(cat "$temp/err")"
	return 1
}

# A line that is no result, for whoever reads the log; also from within a test.
exec 3>&1
remark() { echo "# ${label:+$label }$*" >&3; }

# engine_there ENGINE: does the kernel allow it?
engine_there() {
	[ "$1" != io_uring ] || GREEN_ENGINE=auto "$build/tests/probe" >/dev/null 2>&1
}

# Ends here where greenrun is not built; sets run.  GREENRUN is one to test instead of that
# build's, of a build that need not have its library.
needs_greenrun() {
	run=$build/greenrun
	if ! [ -e "$build/libgreenrun.so" ]; then
		skip everything "there is no libgreenrun.so in $build: not for this CPU, or a sanitizer's build"
		summary
		exit 77
	fi
	[ -n "${GREENRUN:-}" ] || return 0
	mkdir "$temp/tool" && cp "$GREENRUN" "$temp/tool/greenrun" &&
		ln -s "$(realpath "$build/libgreenrun.so")" "$temp/tool" || exit 1
	run=$(realpath --relative-to=. "$temp/tool/greenrun")
}

# needs_tracing WHAT: ends here, with WHAT skipped, unless greentrace sees all that it may.
needs_tracing() {
	"$greentrace" check >"$temp/check" 2>&1 && return
	# That something is not allowed here is a reason, but not that greentrace asks wrongly.
	if grep -q ' no: Invalid argument' "$temp/check"; then
		not_ok "$1" "$(cat "$temp/check")"
		summary
		exit 1
	fi
	skip "$1" "$(grep -m1 ' no: ' "$temp/check" || head -n 1 "$temp/check")"
	summary && exit
	[ "$failed" -eq 0 ] && exit 77
	exit 1
}

# interceptions [all]: "MODE WORKERS ENGINE" a line, of greenrun's modes of interception: all
# combinations, or some in which each of them occurs.
interceptions() {
	if [ "${1:-}" = all ]; then
		printf '%s\n' {auto,patch,dispatch,both}' '{1,2,4}' '{io_uring,epoll}
	else
		printf '%s\n' 'auto 2 io_uring' 'patch 1 io_uring' 'patch 2 epoll' \
			'dispatch 2 io_uring' 'dispatch 1 epoll' 'both 1 epoll' 'both 2 io_uring'
	fi
}

summary() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

clean_up() {
	end_children
	rm -rf "$temp"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
