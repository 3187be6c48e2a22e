#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A thread that waits under greenrun takes no more pages of its stack than natively, however
# it waits, in each mode of interception; with --lean one that waits for a mutex takes one.
# BUILD names the build directory.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
needs_greenrun

compile parked tests/e2e/parked.c -O2 -D_GNU_SOURCE -Wall -Werror -Wl,-z,now
"$temp/parked" >"$temp/native" || exit 2

# Preemption leaves the state of what it interrupts on that thread's stack: it is left out.
takes_no_more() {
	local name pages natively
	timeout -s KILL 60 "$run" --no-preempt "$@" "$temp/parked" >"$temp/found" || return 1
	while read -r name natively; do
		pages=$(sed -n "s/^$name //p" "$temp/found")
		[ "${pages:-99}" -le "$natively" ] && continue
		echo "$name: ${pages:-no} pages, natively $natively"
		return 1
	done <"$temp/native"
}

# By libc's own frames it could be one.  (Dispatch is by a signal, whose frame takes another.)
one_is_enough() {
	GLIBC_TUNABLES=glibc.rtld.nns=1:glibc.rtld.optional_static_tls=0 "$temp/parked" \
		>"$temp/native_lean" || return 1
	grep -qx 'mutex 1' "$temp/native_lean" || { echo 'libc alone takes two'; return 77; }
	"$run" --lean --no-preempt "$@" "$temp/parked" >"$temp/found" &&
		has 'a page' '^mutex 1$' "$temp/found"
}

while read -r mode workers engine; do
	if engine_there "$engine"; then
		check "$mode $workers $engine" takes_no_more --intercept "$mode" \
			--workers "$workers" --engine "$engine"
		[ "$mode" = dispatch ] ||
			check "lean $mode $workers $engine" one_is_enough --intercept "$mode" \
				--workers "$workers" --engine "$engine"
	else
		skip "$mode $workers $engine" 'the kernel refuses io_uring'
	fi
done < <(interceptions "")
summary
