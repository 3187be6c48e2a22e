#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# greentrace on running programs: that it tells the truth, that contracts hold and break
# as they should, and that nobody is harmed: not by names, nor by tracers that come, go
# and are killed.  BUILD names the build directory; GREENTRACE a greentrace to test
# instead of that build's.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
# shellcheck source=tests/e2e/greentrace.bash
. tests/e2e/greentrace.bash

programs_loaded() { bpftool prog show 2>/dev/null | grep -c ': '; }

# ---- what it says ------------------------------------------------------------------

test_check() {
	trace 0 check || return 1
	equal 'what works' 3 "$(grep -c ' yes$' "$temp/out")"
}

test_check_without_rights() {
	local nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	"${nobody[@]}" true 2>/dev/null || { echo 'setpriv does not work here'; return 77; }
	chmod 755 "$temp"
	cp "$greentrace" "$temp/greentrace"
	"${nobody[@]}" "$temp/greentrace" check >"$temp/out" 2>&1
	equal 'exit status' 2 $? || return 1
	has 'what is missing' '^Missing: CAP_BPF, CAP_PERFMON' "$temp/out" || return 1
	has 'how to grant it' 'setcap cap_bpf,cap_perfmon' "$temp/out" || return 1
	cp "$temp/traced" "$temp/anybodys"
	"${nobody[@]}" "$temp/greentrace" -c -- "$temp/anybodys" quiet >"$temp/out" 2>&1
	equal 'exit status' 2 $? || return 1
	has 'what it takes' 'it takes root, or CAP_BPF' "$temp/out" || return 1
	echo before >"$temp/kept"
	chmod 666 "$temp/kept"
	"${nobody[@]}" "$temp/greentrace" -c --perfetto "$temp/kept" -- "$temp/anybodys" quiet \
		>"$temp/out" 2>&1
	equal 'exit status' 2 $? || return 1
	equal 'the timeline of before' before "$(cat "$temp/kept")"
}

test_usage() {
	local arguments
	for arguments in '' '-p 0' '-p x' '-p 1 -- true' '--nonsense' '-p 1 0' '-p 1 1 x' \
		'-s size -p 1' '--buffer 3 -p 1' '--lock x -p 1' 'sites --lock a --check b -p 1' \
		'probes' 'flight -- true' '--hog -1 -p 1' '--hog nan -p 1' 'sites -p 1 5' '-p 1 --'; do
		# shellcheck disable=SC2086 # words
		trace 2 $arguments || return 1
		has "greentrace $arguments" '^greentrace: ' "$temp/err" || return 1
	done
	trace 0 --help && has 'help' '^Usage' "$temp/out" && trace 0 --version || return 1
	trace 2 reprot && has 'a wrong command' 'neither a command' "$temp/err" || return 1
	trace 2 check --nonsense && has 'an option of a command' '^.*greentrace: unrec' "$temp/err"
}

# Nowhere to print: said, and nothing else is printed into instead.
test_closed_output() {
	local arguments
	start "$temp/traced" serve || return 1
	for arguments in --help check "probes -p $pid" "flight -p $pid" "dump -p $pid" "-c -d 0.2 -p $pid"; do
		# shellcheck disable=SC2086 # words
		timeout 60 "$greentrace" $arguments >/dev/full 2>"$temp/err"
		equal "status of greentrace $arguments with a full disk" 2 $? &&
			has 'full' 'standard output: No space left' "$temp/err" || return 1
		# shellcheck disable=SC2086 # words
		timeout 60 "$greentrace" $arguments >&- 2>"$temp/err"
		equal "status of greentrace $arguments without output" 2 $? &&
			has 'closed' 'standard output: Bad file descriptor' "$temp/err" || return 1
	done
	trace 2 sites --check "$temp" -p "$pid" && has 'a directory' 'Is a directory' "$temp/err" ||
		return 1
	stop_serving
}

test_wrong_targets() {
	local thread
	trace 2 -c -- /bin/true || return 1
	has 'not libgreen' 'is not a libgreen program' "$temp/err" || return 1
	trace 2 -c -- /does/not/exist || return 1
	has 'no program' 'No such file' "$temp/err" || return 1
	trace 2 -p 2147483646 || return 1
	has 'no process' 'there is none with this number' "$temp/err" || return 1
	start "$temp/traced" serve || return 1
	for thread in "/proc/$pid/task/"*; do
		[ "${thread##*/}" = "$pid" ] && continue
		trace 2 -c -p "${thread##*/}" || return 1
		has 'a thread' "is a thread of process $pid: " "$temp/err" || return 1
	done
	stop_serving
}

test_probes() {
	start "$temp/traced" serve || return 1
	trace 0 probes -p "$pid" || return 1
	for probe in flush resume stack enter worker_start worker_stop; do
		has 'a probe' "^$probe +0x[0-9a-f]+ +- " "$temp/out" || return 1
	done
	stop_serving
}

# What was before, oldest first, to a user who may do no more than look.
test_flight() {
	local nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	"${nobody[@]}" true 2>/dev/null || nobody=()
	chmod 755 "$temp"
	cp "$greentrace" "$temp/greentrace"
	start "${nobody[@]}" "$temp/traced" serve || return 1
	for ((i = 0; i < 100; i++)); do
		"${nobody[@]}" "$temp/greentrace" flight -p "$pid" -n 50 >"$temp/out" \
			2>"$temp/err" || { cat "$temp/err"; return 1; }
		# There are as many as that.
		[ "$(wc -l <"$temp/out")" -gt 50 ] && break
		sleep 0.05
	done
	equal 'rows' 50 "$(grep -c ' sleep  *busy (traced.c:[0-9]*)$' "$temp/out")" || return 1
	"${nobody[@]}" "$temp/greentrace" flight -j -p "$pid" -n 50 >"$temp/out" || return 1
	"$temp/jsoncheck" type=record ago_ns away_ns why=sleep <"$temp/out" || return 1
	sed 's/.*"ago_ns":\([0-9]*\).*/\1/' "$temp/out" | sort -nrc || return 1
	stop_serving
}

# lying LIE: the program stands still, and its memory says something else.
lying() {
	command -v gdb >/dev/null || { echo 'gdb is not installed'; return 77; }
	start "$temp/traced" serve || return 1
	kill -STOP "$pid"
	timeout 60 gdb -nx -q -batch -iex 'set debuginfod enabled off' -p "$pid" -ex "set var $1" \
		</dev/null >"$temp/gdb" 2>&1
	! grep -E 'not permitted|Could not attach|No symbol' "$temp/gdb" || return 77
}

# Whose records are so many that they wrap round, or leave no room.
test_lying_head() {
	local head
	for head in -1 -2 '(unsigned long)1 << 63' 1 0; do
		lying "rt.workers[0]->trace.head = $head" || return
		trace 0 flight -p "$pid" -n 1000000 || return 1
		trace 0 flight -j -p "$pid" || return 1
		kill -9 "$pid"
	done
}

# It would take hours to look at each.
test_lying_workers() {
	lying 'rt.workers_count = 0xffffffff' || return
	trace 2 -c -d 0.1 -p "$pid" || return 1
	has 'what it says' 'says that it has 4294967295 workers' "$temp/err" || return 1
	trace 2 dump -p "$pid"
}

# ---- truth -------------------------------------------------------------------------

# Counts are exact, durations within a hundredth.
agrees() {
	local kind
	trace 0 -c -j -- "$1" count || return 1
	has 'the end' '"type":"end".*"lost":0}' "$temp/out" || return 1
	for kind in sleep join; do
		equal "$kind: parks" "$(said $kind 1)" "$(seen $kind count)" || return 1
		awk -v a="$(said $kind 2)" -v b="$(seen $kind total_ns)" 'BEGIN {
			d = a > b ? a - b : b - a
			if (a == 0 || d > a / 100) { print "'$kind' took", a, "and was seen as", b; exit 1 }
		}' || return 1
	done
}

test_frames_without_pointers() {
	trace 0 -c -k -- "$temp/traced" sort || return 1
	has 'the callback' '^      compare \(traced.c:[0-9]+\)' "$temp/out" || return 1
	has 'its caller, behind libc' '^      sort_table \(traced.c:[0-9]+\)' "$temp/out"
}

test_blocked() {
	trace 0 -c --blocked 20 -- "$temp/traced" block || return 1
	has 'five calls' '^ +5 .* nanosleep$' "$temp/out" || return 1
	has 'where' '^      legacy_call \(traced.c' "$temp/out" || return 1
	trace 1 --assert-no-blocked 20 -- "$temp/traced" block || return 1
	has 'where' '^      legacy_call \(traced.c' "$temp/out"
}

test_hog() {
	trace 0 -c --hog 50 -- "$temp/traced" hog || return 1
	has 'where' '^      crunch \(traced.c' "$temp/out" || return 1
	trace 1 --assert-no-hog 50 -- "$temp/traced" hog || return 1
	has 'where' '^      crunch \(traced.c' "$temp/out" || return 1
	trace 0 --assert-no-hog 50 -- "$temp/traced" quiet
}

# A regression: workers were sampled only from when greentrace had heard of them.
test_unseen_hog() {
	UNSEEN=1 trace 1 --assert-no-hog 50 -- "$temp/traced" hog || return 1
	has 'where' '^      crunch \(traced.c' "$temp/out" || return 1
	equal 'complaints' '' "$(cat "$temp/err")"
}

# A regression: of more workers than CPUs and a few, some were not watched.
test_many_workers() {
	GREEN_WORKERS=64 trace 0 -c --blocked 20 -- "$temp/traced" crowd || return 1
	has 'each call' '^ +64 .* nanosleep$' "$temp/out"
}

# A regression: what a thread began with was read once for all threads of its index, but in
# a table that is shown again and again.
test_heirs() {
	GREEN_WORKERS=1 trace 0 sites -- "$temp/traced" heirs || return 1
	equal 'who woke them' 'await_heir heir
await_testator testator' "$(awk '
		/^ *[0-9]+ +[0-9]+ / { place = $8 }
		/^ +woken by / && place ~ /^await/ { print place, $3 }' "$temp/out" | sort -u)"
}

test_served() {
	compile sights tests/e2e/sights.c "${archive[@]}"
	start "$temp/sights" --served || return 1
	trace 0 sites -d 0.5 -p "$pid" || return 1
	has 'who wakes the other' '^ +woken by served$' "$temp/out"
}

# Where the kernel does not trust the counter, records go by nanoseconds: also those that are
# looked at when the program has ended.
test_unseen_clock() {
	local clock=/sys/devices/system/clocksource/clocksource0/current_clocksource
	echo hpet >"$temp/clock"
	unshare -m mount --bind "$temp/clock" $clock 2>/dev/null ||
		{ echo 'nothing can be mounted here'; return 77; }
	# shellcheck disable=SC2016 # for the inner shell
	UNSEEN=1 timeout 60 unshare -m sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' - \
		"$temp/clock" $clock "$greentrace" -c -j -- "$temp/traced" quiet >"$temp/out" </dev/null ||
		return 1
	equal 'parks' 50 "$(seen sleep count)" || return 1
	at_least 'for so long' 100000000 "$(seen sleep total_ns)"
}

# ---- contracts -----------------------------------------------------------------------

test_no_yield() {
	trace 1 --assert-no-yield render -- "$temp/traced" lazy || return 1
	has 'which call' '^      attribute \(traced.c' "$temp/out" || return 1
	trace 0 --assert-no-yield render -- "$temp/traced" eager || return 1
	trace 3 --assert-no-yield render -- "$temp/traced" deep || return 1
	has 'why' 'inconclusive: .* lost' "$temp/err" || return 1
	trace 3 --assert-no-yield nested -- "$temp/traced" nested || return 1
	has 'why' 'inconclusive: .* lost' "$temp/err" || return 1
	trace 3 --assert-no-yield render -- "$temp/traced" no-such-mode || return 1
	has 'why' 'inconclusive: the command failed' "$temp/err" || return 1
	trace 2 --assert-no-yield no_such_function -- "$temp/traced" eager || return 1
	has 'no function' 'has no function "no_such_function"' "$temp/err"
}

# It says what a run entered, whether it parked or not: not what was slow.
test_lockfile() {
	local i
	trace 0 sites --lock "$temp/lock" -- "$temp/traced" eager || return 1
	has 'a call' '^io	traced	exchange	1$' "$temp/lock" || return 1
	for ((i = 0; i < 10; i++)); do
		if ((i % 2)); then export SLOW_PEER=1; else unset SLOW_PEER; fi
		trace 0 sites --lock "$temp/again" -- "$temp/traced" eager || return 1
		cmp "$temp/lock" "$temp/again" || return 1
	done
	unset SLOW_PEER
	cp "$temp/lock" "$temp/kept"
	trace 3 sites --lock "$temp/kept" -- "$temp/traced" no-such-mode || return 1
	cmp "$temp/lock" "$temp/kept" || return 1
	trace 0 sites --check "$temp/lock" -- "$temp/traced" eager || return 1
	trace 1 sites --check "$temp/lock" -- "$temp/traced" more || return 1
	has 'what is new' '^new: yield in added_call of traced$' "$temp/out" || return 1
	echo damaged >>"$temp/lock"
	trace 2 sites --check "$temp/lock" -- "$temp/traced" eager || return 1
	has 'what is wrong' 'line [0-9]+ is not one of a lockfile' "$temp/err"
}

# ---- hostile names ------------------------------------------------------------------

test_hostile_names() {
	local arguments
	for arguments in '-c -k' 'sites' 'sites -j' '-c -j -k'; do
		# shellcheck disable=SC2086 # words
		trace 0 $arguments --folded "$temp/folded" --flame "$temp/flame" -- \
			"$temp/traced" hostile || return 1
		has 'the name' 'evil' "$temp/out" || return 1
		clean "$arguments" "$temp/out" || return 1
		clean 'folded stacks' "$temp/folded" || return 1
		clean 'the flame graph' "$temp/flame" || return 1
	done
	has 'the name' 'evil' "$temp/flame" || return 1
	equal 'elements that a name made' 2 "$(grep -c '</*script>' "$temp/flame")"
}

# shown PID: the table is in the output of that process, which waits with it.
shown() {
	until grep -q 'PARKS' "$temp/out"; do
		[ -d "/proc/$1" ] || { cat "$temp/out"; return 1; }
		sleep 0.05
	done
}

# On a terminal the table stays in place, and keys work.
test_terminal() {
	command -v script >/dev/null || { echo 'script is not installed'; return 77; }
	start "$temp/traced" serve || return 1
	mkfifo "$temp/keys"
	script -qec "$greentrace -p $pid 0.1" /dev/null <>"$temp/keys" >"$temp/out" 2>&1 &
	shown $! || return 1
	printf sq >"$temp/keys"
	wait $!
	equal 'exit status' 0 $? || { cat "$temp/out"; return 1; }
	has 'from the upper left corner' $'\e\\[H\e\\[J' "$temp/out" || return 1
	detached && stop_serving
}

# Elsewhere it is one table below the other, and nothing else.
test_intervals() {
	start "$temp/traced" serve || return 1
	trace 0 -T -p "$pid" 0.1 3 || return 1
	equal 'tables' 3 "$(grep -c '^ *PARKS ' "$temp/out")" || return 1
	clean 'the tables' "$temp/out" && stop_serving
}

# Regressions: of the time that was asked for, the last table was not shown; and intervals
# were not counted where one table comes at the end.
test_intervals_end() {
	start "$temp/traced" serve || return 1
	trace 0 -d 0.2 -p "$pid" || return 1
	equal 'tables of a part' 1 "$(grep -c '^ *PARKS ' "$temp/out")" || return 1
	trace 0 -d 1 -p "$pid" || return 1
	equal 'tables of a whole' 1 "$(grep -c '^ *PARKS ' "$temp/out")" || return 1
	trace 0 -c -p "$pid" 0.1 2 || return 1
	equal 'tables at the end' 1 "$(grep -c '^ *PARKS ' "$temp/out")" || return 1
	trace 0 --assert-no-blocked 60000 -p "$pid" 0.1 2 || return 1
	equal 'tables with a contract' 0 "$(grep -c '^ *PARKS ' "$temp/out")" && stop_serving
}

# ---- coming and going ----------------------------------------------------------------

detached() {
	trace 0 probes -p "$pid" || return 1
	! grep ' attached ' "$temp/out" || { echo 'a semaphore is not back at zero'; return 1; }
}

test_twenty_times() {
	local i before
	before=$(programs_loaded)
	start "$temp/traced" serve || return 1
	for ((i = 0; i < 20; i++)); do
		trace 0 -c -k -d 0.05 -p "$pid" || return 1
	done
	detached || return 1
	# The kernel may free them a little later, and others may be tracing, too.
	for ((i = 0; i < 300 && $(programs_loaded) > before; i++)); do sleep 0.1; done
	at_least 'BPF programs before' "$(programs_loaded)" "$before" || return 1
	stop_serving
}

test_killed_tracer() {
	local tracer
	start "$temp/traced" serve || return 1
	"$greentrace" -k --hog 100 -p "$pid" >"$temp/out" 2>&1 &
	tracer=$!
	shown $tracer || return 1
	kill -9 $tracer
	wait $tracer 2>/dev/null
	# The kernel takes the probes out when the last descriptor closes.
	for ((i = 0; i < 100; i++)); do
		detached >/dev/null && break
		sleep 0.05
	done
	detached && stop_serving
}

test_two_tracers() {
	local first
	start "$temp/traced" serve || return 1
	"$greentrace" -c -k -d 5 -p "$pid" >"$temp/first" 2>&1 &
	first=$!
	# That one has seen all stacks by then.
	sleep 1
	trace 0 -c -k -d 2 -p "$pid" || return 1
	has 'the second' ' sleep +busy' "$temp/out" || return 1
	has 'a rare call path of the second' '^      patient \(traced.c:' "$temp/out" || return 1
	wait $first
	equal 'exit status of the first' 0 $? || return 1
	has 'the first' ' sleep +busy' "$temp/first" || return 1
	detached && stop_serving
}

test_target_ends() {
	local tracer
	start "$temp/traced" serve || return 1
	"$greentrace" -p "$pid" >"$temp/out" 2>&1 &
	tracer=$!
	shown $tracer || return 1
	kill -9 "$pid"
	wait $tracer
	equal 'exit status of the tracer' 0 $?
}

test_replaced_on_disk() {
	cp "$temp/traced" "$temp/other"
	start "$temp/other" serve || return 1
	rm "$temp/other"
	cp /bin/true "$temp/other"
	trace 0 -c -d 0.5 -p "$pid" || return 1
	has 'parks' ' sleep ' "$temp/out" && stop_serving
}

# Tids there are not those that the kernel's probes see.
test_pid_namespace() {
	local inside=(unshare --pid --fork --mount-proc)
	"${inside[@]}" true 2>/dev/null || { echo 'no PID namespace can be made here'; return 77; }
	"${inside[@]}" "$greentrace" -c --blocked 20 --hog 50 -- "$temp/traced" block \
		>"$temp/out" 2>"$temp/err" || { cat "$temp/err"; return 1; }
	has 'both inside: blocked' '^ +5 .* nanosleep$' "$temp/out" || return 1
	"${inside[@]}" "$greentrace" -c --hog 50 -- "$temp/traced" hog >"$temp/out" || return 1
	has 'both inside: a hog' '^      crunch ' "$temp/out" || return 1
	start "${inside[@]}" "$temp/traced" serve || return 1
	trace 0 -c -d 1 --runq -p "$(pgrep -P "$pid")" || return 1
	has 'the target inside: parks' ' sleep +busy' "$temp/out" || return 1
	has 'the target inside: CPU' '^Workers waited for a CPU [1-9]' "$temp/out" && stop_serving
}

test_exit_status() {
	trace 2 -c -- "$temp/traced" no-such-mode || return 1
	"$greentrace" -c -- "$temp/traced" quiet >"$temp/out" || return 1
	has 'its output' '^ready ' "$temp/out"
}

test_json() {
	trace 0 sites -j --blocked 1 --hog 50 --runq -- "$temp/traced" lazy || return 1
	grep '^{' "$temp/out" >"$temp/lines"
	at_least 'lines' 5 "$(wc -l <"$temp/lines")" || return 1
	"$temp/jsoncheck" type=end records lost <"$temp/lines"
}

# A regression: libdwfl asks where the sections of an object file lie, whoever has it mapped,
# and did so without looking whether anybody answers.
test_object_file_mapped() {
	echo 'int object(void) { return 1; }' | "${CC:-cc}" -g -c -x c -o "$temp/object.o" - || return 1
	MAPPED=$temp/object.o start "$temp/traced" serve || return 1
	trace 2 --assert-no-yield no_such_function -p "$pid" || return 1
	has 'all files were looked at' 'has no function "no_such_function"' "$temp/err" || return 1
	stop_serving
}

# A regression: what a file's debug information would be called was opened, and waited at.
test_pipe_for_debug_information() {
	cp "$temp/stripped" "$temp/piped"
	mkfifo "$temp/piped.debug" || return 1
	timeout -s KILL 20 "$greentrace" -c -k -- "$temp/piped" count >"$temp/out" 2>"$temp/err" </dev/null
	equal 'exit status' 0 $? || { cat "$temp/err" "$temp/out"; return 1; }
	has 'a place by its address' ' piped\+0x[0-9a-f]+$' "$temp/out"
}

# ---- all of them -----------------------------------------------------------------------

make_traced traced "${archive[@]}"
objcopy --redefine-sym evil_function=$'evil\e[31m</script>' "$temp/traced" || exit 1
make_traced no_pie -no-pie "${archive[@]}"
make_traced static -static "${archive[@]}"
make_traced static_pie -static-pie "${archive[@]}"
make_traced shared -L "$build" -Wl,-rpath,"$PWD/$build" -lgreen
strip -o "$temp/stripped" "$temp/traced"
strip -o "$temp/shared_stripped" "$temp/shared"

check usage test_usage
check check_without_rights test_check_without_rights
check flight test_flight
check lying_head test_lying_head
check lying_workers test_lying_workers
needs_tracing attaching
for name in check wrong_targets closed_output probes frames_without_pointers blocked hog unseen_hog \
	unseen_clock many_workers heirs served no_yield lockfile hostile_names terminal intervals \
	intervals_end twenty_times killed_tracer two_tracers target_ends replaced_on_disk object_file_mapped \
	pipe_for_debug_information pid_namespace exit_status json; do
	check $name test_$name
done
for name in traced no_pie static static_pie shared stripped shared_stripped; do
	check "truth_$name" agrees "$temp/$name"
done
summary
