#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A thread that waits under greenrun takes no more pages of its stack than natively, however
# it waits, in each mode of interception.  BUILD names the build directory.
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

while read -r mode workers engine; do
	if engine_there "$engine"; then
		check "$mode $workers $engine" takes_no_more --intercept "$mode" \
			--workers "$workers" --engine "$engine"
	else
		skip "$mode $workers $engine" 'the kernel refuses io_uring'
	fi
done < <(interceptions)
summary
