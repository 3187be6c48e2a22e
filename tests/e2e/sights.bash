# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the tests of greenps and the gdb script have in common: the program sights.c, live
# and as core files, and what both must show of it.  After common.bash.
# shellcheck disable=SC2034,SC2154,SC2004 # used by the scripts; set by common.bash, one an
# associative array
greenps=${GREENPS:-$build/greenps}
script=$PWD/tools/gdb/libgreen-gdb.py
export DEBUGINFOD_URLS='' GREEN_WORKERS=2
switch_off_guards=GREEN_FEATURES=-guard_install # gdb's gcore cannot read past those

if ! [ -x "$greenps" ]; then
	skip greenps 'not built, for lack of libdw-dev'
	exit 77
fi

# at_most WHAT MOST FOUND
at_most() {
	[ "$3" -le "$2" ] && return
	echo "$1: expected at most $2, found '$3'"
	return 1
}

# start PROGRAM [ARGUMENT]...: runs it until the test ends; $pid is its number.  Its
# threads have come to rest, unless state is "unknown" or it has an option.
start() {
	[ -p "$temp/input" ] || mkfifo "$temp/input"
	: >"$temp/said"
	# Opened for both, so that it never ends.
	"$@" <>"$temp/input" >"$temp/said" 2>"$temp/complaint" 3>&- &
	pid=$!
	children[$pid]=1
	until grep -q '^ready' "$temp/said"; do
		[ -d "/proc/$pid" ] || { echo "$* did not get ready: $(cat "$temp/complaint")"; return 1; }
		sleep 0.02
	done
	case ${state:-$*} in
	*--* | unknown) ;;
	*) all_parked "$pid" && { [ -z "${GREEN_HIBERNATE_MS:-}" ] || all_asleep "$pid"; } ;;
	esac
}

# all_parked PID: waits for that, as it takes a moment on a busy machine.
all_parked() {
	local i
	for ((i = 0; i < 500; i++)); do
		"$greenps" "$1" 2>/dev/null | head -n 1 |
			grep -qE ' ([0-9]+) green threads, 0 running, \1 parked' && return
		sleep 0.02
	done
	echo 'the threads did not come to rest'
	return 1
}

# all_asleep PID: waits until all hibernate but main, whose wait pins its stack, and
# those who never do.
all_asleep() {
	local i
	for ((i = 0; i < 500; i++)); do
		[ "$("$greenps" "$1" 2>/dev/null | grep -c '^[0-9].* hibernated$')" -ge \
			$((10 + ${asleep:-0})) ] && return
		sleep 0.02
	done
	echo 'the threads did not hibernate'
	return 1
}

# ps ARGUMENT...: greenps, whose output lands in $temp/out and $temp/err; within a minute.
ps() {
	timeout 60 "$greenps" "$@" >"$temp/out" 2>"$temp/err"
	status=$?
	[ $status -le 2 ] && return
	echo "greenps $*: exit status $status: $(tail -n 5 "$temp/err")"
	return 1
}

# succeeds ARGUMENT...: greenps does, and has nothing to complain about.
succeeds() {
	ps "$@" || return 1
	equal "greenps $*: exit status" 0 $status || { cat "$temp/err"; return 1; }
	equal "greenps $*: complaints" '' "$(cat "$temp/err")"
}

# fails STATUS PATTERN ARGUMENT...
fails() {
	local expected=$1 pattern=$2
	shift 2
	ps "$@" || return 1
	equal "greenps $*: exit status" "$expected" $status || return 1
	has "greenps $*: message" "^greenps: .*$pattern" "$temp/err"
}

# id_of NAME: in the list in $temp/out.
id_of() { sed -n "s/^\([0-9]*\) .*\"$1\".*/\1/p" "$temp/out" | head -n 1; }

# frames_of ID: how many lines of call path follow it in $temp/out.
frames_of() { awk -v id="$1" '/^[0-9]/ { on = $1 == id } on && /^    #/ { n++ } END { print n + 0 }' "$temp/out"; }

# each_kind_is_there: the list in $temp/out is that of sights.
each_kind_is_there() {
	local held sleeping row
	held=$(id_of holder) sleeping=$(id_of sleeper)
	for row in '"main" +offload' '"sleeper" +sleep' '"reader" +io on descriptor [0-9]' \
		"\"locker\" +mutex 0x[0-9a-f]+ of $held" "\"joiner\" +join of $sleeping" \
		'"receiver" +receive 0x' '.* semaphore 0x' \
		"\"circle left\" +mutex 0x[0-9a-f]+ of $(id_of 'circle right')" \
		"\"circle right\" +mutex 0x[0-9a-f]+ of $(id_of 'circle left')"; do
		has 'a thread' "^[0-9]+ +parked +$row" "$temp/out" || return 1
	done
	has 'the cycle' '^cycle of 2' "$temp/out" || return 1
	equal 'cycles' 1 "$(grep -c '^cycle' "$temp/out")"
}

stacks_are_whole() {
	at_least 'frames in deeper' 5 "$(grep -c ' deeper+' "$temp/out")" || return 1
	has 'the function that waits' '#[0-9]+ .* sleep_long\+0x' "$temp/out" || return 1
	equal 'outermost frames' "$1" "$(grep -c '^    #[0-9]* .* switch_boot+' "$temp/out")" ||
		return 1
	equal 'stacks not shown' 0 "$(grep -c '^    (' "$temp/out")"
}

# can_hibernate: skips where stacks do not: no memory is watched for missing pages and writes,
# which takes until the first one hibernates.
can_hibernate() {
	local i
	GREEN_HIBERNATE_MS=1 state=unknown start "$temp/sights" || return 1
	for ((i = 0; i < 100; i++)); do
		grep -Eq '^VmFlags:.* um (.* )?uw' "/proc/$pid/smaps" && return
		sleep 0.02
	done
	echo 'stacks do not hibernate here'
	return 77
}

# stack_memory: what the stacks of the program take, in KiB: more, if one has been brought back.
stack_memory() {
	awk '/^Rss:/ { rss = $2 } /^VmFlags:.* um / { sum += rss } END { print sum }' \
		"/proc/$pid/smaps"
}

# kernel_core NAME [ARGUMENT]...: the kernel's core of an aborted sights, as $temp/NAME.
kernel_core() {
	local name=$1 pattern
	shift
	pattern=$(cat /proc/sys/kernel/core_pattern)
	case $pattern in
	*[/\|%]*) echo "core_pattern is $pattern"; return 77 ;;
	esac
	mkdir "$temp/dump.$name"
	(ulimit -c unlimited) 2>/dev/null || { echo 'core files are not allowed'; return 77; }
	# shellcheck disable=SC2016 # for the inner shell
	start bash -c 'cd "$0" && ulimit -c unlimited && exec "$@"' "$temp/dump.$name" \
		"$temp/sights" "$@" || return 1
	[ "${1:-}" = --crash ] || kill -ABRT "$pid"
	while [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.01; done
	mv "$temp/dump.$name"/core* "$temp/$name" ||
		{ echo 'the kernel wrote no core file'; return 77; }
}

# gdb_core NAME [ARGUMENT]...: one by gdb, of a sights whose guards gdb can cope with.
gdb_core() {
	local name=$1
	shift
	command -v gdb >/dev/null || { echo 'gdb is not installed'; return 77; }
	start env $switch_off_guards "$temp/sights" "$@" || return 1
	gdb_says -p "$pid" -ex "generate-core-file $temp/$name" || return
	[ -s "$temp/$name" ] || { cat "$temp/gdb"; return 1; }
}

# green_core NAME [ARGUMENT]...: one by the gdb script, of a sights with guards.
green_core() {
	local name=$1
	shift
	command -v gdb >/dev/null || { echo 'gdb is not installed'; return 77; }
	start "$temp/sights" "$@" || return 1
	gdb_says -p "$pid" -ex "source $script" -ex "green-gcore $temp/$name" || return
	has 'what it says' "^Saved $temp/$name: [0-9]+ stacks, [0-9]+ of them hibernated$" "$temp/gdb"
}

# gdb_says ARGUMENT...: what gdb says is in $temp/gdb.
gdb_says() {
	timeout 120 gdb -nx -q -batch -iex 'set debuginfod enabled off' -iex 'set pagination off' \
		-iex 'set width 0' "$@" </dev/null >"$temp/gdb" 2>&1
	if grep -q 'ptrace: Operation not permitted\|Could not attach' "$temp/gdb"; then
		echo 'ptrace is not permitted'
		return 77
	fi
}

# gdb_shows ARGUMENT...: the script does, in a gdb that looks at a sights.
gdb_shows() {
	local sleeping=$1
	shift
	gdb_says "$@" -ex "source $script" -ex 'info green-threads' -ex "green-thread $sleeping bt" \
		-ex 'echo one\n' -ex "green-thread $sleeping bt 1" -ex 'echo selected\n' \
		-ex "green-thread $sleeping" -ex 'frame function deeper' -ex 'info locals' \
		-ex 'green-thread' -ex 'echo back\n' -ex bt -ex 'green-thread 12345' || return
	has 'a thread' '^[0-9]+ +parked +"locker" +mutex 0x[0-9a-f]+ of [0-9]+' "$temp/gdb" || return 1
	has 'a descriptor' '"reader" +io on descriptor [0-9]' "$temp/gdb" || return 1
	has 'an escaped name' '"evil\\x1b\[31m' "$temp/gdb" || return 1
	awk '/^one/ { exit } /^#0 .*sched/ { on = 1 } on' "$temp/gdb" >"$temp/path"
	equal 'frames in deeper' 5 "$(grep -c ' deeper (' "$temp/path")" || return 1
	equal 'outermost frame' switch_boot \
		"$(sed -n 's/^#[0-9]* .*in \([a-z_]*\) .*/\1/p' "$temp/path" | tail -n 1)" || return 1
	equal 'frames of bt 1' 1 "$(sed -n '/^one/,/^selected/p' "$temp/gdb" | grep -c '^#')" ||
		return 1
	has 'a local variable' '^room = ' "$temp/gdb" || return 1
	! sed -n '/^back/,$p' "$temp/gdb" | grep -q ' deeper (' ||
		{ echo 'the green thread is still selected'; return 1; }
	has 'no such thread' 'There is no green thread 12345' "$temp/gdb" || return 1
	! grep -E 'Backtrace stopped|Traceback|Python Exception' "$temp/gdb"
}

make_sights() { compile "$1" tests/e2e/sights.c "${@:2}"; }

make_sights sights "${archive[@]}"
"${CC:-cc}" -O1 -o "$temp/jsoncheck" tests/e2e/jsoncheck.c || exit 1
