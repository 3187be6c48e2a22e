#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# greentrace's recordings: that views made from them are those of the trace itself, that
# they need no process and no program, and that damaged ones are refused.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
# shellcheck source=tests/e2e/greentrace.bash
. tests/e2e/greentrace.bash

# record MODE OPTION...: a run of traced into $temp/recording.
record() {
	trace 0 record "$temp/recording" "${@:2}" -- "$temp/traced" "$1" || return 1
	has 'what was recorded' '^.*/recording: [0-9]+ records, [0-9.]+ MB$' "$temp/out"
}

test_usage() {
	local arguments
	for arguments in 'record' 'report' 'record x' 'report x -p 1' 'record x -j -p 1' \
		'record x --lock y -p 1' 'report x --blocked 1' 'report x -d 1' 'report x y' \
		'-p 1 --entries' '-p 1 --sites' 'report /does/not/exist' 'report /' 'report /dev/null'; do
		# shellcheck disable=SC2086 # words
		trace 2 $arguments || return 1
		has "greentrace $arguments" '^greentrace: ' "$temp/err" || return 1
	done
	for arguments in 'record x --sites -p 1' 'record x -c -p 1'; do
		# shellcheck disable=SC2086 # words
		trace 2 $arguments && has "$arguments" 'recorded with --entries' "$temp/err" || return 1
	done
}

# What the program counted itself is in its recording.
test_truth() {
	local kind
	record count --entries || return 1
	cp "$temp/out" "$temp/said_by_it"
	trace 0 report "$temp/recording" -j || return 1
	has 'the end' '"type":"end".*"lost":0}' "$temp/out" || return 1
	cat "$temp/said_by_it" >>"$temp/out"
	for kind in sleep join; do
		equal "$kind: parks" "$(said $kind 1)" "$(seen $kind count)" || return 1
		equal "$kind: entries" "$(said $kind 1)" "$(seen $kind entries)" || return 1
	done
	has 'who woke' '"why":"join".*"waker":{"function":"sleeper"' "$temp/out"
}

test_views() {
	cp "$temp/traced" "$temp/gone"
	trace 0 record "$temp/recording" --entries -- "$temp/gone" lazy || return 1
	trace 0 record "$temp/sorting" -- "$temp/gone" sort || return 1
	rm "$temp/gone"
	trace 0 report "$temp/sorting" -k -H || return 1
	has 'the table' ' sleep +compare \(traced.c:[0-9]+\)$' "$temp/out" || return 1
	has 'a call path' '^      sort_table \(traced.c:[0-9]+\)$' "$temp/out" || return 1
	trace 0 report "$temp/recording" --sites || return 1
	has 'the map' '^      < render \(traced.c:[0-9]+\)$' "$temp/out" || return 1
	trace 0 report "$temp/sorting" --folded "$temp/folded" --flame "$temp/flame" || return 1
	has 'folded stacks' '^sort;sort_table;.*;compare;sleep [0-9]+$' "$temp/folded" || return 1
	has 'the flame graph' 'sort;sort_table;.*;compare;sleep' "$temp/flame" || return 1
	trace 0 report "$temp/recording" -j || return 1
	"$temp/jsoncheck" type=end records lost <"$temp/out"
}

test_contracts() {
	record block || return 1
	trace 1 report "$temp/recording" --assert-no-blocked 20 || return 1
	has 'where' '^      legacy_call \(traced.c' "$temp/out" || return 1
	trace 0 report "$temp/recording" --assert-no-blocked 5000 || return 1
	trace 2 report "$temp/recording" --assert-no-blocked 0.5 || return 1
	has 'why' 'recorded with --blocked 1' "$temp/err" || return 1
	trace 2 report "$temp/recording" --check /dev/null || return 1
	has 'why' 'without --entries' "$temp/err" || return 1
	record eager --entries || return 1
	trace 0 report "$temp/recording" --lock "$temp/lock" || return 1
	trace 0 sites --check "$temp/lock" -- "$temp/traced" eager || return 1
	record more --entries || return 1
	trace 1 report "$temp/recording" --check "$temp/lock" || return 1
	has 'what is new' '^new: yield in added_call of traced$' "$temp/out"
}

test_live_process() {
	start "$temp/traced" serve || return 1
	trace 0 record "$temp/recording" -d 0.5 -p "$pid" || return 1
	trace 0 report "$temp/recording" || return 1
	has 'a row' ' sleep +busy \(traced.c:[0-9]+\)$' "$temp/out" && stop_serving
}

# A regression: what probes counted while others were put in or taken out was counted, too.
test_same_stretch() {
	local sleeps calls
	start "$temp/traced" serve || return 1
	trace 0 record "$temp/recording" --entries --syscalls -d 0.2 -p "$pid" || return 1
	trace 0 report "$temp/recording" -j || return 1
	grep '"function":"busy"' "$temp/out" >"$temp/busy" && mv "$temp/busy" "$temp/out"
	sleeps=$(seen sleep entries)
	calls=$(sed -n 's/^{"type":"syscall",.*"count":\([0-9]*\),.*/\1/p' "$temp/out" |
		awk '{ n += $1 } END { printf "%.0f", n }')
	at_least 'sleeps' 1 "$sleeps" || return 1
	# Each of eight threads may be between the two at either end.
	at_least "calls, one before each of $sleeps sleeps" $((sleeps - 16)) "$calls" || return 1
	at_least "sleeps, one behind each of $calls calls" $((calls - 16)) "$sleeps" || return 1
	stop_serving
}

# Whoever is killed leaves what there was until then.
test_cut_short() {
	local size cut
	record quiet || return 1
	size=$(stat -c %s "$temp/recording")
	for ((cut = 0; cut < size; cut += 1 + size / 50)); do
		head -c "$cut" "$temp/recording" >"$temp/cut"
		trace 2 report "$temp/cut" || return 1
		has "the first $cut bytes" 'cut short|too short|damaged' "$temp/err" || return 1
	done
	head -c $((size - 1)) "$temp/recording" >"$temp/cut"
	trace 2 report "$temp/cut" || return 1
	has 'what there was' ' sleep +quiet' "$temp/out"
}

test_damaged() {
	local size at
	record quiet || return 1
	size=$(stat -c %s "$temp/recording")
	for ((at = 16; at < size; at += 1 + size / 50)); do
		cp "$temp/recording" "$temp/bad"
		printf '\377\377\377\377' | dd of="$temp/bad" bs=1 seek="$at" conv=notrunc 2>"$temp/dd"
		timeout 20 "$greentrace" report "$temp/bad" >"$temp/out" 2>"$temp/err"
		case $? in
		0) ;; # numbers that may be such
		2) has "damage at $at" "^greentrace: " "$temp/err" || return 1 ;;
		*) echo "damage at $at: exit status $?"; return 1 ;;
		esac
	done
	cp "$temp/recording" "$temp/bad"
	printf '\377' | dd of="$temp/bad" bs=1 seek=8 conv=notrunc 2>"$temp/dd"
	trace 2 report "$temp/bad" || return 1
	has 'the version' 'it is of version [0-9]+; this greentrace reads version [0-9]+$' "$temp/err"
}

test_hostile_names() {
	local arguments
	record hostile --entries || return 1
	for arguments in -k --sites -j; do
		trace 0 report "$temp/recording" $arguments --folded "$temp/folded" \
			--flame "$temp/flame" || return 1
		has 'the name' 'evil' "$temp/out" || return 1
		clean "report $arguments" "$temp/out" || return 1
		clean 'folded stacks' "$temp/folded" || return 1
		clean 'the flame graph' "$temp/flame" || return 1
	done
	equal 'elements that a name made' 2 "$(grep -c '</*script>' "$temp/flame")"
}

make_traced traced "${archive[@]}"
objcopy --redefine-sym evil_function=$'evil\e[31m</script>' "$temp/traced" || exit 1

check usage test_usage
needs_tracing recording
for name in truth views contracts live_process same_stretch cut_short damaged hostile_names; do
	check $name test_$name
done
summary
