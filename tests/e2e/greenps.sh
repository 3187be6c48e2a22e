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
# shellcheck source=tests/e2e/sights.bash
. tests/e2e/sights.bash

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

# What the library begins them with is named nowhere: green_serve() has one function for all,
# and a pool, too.
test_library_spawns() {
	start "$temp/sights" --served || return 1
	succeeds "$pid" || return 1
	has 'a handler' '^[0-9]+ +[a-z]+ +served .* green_serve$' "$temp/out" || return 1
	has 'one of a pool' '^[0-9]+ +parked +pooled +sleep .* library_spawns\+' "$temp/out" || return 1
	succeeds "$pid" --json || return 1
	has 'a handler' '"runs":\{"pc":"0x[0-9a-f]+","offset":0,"function":"served",[^}]*\},"spawned":\{"function":"green_serve"\}' \
		"$temp/out" || return 1
	succeeds "$pid" --census || return 1
	has 'a handler' '^ .* 1  served +green_serve$' "$temp/out" || return 1
	command -v gdb >/dev/null || return 0
	gdb_says -p "$pid" -ex "source $script" -ex 'info green-threads' || return
	has 'a handler, to gdb' '^[0-9]+ +[a-z]+ +served .* green_serve$' "$temp/gdb" || return 1
	has 'one of a pool, to gdb' '^[0-9]+ +parked +pooled .* library_spawns\+' "$temp/gdb"
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
	equal 'exit status with a full disk' 2 $? || return 1
	timeout 60 "$greenps" --help >/dev/full 2>"$temp/err"
	equal 'exit status of --help with a full disk' 2 $? || return 1
	fails 2 'not also "2"' 1 2 && fails 2 'goes with a core file' "$pid" --program /bin/true
}

# ---- core files ----------------------------------------------------------------------

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

# What is not the program of the core file gives it no names, and no wrong ones.
test_wrong_program() {
	kernel_core core.program || return
	cp "$temp/sights" "$temp/moved"
	succeeds "$temp/core.program" --stacks --program "$temp/moved" || return 1
	stacks_are_whole 11 || return 1
	fails 2 'nowhere: No such file' "$temp/core.program" --program "$temp/nowhere" || return 1
	fails 2 'not a program' "$temp/core.program" --program Makefile || return 1
	fails 2 'not a program' "$temp/core.program" --program "$temp/core.program" || return 1
	fails 2 'not the program that wrote .*: they have different build-ids' \
		"$temp/core.program" --program "$temp/no_pie"
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

test_gdb_other_program() {
	command -v gdb >/dev/null || { echo 'gdb is not installed'; return 77; }
	gdb_says -ex "source $script" -ex 'info green-threads' || return
	has 'nothing to look at' 'There is no process' "$temp/gdb" || return 1
	gdb_says -ex "source $script" -ex 'starti' -ex 'info green-threads' "$(command -v true)" ||
		return
	has 'another program' 'not a libgreen program' "$temp/gdb"
}

# ---- all of them -----------------------------------------------------------------------

make_sights no_pie -no-pie "${archive[@]}"
make_sights static -static "${archive[@]}"
make_sights gc_sections -pie -Wl,--gc-sections "${archive[@]}"
strip -o "$temp/stripped" "$temp/sights"
make_sights shared -L "$build" -Wl,-rpath,"$PWD/$build" -lgreen
strip -o "$temp/shared_stripped" "$temp/shared"

for name in list names_are_escaped stacks one_thread waits census library_spawns json leaves_it_alone two_thousand \
	deleted under_load ends_meanwhile ends_any_time not_libgreen no_such_process \
	not_started other_version not_allowed usage core_of_crash wrong_program core_damaged gdb_live gdb_core \
	gdb_other_program; do
	check $name test_$name
done
for name in no_pie static gc_sections stripped shared shared_stripped; do
	check $name same_shape "$temp/$name"
done
for how in kernel_core gdb_core green_core; do
	check "core_$how" test_core $how
	check "core_two_thousand_$how" test_core_two_thousand $how
done
summary
