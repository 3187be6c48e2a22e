#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Which processes greentrace attaches to: one by its name, all of a name, all there are,
# also those that come later; and how rows are chosen.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
# shellcheck source=tests/e2e/greentrace.bash
. tests/e2e/greentrace.bash

# background NAME: one more program; its number in $pid.
background() {
	"$temp/$1" wait >"$temp/said" 2>&1 3>&- </dev/null &
	pid=$!
	children[$pid]=1
	until grep -q '^ready' "$temp/said"; do sleep 0.02; done
}

test_usage() {
	local arguments
	for arguments in '-a -p 1' '--name x -- true' 'record x -a' '-a --folded x' 'flight -a' \
		'dump' 'dump -- true' 'sites -a --lock x' '-a --assert-no-yield f' '-p no-such-process' \
		'--name no-such-process -c'; do
		# shellcheck disable=SC2086 # words
		trace 2 $arguments || return 1
		has "greentrace $arguments" '^greentrace: ' "$temp/err" || return 1
	done
}

test_by_name() {
	cp "$temp/traced" "$temp/lonely"
	background lonely
	trace 0 -c -d 0.5 -p lonely || return 1
	has 'it' "^lonely \($pid\)" "$temp/out" || return 1
	background lonely
	trace 2 -c -p lonely || return 1
	has 'why not' '2 processes are called "lonely"' "$temp/err"
}

test_all_of_a_name() {
	local one
	cp "$temp/traced" "$temp/twin"
	background twin
	one=$pid
	background twin
	background traced
	trace 0 -c -d 0.5 --name twin || return 1
	equal 'processes' 2 "$(grep -c '^twin ' "$temp/out")" || return 1
	has 'the first' "^twin \($one\)" "$temp/out" || return 1
	trace 0 -c -j -d 0.5 --name twin || return 1
	"$temp/jsoncheck" type=end pid records lost <"$temp/out" || return 1
	equal 'of the first' 1 "$(grep -c "^{\"type\":\"end\",\"pid\":$one," "$temp/out")"
}

# In a namespace where there are no others; the third comes when the first two are watched.
cat >"$temp/all.sh" <<'END'
greentrace=$1 traced=$2
watched() {
	local i
	for ((i = 0; i < 600; i++)); do
		"$greentrace" probes -p "$1" 2>/dev/null | grep -q ' attached ' && return
		sleep 0.1
	done
	return 1
}
"$traced" wait >/dev/null & first=$!
"$traced" wait >/dev/null & second=$!
sleep 0.3
"$greentrace" -a -c >"$3" & tracer=$!
watched $first && watched $second
"$traced" wait >/dev/null & watched $!
sleep 0.5 # some parks of 100 ms
kill -INT $tracer
wait $tracer
END

test_all() {
	local inside=(unshare --pid --fork --mount-proc --kill-child)
	"${inside[@]}" true 2>/dev/null || { echo 'no PID namespace can be made here'; return 77; }
	"${inside[@]}" bash "$temp/all.sh" "$greentrace" "$temp/traced" "$temp/out" 2>"$temp/err"
	equal 'exit status' 0 $? || { cat "$temp/err"; return 1; }
	equal 'processes' 3 "$(grep -c '^traced (' "$temp/out")" || { cat "$temp/out"; return 1; }
	equal 'with parks' 3 "$(grep -cE ' sleep +patient ' "$temp/out")"
}

# A regression: what is called otherwise at first, as a script that ends in exec, was never
# looked at again.
test_exec_later() {
	local tracer script
	cp "$temp/traced" "$temp/entered"
	background entered
	mkfifo "$temp/go"
	sh -c "read -r word; exec '$temp/entered' wait" <>"$temp/go" >/dev/null 2>&1 3>&- &
	script=$!
	children[$script]=1
	"$greentrace" --name entered >"$temp/out" 2>&1 &
	tracer=$!
	children[$tracer]=1
	# With the third table it has looked at all there are.
	until [ "$(grep -c '^entered ' "$temp/out")" -ge 3 ]; do
		[ -d "/proc/$tracer" ] || { cat "$temp/out"; return 1; }
		sleep 0.05
	done
	echo go >"$temp/go"
	for ((i = 0; i < 200; i++)); do
		grep -q "^entered ($script)" "$temp/out" && break
		sleep 0.1
	done
	has 'the one that came by exec' "^entered \\($script\\)" "$temp/out" || return 1
	kill -INT $tracer
	wait $tracer
	equal 'exit status' 0 $?
}

test_dump() {
	start "$temp/traced" serve || return 1
	trace 0 dump -p "$pid" || return 1
	has 'a thread' ' parked .* sleep ' "$temp/out" || return 1
	has 'its call path' ' patient\+0x[0-9a-f]+ \(traced.c:' "$temp/out" || return 1
	trace 0 dump -j -p "$pid" || return 1
	has 'a thread' '"function":"patient"' "$temp/out" && stop_serving
}

test_filter() {
	start "$temp/traced" serve || return 1
	trace 0 -c -d 0.5 --filter patient -p "$pid" || return 1
	equal 'rows' 1 "$(grep -c 'traced.c:' "$temp/out")" || return 1
	trace 0 -c -d 0.5 --filter yield -p "$pid" || return 1
	equal 'rows' 1 "$(grep -c 'traced.c:' "$temp/out")" && stop_serving
}

# A regression: only the table knew of the number of rows, and JSON of no filter either.
test_filter_everywhere() {
	local view
	start "$temp/traced" serve || return 1
	for view in '-c -j' 'sites -j'; do
		# shellcheck disable=SC2086 # words
		trace 0 $view -d 0.5 -p "$pid" || return 1
		at_least "lines of $view" 2 "$(grep -c '^{"type":"site"' "$temp/out")" || return 1
		# shellcheck disable=SC2086 # words
		trace 0 $view -d 0.5 -n 1 -p "$pid" || return 1
		equal "lines of $view -n 1" 1 "$(grep -c '^{"type":"site"' "$temp/out")" || return 1
		# shellcheck disable=SC2086 # words
		trace 0 $view -d 0.5 --filter zzz -p "$pid" || return 1
		equal "lines of $view --filter zzz" 0 "$(grep -c '^{"type":"site"' "$temp/out")" || return 1
	done
	trace 0 sites -d 0.5 -n 1 -p "$pid" || return 1
	equal 'rows of the map' 1 "$(grep -cE '^ +[0-9]+ +[0-9]+ ' "$temp/out")" && stop_serving
}

# f, a text and Enter; letters that are typed are no keys.
test_filter_key() {
	command -v script >/dev/null || { echo 'script is not installed'; return 77; }
	start "$temp/traced" serve || return 1
	mkfifo "$temp/keys"
	script -qec "$greentrace -p $pid 0.1" /dev/null <>"$temp/keys" >"$temp/out" 2>&1 &
	until grep -q 'yield' "$temp/out"; do sleep 0.05; done
	printf 'fqslee\b\be\033fslx\177eep\n' >"$temp/keys"
	until grep -q 'only rows with "sleep"' "$temp/out"; do sleep 0.05; done
	printf q >"$temp/keys"
	wait $!
	equal 'exit status' 0 $? || { cat "$temp/out"; return 1; }
	sed '1,/only rows with/d' "$temp/out" >"$temp/after"
	! grep -q 'yield' "$temp/after" && stop_serving
}

make_traced traced "${archive[@]}"

check usage test_usage
check dump test_dump
needs_tracing attaching
for name in by_name all_of_a_name all exec_later filter filter_everywhere filter_key; do
	check $name test_$name
done
summary
