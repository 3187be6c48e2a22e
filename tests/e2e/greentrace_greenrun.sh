#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# greentrace on unmodified programs under greenrun: the program's own line, the libraries
# below it and the system call that they made, the same in each mode of interception; and
# what was not intercepted.  BUILD names the build directory; GREENTRACE a greentrace to test
# instead of that build's.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
# shellcheck source=tests/e2e/greentrace.bash
. tests/e2e/greentrace.bash
needs_greenrun
"$greentrace" check >"$temp/out" 2>&1
if ! grep -q '^switch points  *yes' "$temp/out"; then
	skip everything "no probes here: $(tail -n 1 "$temp/out")"
	summary
	exit 77
fi

# make_plain NAME FLAG...
make_plain() {
	# As Ubuntu's compiler does by itself: fgets() is inlined from a header.
	"${CC:-cc}" -O1 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -o "$temp/$1" \
		tests/e2e/unmodified.c "${@:2}" -pthread 2>"$temp/cc" || { cat "$temp/cc"; exit 1; }
}

# block KIND PLACE: the map's rows of that kind there, with the lines below them.
block() {
	awk -v kind="$1" -v place="$2" '
		/^ *[0-9-]+ +[0-9]+ / { on = $7 == kind && $8 == place }
		on' "$temp/out"
}

# row KIND PLACE FIELD
row() { block "$1" "$2" | awk -v field="$3" 'NR == 1 { print $field }'; }

# below KIND PLACE FUNCTION: the library's function is between the two.
below() {
	block "$1" "$2" | grep -qE "^      > $3(@|\+| )" && return
	echo "$1 in $2: no $3 below it in: $(block "$1" "$2")"
	return 1
}

shows() {
	GREEN_INTERCEPT=$1 trace 0 sites -- "$run" "$temp/plain" || return 1
	equal 'sleeps' 160 "$(row clock_nanosleep account 1)" || return 1
	equal 'parks of them' 160 "$(row clock_nanosleep account 2)" || return 1
	equal 'writes' 10 "$(row write write_line 1)" || return 1
	at_least 'reads' 2 "$(row read read_line 1)" || return 1
	at_least 'waits for the mutex' 10 "$(row futex account 2)" || return 1
	at_least 'files of the resolver' 1 "$(row read resolve 1)" || return 1
	below write write_line '_IO_fflush|fflush' || return 1
	below read read_line '_IO_fgets|fgets' || return 1
	below futex account '.*pthread_mutex_lock' || return 1
	below read resolve getaddrinfo || return 1
	block futex account | grep -q '^      < clerk (unmodified.c:[0-9]*)$' && return
	echo "no caller of account: $(block futex account)"
	return 1
}
test_patch() { shows patch; }
test_dispatch() { shows dispatch; }
test_both() { shows both; }

# By its records alone, and read back from a file.
test_table() {
	trace 0 -c -k -- "$run" "$temp/plain" || return 1
	has 'the program'\''s line' ' read  *read_line \(unmodified.c:[0-9]+\)$' "$temp/out" || return 1
	has 'what made the call' '^      (_IO_)?fgets' "$temp/out" || return 1
	trace 0 record "$temp/recording" --entries -- "$run" "$temp/plain" || return 1
	trace 0 report "$temp/recording" --sites || return 1
	equal 'sleeps' 160 "$(row clock_nanosleep account 1)" || return 1
	below read read_line '_IO_fgets|fgets'
}

test_lockfile() {
	trace 0 sites --lock "$temp/lock" -- "$run" "$temp/plain" || return 1
	has 'a call' '^clock_nanosleep	plain	account	1$' "$temp/lock" || return 1
	trace 0 sites --check "$temp/lock" -- "$run" "$temp/plain" || return 1
	make_plain added -DADDED && mkdir "$temp/new" && mv "$temp/added" "$temp/new/plain" || return 1
	trace 1 sites --check "$temp/lock" -- "$run" "$temp/new/plain" || return 1
	equal 'what is new' 'new: fdatasync in account of plain' "$(grep '^new' "$temp/out")"
}

# Only the rewriting of libc misses it, and then it blocks its worker; preemption would
# interrupt it.
test_not_handled() {
	GREEN_INTERCEPT="patch" trace 0 sites --blocked 20 --syscalls -- \
		"$run" --no-preempt "$temp/plain" past || return 1
	sed -n '/^Workers blocked/,/^$/p' "$temp/out" >"$temp/blocked"
	has 'what blocks' '^ +1 .* nanosleep$' "$temp/blocked" || return 1
	has 'where' '^      sleep_past_libc \(unmodified.c' "$temp/blocked" || return 1
	sed -n '/^System calls/,/^$/p' "$temp/out" >"$temp/direct"
	has 'what was not intercepted' '^      sleep_past_libc \(unmodified.c' "$temp/direct" || return 1
	GREEN_INTERCEPT=both trace 0 sites --blocked 20 -- "$run" "$temp/plain" past || return 1
	equal 'the same call, intercepted' 1 "$(row nanosleep sleep_past_libc 2)"
}

# The runtime's own system calls are left out also where greentrace could not yet say which
# those are: here it is stopped from the program's first line to its last.
test_unseen() {
	GREEN_INTERCEPT="patch" trace 0 sites --syscalls -- \
		"$run" --no-preempt "$temp/plain" unseen || return 1
	sed -n '/^System calls/,/^$/p' "$temp/out" >"$temp/direct"
	equal 'calls past the runtime' '1 nanosleep' \
		"$(awk '$1 ~ /^[0-9]+$/ { print $1, $2 }' "$temp/direct")"
}

test_wrapped() {
	# shellcheck disable=SC2016 # for the other shell
	trace 0 sites -- sh -c 'exec "$0" "$1"' "$run" "$temp/plain" || return 1
	equal 'sleeps' 160 "$(row clock_nanosleep account 1)" || return 1
	trace 2 sites -- sh -c 'exit 3' && has 'why' 'executed none' "$temp/err"
}

make_plain plain
check patch test_patch
check dispatch test_dispatch
check both test_both
check table test_table
check lockfile test_lockfile
check not_handled test_not_handled
check unseen test_unseen
check wrapped test_wrapped
summary
