#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# greenps and the gdb script on running programs and core files: what they show, and
# that nothing a program does or a core file contains makes them crash or hang.  BUILD
# names the build directory; GREENPS a greenps to test instead of that build's.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
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

# ---- programs to look at ---------------------------------------------------------

# start PROGRAM [ARGUMENT]...: runs it until the test ends; $pid is its number.  Its
# threads have come to rest, unless state is "unknown" or it has an option.
start() {
	[ -p "$temp/input" ] || mkfifo "$temp/input"
	: >"$temp/said"
	# Opened for both, so that it never ends.
	"$@" <>"$temp/input" >"$temp/said" 2>/dev/null 3>&- &
	pid=$!
	children[$pid]=1
	until grep -q '^ready' "$temp/said"; do
		[ -d "/proc/$pid" ] || { echo "$* did not get ready"; return 1; }
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

# ---- live ------------------------------------------------------------------------

test_list() {
	start "$temp/sights" || return 1
	succeeds "$pid" || return 1
	each_kind_is_there || return 1
	has 'name of a function' '^[0-9]+ +parked +poster ' "$temp/out" || return 1
	has 'stack used' ' [0-9.]+K/64K ' "$temp/out" || return 1
	has 'who spawned it' ' main\+0x[0-9a-f]+ \(sights' "$temp/out" || return 1
	has 'the head' '2 workers, 11 green threads, 0 running, 11 parked' "$temp/out"
}

# No control character but line feeds, and nothing invisible.
test_names_are_escaped() {
	start "$temp/sights" || return 1
	succeeds "$pid" --waits --stacks || return 1
	has 'an escaped name' '"evil\\x1b\[31m\\"\\x0a\\xff"' "$temp/out" || return 1
	equal 'control characters' 0 "$(LC_ALL=C tr -d '\n -~' <"$temp/out" | wc -c)" || return 1
	succeeds "$pid" --json || return 1
	has 'an escaped name' '"name":"evil\\u001b\[31m\\"\\u000a\\ufffd"' "$temp/out" || return 1
	equal 'control characters' 0 "$(LC_ALL=C tr -d '\n -~' <"$temp/out" | wc -c)"
}

stacks_are_whole() {
	at_least 'frames in deeper' 5 "$(grep -c ' deeper+' "$temp/out")" || return 1
	has 'the function that waits' '#[0-9]+ .* sleep_long\+0x' "$temp/out" || return 1
	equal 'outermost frames' "$1" "$(grep -c '^    #[0-9]* .* switch_boot+' "$temp/out")" ||
		return 1
	equal 'stacks not shown' 0 "$(grep -c '^    (' "$temp/out")"
}

test_stacks() {
	start "$temp/sights" || return 1
	succeeds "$pid" --stacks || return 1
	stacks_are_whole 11 || return 1
	has 'source lines' ' sleep_long\+0x[0-9a-f]+ \(sights.c:[0-9]+\)' "$temp/out"
}

test_one_thread() {
	start "$temp/sights" || return 1
	succeeds "$pid" || return 1
	succeeds "$pid" --thread "$(id_of sleeper)" || return 1
	equal 'threads shown' 1 "$(grep -c '^[0-9]' "$temp/out")" || return 1
	has 'its call path' '^    #[0-9]+ .* deeper\+' "$temp/out" || return 1
	fails 1 'has no green thread 12345' "$pid" --thread 12345
}

test_waits() {
	start "$temp/sights" || return 1
	succeeds "$pid" --waits || return 1
	has 'a mutex' '^mutex 0x[0-9a-f]+ of [0-9]+ "holder": 1 waits$' "$temp/out" || return 1
	has 'its waiter' '^    [0-9]+ "locker", mutex for [0-9.]+ s at locker\+' "$temp/out" || return 1
	has 'a join' '^join of [0-9]+ "sleeper": 1 waits$' "$temp/out" || return 1
	has 'a channel' '^channel 0x[0-9a-f]+: 1 waits$' "$temp/out" || return 1
	has 'a queue' '^semaphore 0x[0-9a-f]+: 2 wait$' "$temp/out"
}

test_census() {
	start "$temp/sights" || return 1
	succeeds "$pid" --census || return 1
	has 'the head' '^ *DEEPEST +STACK +LOOKED AT +ALIVE ' "$temp/out" || return 1
	has 'a place' '^ +[1-9][0-9]+ +65536 +[0-9]+ +10 +[a-z_]+ +start\+0x[0-9a-f]+ \(sights' \
		"$temp/out" || return 1
	equal 'alive' 11 "$(awk 'NR > 1 { n += $4 } END { print n }' "$temp/out")" || return 1
	succeeds "$pid" --census --json || return 1
	has 'a place' '"deepest":[1-9][0-9]*,"stack":65536,"looked_at":[0-9]+,"alive":10}' \
		"$temp/out" || return 1
	"$temp/jsoncheck" program=sights <"$temp/out"
}

test_json() {
	local left right
	start "$temp/sights" || return 1
	succeeds "$pid" || return 1
	left=$(id_of 'circle left') right=$(id_of 'circle right')
	succeeds "$pid" --json --waits --stacks || return 1
	"$temp/jsoncheck" program=sights pid format <"$temp/out" || return 1
	has 'the cycle' "\"cycles\":\[\[\"$left\",\"$right\"\]\]" "$temp/out" || return 1
	has 'a wait' '"waits":\{"for":"io","fd":[0-9]+,"since_s":[0-9.]+,"at"' "$temp/out" || return 1
	has 'a frame' '"frames":\[\{"at":\{"pc":"0x[0-9a-f]+","offset":[0-9]+,"function":' "$temp/out"
}

# Looking at a program makes no green thread of it run.
test_leaves_it_alone() {
	local before i
	start "$temp/sights" || return 1
	succeeds "$pid" --json || return 1
	before=$(grep -o '"switches":[0-9]*' "$temp/out")
	for i in 1 2 3; do succeeds "$pid" --stacks --waits || return 1; done
	succeeds "$pid" --json || return 1
	equal 'switches' "$before" "$(grep -o '"switches":[0-9]*' "$temp/out")"
}

test_two_thousand() {
	start "$temp/sights" 2000 || return 1
	succeeds "$pid" || return 1
	equal 'threads' 2011 "$(grep -c '^[0-9]* *parked' "$temp/out")" || return 1
	succeeds "$pid" --stacks || return 1
	stacks_are_whole 2011
}

# can_hibernate: skips where stacks do not: no memory is watched for missing pages and writes.
can_hibernate() {
	GREEN_HIBERNATE_MS=1 state=unknown start "$temp/sights" || return 1
	grep -q '^VmFlags:.* um uw' "/proc/$pid/smaps" && return
	echo 'stacks do not hibernate here'
	return 77
}

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

# stack_memory: what the stacks of the program take, in KiB: more, if one has been brought back.
stack_memory() {
	awk '/^Rss:/ { rss = $2 } /^VmFlags:.* um / { sum += rss } END { print sum }' \
		"/proc/$pid/smaps"
}

# same_shape PROGRAM: it is seen as the program with symbols is.
same_shape() {
	start "$temp/sights" || return 1
	succeeds "$pid" --stacks || return 1
	local frames path
	frames=$(frames_of "$(id_of sleeper)")
	path=$(grep -c '^    #' "$temp/out")
	at_least 'frames of the sleeper' 9 "$frames" || return 1
	start "$1" || return 1
	[ -z "${2:-}" ] || rm "$1"
	succeeds "$pid" --stacks || return 1
	each_kind_is_there || return 1
	equal 'frames of the sleeper' "$frames" "$(frames_of "$(id_of sleeper)")" || return 1
	equal 'frames in all' "$path" "$(grep -c '^    #' "$temp/out")"
}

test_deleted() {
	cp "$temp/sights" "$temp/deleted"
	same_shape "$temp/deleted" deleted
}

# ---- programs that change and end --------------------------------------------------

test_under_load() {
	local i how
	start "$temp/sights" --churn || return 1
	for ((i = 0; i < 40; i++)); do
		for how in --stacks '--stacks --waits --json'; do
			# shellcheck disable=SC2086 # words
			succeeds "$pid" $how || return 1
		done
		"$temp/jsoncheck" program=sights <"$temp/out" || return 1
		! grep -q $'\xe2\x80\xae' "$temp/out" || { echo 'a name changes the direction'; return 1; }
	done
	succeeds "$pid" || return 1
	has 'threads' '"churn"' "$temp/out" || return 1
	equal 'cycles' 0 "$(grep -c '^cycle' "$temp/out")"
}

# The reader is held up by a full pipe while the program is killed.
test_ends_meanwhile() {
	local reader
	start "$temp/sights" 2000 || return 1
	mkfifo "$temp/full"
	timeout 60 "$greenps" "$pid" --stacks --json >"$temp/full" 2>"$temp/err" &
	reader=$!
	exec 5<"$temp/full"
	read -r -N 1 first <&5
	kill -9 "$pid"
	while kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.01; done
	{ printf %s "$first"; cat <&5; } >"$temp/out"
	exec 5<&-
	wait $reader
	equal 'exit status' 2 $? || return 1
	has 'what it says' 'ended while it was being read' "$temp/err" || return 1
	"$temp/jsoncheck" program=sights <"$temp/out"
}

test_ends_any_time() {
	local i reader
	for ((i = 0; i < 12; i++)); do
		start "$temp/sights" --churn || return 1
		timeout 60 "$greenps" "$pid" --stacks >"$temp/out" 2>"$temp/err" &
		reader=$!
		sleep "0.00$i"
		kill -9 "$pid"
		wait $reader
		status=$?
		[ $status -eq 0 ] && continue
		equal 'exit status' 2 $status || return 1
		has 'what it says' 'ended|there is none|no memory' "$temp/err" || return 1
	done
}

# ---- what is not to be looked at ---------------------------------------------------

test_not_libgreen() {
	sleep 1000 &
	children[$!]=1
	while ! grep -q sleep "/proc/$!/comm"; do :; done
	fails 2 '\("sleep"\) is not a libgreen program' $!
}

test_no_such_process() {
	bash -c : &
	wait $!
	fails 2 "process $!: there is none" $! || return 1
	fails 2 'not the number of a process' 99999999999 || return 1
	# Ended, and not waited for by its parent.
	# shellcheck disable=SC2016 # for the inner shell, which must not be one any more
	bash -c '(until grep -q sleep /proc/$$/comm; do :; done) & echo $!; exec sleep 1000' \
		>"$temp/zombie" &
	children[$!]=1
	while ! pid=$(grep . "$temp/zombie") || ! grep -q '^State:.Z' "/proc/$pid/status"; do :; done
	fails 2 'has no memory' "$pid"
}

test_not_started() {
	start "$temp/sights" --before || return 1
	fails 1 'no green threads: it has not called green_init' "$pid"
}

# A program whose note says that it is of another version than is known here.
test_other_version() {
	local at
	at=$(readelf -SW "$temp/sights" |
		sed -n 's/.*\.note\.libgreen *NOTE *[0-9a-f]* \([0-9a-f]*\) .*/\1/p')
	cp "$temp/sights" "$temp/other"
	# Behind the note's header of 12 bytes and its owner of as many.
	printf '\011' | dd of="$temp/other" bs=1 seek=$((0x$at + 24)) conv=notrunc status=none
	state=unknown start "$temp/other" || return 1
	fails 2 'descriptor is of version 9; this greenps knows 1' "$pid" || return 1
	command -v gdb >/dev/null || return 0
	gdb_says -p "$pid" -ex "source $script" -ex 'info green-threads' || return
	has 'what the script says' 'a descriptor of version 9, this script knows 1' "$temp/gdb"
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

test_not_allowed() {
	if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
		echo 'needs root and setpriv'
		return 77
	fi
	start "$temp/sights" || return 1
	greenps=$temp/greenps
	cp "${GREENPS:-$build/greenps}" "$greenps"
	chmod 711 "$temp"
	timeout 60 setpriv --reuid=65534 --regid=65534 --clear-groups "$greenps" "$pid" \
		>"$temp/out" 2>"$temp/err"
	equal 'exit status' 2 $? || return 1
	has 'the remedy' 'not allowed: it belongs to user 0 .*sudo greenps' "$temp/err"
}

test_usage() {
	fails_usage() { ps "$@" && equal "greenps $*: exit status" 2 $status; }
	fails_usage && fails_usage 1 2 && fails_usage 1 --nonsense && fails_usage --thread x 1 ||
		return 1
	fails 2 'No such file' "$temp/nowhere" || return 1
	fails 2 'not a core file' Makefile || return 1
	fails 2 'not a core file' "$temp/sights" || return 1
	fails 2 'neither the number of a process nor a core file' "$temp" || return 1
	succeeds --help || return 1
	has help 'Exit status' "$temp/out" || return 1
	start "$temp/sights" || return 1
	timeout 60 "$greenps" "$pid" >/dev/full 2>"$temp/err"
	equal 'exit status with a full disk' 2 $?
}

# ---- core files ----------------------------------------------------------------------

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

test_core() {
	"$1" core.all || return
	succeeds "$temp/core.all" --stacks --waits || return 1
	each_kind_is_there || return 1
	stacks_are_whole 11 || return 1
	has 'the head' "^core $temp/core.all of process $pid \(sights\)" "$temp/out" || return 1
	succeeds "$temp/core.all" --json --stacks || return 1
	"$temp/jsoncheck" program=sights pid <"$temp/out" || return 1
	succeeds "$temp/core.all" --stacks --program "$temp/sights" || return 1
	stacks_are_whole 11
}

test_core_two_thousand() {
	"$1" core.many 2000 || return
	succeeds "$temp/core.many" --stacks || return 1
	equal 'threads' 2011 "$(grep -c '^[0-9]* *parked' "$temp/out")" || return 1
	stacks_are_whole 2011
}

# A core in a file and from a pipe, of fifteen hundred of whom most hibernate: it has all
# their stacks, and is not much longer than their slots.
test_core_hibernated() {
	can_hibernate || return
	export GREEN_HIBERNATE_MS=1 asleep=1350
	"$1" core.asleep 1500 || return
	at_most 'its length' $((300 << 20)) "$(stat -c %s "$temp/core.asleep")" || return 1
	at_most 'its 512-byte blocks' $((120 << 11)) "$(stat -c %b "$temp/core.asleep")" || return 1
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

# The green thread that runs has its registers in the core file's notes.
test_core_of_crash() {
	kernel_core core.crash --crash || return
	succeeds "$temp/core.crash" --stacks || return 1
	has 'who ran' '^[0-9]+ +running +"crasher"' "$temp/out" || return 1
	succeeds "$temp/core.crash" --thread "$(id_of crasher)" || return 1
	has 'where' '^    #[0-9]+ .* abort\+' "$temp/out" || return 1
	equal 'frames in deeper' 3 "$(grep -c ' deeper+' "$temp/out")" || return 1
	has 'the outermost frame' ' switch_boot\+' "$temp/out"
}

# Cut short, and with bytes overwritten: said or shown, but no crash.
test_core_damaged() {
	local size i
	kernel_core core.good || return
	size=$(stat -c %s "$temp/core.good")
	for i in 1 63 64 65 1000 4096 10000 100000 $((size / 4)) $((size / 2)) $((size - 4097)); do
		head -c "$i" "$temp/core.good" >"$temp/core.bad"
		ps "$temp/core.bad" --stacks --waits || { echo "cut to $i bytes"; return 1; }
	done
	RANDOM=1
	for ((i = 0; i < 60; i++)); do
		cp --sparse=always "$temp/core.good" "$temp/core.bad"
		overwrite $((i % 2 ? size : 8192))
		ps "$temp/core.bad" --stacks --waits || { echo "damage $i"; return 1; }
	done
}

# Twenty bytes below $1.
overwrite() {
	local i
	for ((i = 0; i < 20; i++)); do
		# shellcheck disable=SC2059 # an octal escape
		printf "\\$(printf %o $((RANDOM & 255)))" |
			dd of="$temp/core.bad" bs=1 conv=notrunc status=none \
				seek=$(((RANDOM << 15 | RANDOM) % $1))
	done
}

# ---- gdb -------------------------------------------------------------------------------

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

test_gdb_live() {
	command -v gdb >/dev/null || { echo 'gdb is not installed'; return 77; }
	start "$temp/sights" || return 1
	succeeds "$pid" || return 1
	gdb_shows "$(id_of sleeper)" -p "$pid"
}

test_gdb_core() {
	command -v gdb >/dev/null || { echo 'gdb is not installed'; return 77; }
	gdb_core core.gdb || return
	succeeds "$temp/core.gdb" || return 1
	gdb_shows "$(id_of sleeper)" "$temp/sights" "$temp/core.gdb"
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

test_gdb_other_program() {
	command -v gdb >/dev/null || { echo 'gdb is not installed'; return 77; }
	gdb_says -ex "source $script" -ex 'info green-threads' || return
	has 'nothing to look at' 'There is no process' "$temp/gdb" || return 1
	gdb_says -ex "source $script" -ex 'starti' -ex 'info green-threads' "$(command -v true)" ||
		return
	has 'another program' 'not a libgreen program' "$temp/gdb"
}

# ---- all of them -----------------------------------------------------------------------

# make_sights NAME FLAGS...
make_sights() {
	local name=$1
	shift
	"${CC:-cc}" -O1 -g -fno-omit-frame-pointer -I "$build/include" -o "$temp/$name" \
		tests/e2e/sights.c "$@" -pthread 2>"$temp/cc" || { cat "$temp/cc"; exit 1; }
}
archive=("$build/libgreen.a" -l:liburing.a -lm)
make_sights sights "${archive[@]}"
make_sights no_pie -no-pie "${archive[@]}"
make_sights static -static "${archive[@]}"
make_sights gc_sections -pie -Wl,--gc-sections "${archive[@]}"
strip -o "$temp/stripped" "$temp/sights"
make_sights shared -L "$build" -Wl,-rpath,"$PWD/$build" -lgreen
strip -o "$temp/shared_stripped" "$temp/shared"
"${CC:-cc}" -O1 -o "$temp/jsoncheck" tests/e2e/jsoncheck.c || exit 1

for name in list names_are_escaped stacks one_thread waits census json leaves_it_alone two_thousand \
	deleted under_load ends_meanwhile ends_any_time not_libgreen no_such_process \
	not_started other_version other_packing not_allowed usage core_of_crash core_damaged gdb_live gdb_core \
	gdb_other_program hibernated core_restless gdb_hibernated gdb_all; do
	check $name test_$name
done
for name in no_pie static gc_sections stripped shared shared_stripped; do
	check $name same_shape "$temp/$name"
done
for how in kernel_core gdb_core green_core; do
	check "core_$how" test_core $how
	check "core_two_thousand_$how" test_core_two_thousand $how
done
for how in kernel_core green_core; do
	check "core_hibernated_$how" test_core_hibernated $how
done
summary
