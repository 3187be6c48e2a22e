#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Stacks that hibernate, seen by greenps and the gdb script: as the others, live and in
# core files, and without waking them.  BUILD and GREENPS as for greenps.sh.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
# shellcheck source=tests/e2e/sights.bash
. tests/e2e/sights.bash

# Fifteen hundred in each of the two modes of userfaultfd, every tenth of which stays awake.
test_hibernated() {
	local before mode
	can_hibernate || return
	export GREEN_HIBERNATE_MS=1 asleep=1350 GREEN_FEATURES
	for mode in '' -userfaultfd_kernel; do
		GREEN_FEATURES=$mode
		start "$temp/sights" 1500 || return 1
		before=$(stack_memory)
		succeeds "$pid" --stacks --waits || return 1
		each_kind_is_there || return 1
		stacks_are_whole 1511 || return 1
		equal 'hibernated' 1360 "$(grep -c '^[0-9].* hibernated$' "$temp/out")" || return 1
		has 'the head' '1511 parked, 1360 of them hibernated$' "$temp/out" || return 1
		succeeds "$pid" --json --stacks || return 1
		"$temp/jsoncheck" program=sights <"$temp/out" || return 1
		equal 'hibernated' 1360 "$(grep -o '"hibernated":true' "$temp/out" | wc -l)" || return 1
		# Looking did not bring them back.
		equal 'KiB of stacks' "$before" "$(stack_memory)" || return 1
	done
}

# A program that packs stacks in a way that is not known here: all but those are shown.
test_other_packing() {
	local i
	can_hibernate || return
	sed 's/PACK_FORMAT/PACK_FORMER/' "$temp/sights" >"$temp/packs"
	chmod +x "$temp/packs"
	GREEN_HIBERNATE_MS=1 state=unknown start "$temp/packs" || return 1
	# All do but main: its page, and what it has below.
	for ((i = 0; i < 500; i++)); do
		[ "$(stack_memory)" -le 16 ] && break
		sleep 0.02
	done
	succeeds "$pid" --stacks || return 1
	each_kind_is_there || return 1
	equal 'stacks that cannot be read' 10 \
		"$(grep -c '^    (its stack cannot be read)' "$temp/out")" || return 1
	equal 'hibernated' 0 "$(grep -c 'hibernated' "$temp/out")" || return 1
	command -v gdb >/dev/null || return 0
	gdb_says -p "$pid" -ex "source $script" -ex 'info green-threads' \
		-ex "green-thread $(id_of sleeper) bt" || return
	has 'a thread' '^[0-9]+ +parked +"locker" +mutex 0x[0-9a-f]+ of [0-9]+' "$temp/gdb" || return 1
	has 'what it says' 'the stack of [0-9]+ cannot be read' "$temp/gdb"
}

# A core in a file and from a pipe, of fifteen hundred of whom most hibernate: it has all
# their stacks, and is not much longer than their slots.
test_core_hibernated() {
	can_hibernate || return
	# Or gdb writes 64 MiB of zeroes for each OS thread that has once called malloc.
	export GREEN_HIBERNATE_MS=1 asleep=1350 MALLOC_ARENA_MAX=1
	"$1" core.asleep 1500 || return
	at_most 'its length' $((200 << 20)) "$(stat -c %s "$temp/core.asleep")" || return 1
	at_most 'its 512-byte blocks' $((56 << 11)) "$(stat -c %b "$temp/core.asleep")" || return 1
	succeeds "$temp/core.asleep" --stacks || return 1
	stacks_are_whole 1511 || return 1
	has 'the head' '1511 parked, 1360 of them hibernated$' "$temp/out" || return 1
	tail -n +2 "$temp/out" >"$temp/by_file"
	# shellcheck disable=SC2002 # a pipe is wanted
	cat "$temp/core.asleep" | timeout 60 "$greenps" - --stacks >"$temp/out" 2>"$temp/err" ||
		{ cat "$temp/err"; return 1; }
	has 'the head' '^core standard input of process' "$temp/out" || return 1
	tail -n +2 "$temp/out" | cmp - "$temp/by_file"
}

# A core written while stacks fall asleep and come back: each is in it.
test_core_restless() {
	local i asleep=0
	can_hibernate || return
	for i in 1 2 3; do
		GREEN_HIBERNATE_MS=1 kernel_core core.restless$i --restless || return
		succeeds "$temp/core.restless$i" --stacks || return 1
		asleep=$((asleep + $(grep -c '^[0-9].* hibernated$' "$temp/out")))
		# Each of the two workers may be about to leave one thread and to go on with another.
		equal 'stacks' 1001 "$(grep -c '^    #0 \|^    (it runs' "$temp/out")" || return 1
		at_least 'whole ones' 997 "$(grep -c '^    #[0-9]* .* switch_boot+' "$temp/out")" ||
			{ grep '^    (' "$temp/out" | sort | uniq -c; return 1; }
	done
	at_least 'hibernated' 1 "$asleep"
}

# A stack that hibernates looks like any other, and the program is not changed.
test_gdb_hibernated() {
	local sleeping before
	command -v gdb >/dev/null || { echo 'gdb is not installed'; return 77; }
	can_hibernate || return
	export GREEN_HIBERNATE_MS=1 GREEN_FEATURES
	for GREEN_FEATURES in '' -userfaultfd_kernel; do
		start "$temp/sights" || return 1
		before=$(stack_memory)
		succeeds "$pid" || return 1
		sleeping=$(id_of sleeper)
		gdb_shows "$sleeping" -p "$pid" || return
		has 'who hibernates' '^[0-9]+ +parked +"sleeper" .* hibernated$' "$temp/gdb" || return 1
		equal 'KiB of stacks' "$before" "$(stack_memory)" || return 1
		green_core core.asleep$GREEN_FEATURES || return
		gdb_shows "$(succeeds "$pid" && id_of sleeper)" "$temp/sights" \
			"$temp/core.asleep$GREEN_FEATURES" || return
		has 'who hibernates' '^[0-9]+ +parked +"sleeper" .* hibernated$' "$temp/gdb" || return 1
	done
}

# Of a kernel's core, all in one command.
test_gdb_all() {
	command -v gdb >/dev/null || { echo 'gdb is not installed'; return 77; }
	can_hibernate || return
	export GREEN_HIBERNATE_MS=1 asleep=900
	kernel_core core.for_gdb 1000 || return
	gdb_says "$temp/sights" "$temp/core.for_gdb" -ex "source $script" -ex 'green-thread all bt' ||
		return
	equal 'outermost frames' 1011 "$(grep -c '^#.* in switch_boot ()' "$temp/gdb")" || return 1
	equal 'frames in deeper' 5005 "$(grep -c '^#.* in deeper (' "$temp/gdb")" || return 1
	equal 'hibernated' 910 "$(grep -c '^Green thread .*, hibernated:$' "$temp/gdb")" || return 1
	! grep -E 'Backtrace stopped|Traceback|Python Exception' "$temp/gdb"
}

for name in hibernated other_packing core_restless gdb_hibernated gdb_all; do
	check $name test_$name
done
for how in kernel_core green_core; do
	check "core_hibernated_$how" test_core_hibernated $how
done
summary
