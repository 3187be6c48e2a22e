#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What greentrace makes of records in the order of time: timelines for Perfetto, read back
# by a decoder that knows nothing of the writer, and chains of who woke whom.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
# shellcheck source=tests/e2e/greentrace.bash
. tests/e2e/greentrace.bash

# slices TRACK NAME: how many there are of both patterns in the timeline.
slices() { grep -cE "^$1	$2	[0-9]+$" "$temp/slices"; }
decode() { "$temp/perfettocheck" <"$1" >"$temp/slices"; }

test_timeline() {
	trace 0 -c --perfetto "$temp/timeline" -- "$temp/traced" count || return 1
	decode "$temp/timeline" || return 1
	equal 'sleeps' 600 "$(slices 'green thread [0-9]+' 'sleep: sleeper \(traced.c:[0-9]+\)')" || return 1
	equal 'joins' 4 "$(slices 'green thread [0-9]+' 'join: count \(traced.c:[0-9]+\)')" || return 1
	equal 'arrows' 4 "$(slices 'green thread [0-9]+' 'wakes')" || return 1
	# The last one of each is not known to have ended.
	at_least 'runs' 590 "$(slices worker sleeper)" || return 1
	# As long as the program says, within a hundredth.
	awk -F'\t' -v truth="$(said sleep 2)" '$2 ~ /^sleep:/ { n += $3 } END {
		d = n > truth ? n - truth : truth - n
		if (d > truth / 100) { print "sleeps took", truth, "and are shown as", n; exit 1 }
	}' "$temp/slices"
}

test_what_did_not_switch() {
	trace 0 -c --blocked 5 --hog 50 --perfetto "$temp/timeline" -- "$temp/traced" block || return 1
	decode "$temp/timeline" || return 1
	at_least 'blocked' 5 "$(slices 'worker [0-9]+: no switch' \
		'nanosleep: syscall < legacy_call < block')" || return 1
	trace 0 -c --hog 50 --perfetto "$temp/timeline" -- "$temp/traced" hog || return 1
	decode "$temp/timeline" || return 1
	at_least 'computing' 3 "$(slices 'worker [0-9]+: no switch' 'computes: .*crunch.*')"
}

# Two stretches of 100 ms lie between its sleeps; the last one ends with the thread.
ran() { awk '/^hog;sleep / { n += $2 } END { printf "%.0f", n }' "$1"; }
test_running() {
	trace 2 --running -c -- "$temp/traced" hog || return 1
	trace 0 -c --running --folded "$temp/folded" --flame "$temp/flame" -- "$temp/traced" hog || return 1
	at_least 'ns that it ran' 200000000 "$(ran "$temp/folded")" || return 1
	has 'what the page shows' '<title>greentrace: Time green threads ran before' "$temp/flame" || return 1
	trace 0 record "$temp/recording" -- "$temp/traced" hog || return 1
	trace 0 report "$temp/recording" --running --folded "$temp/folded" || return 1
	at_least 'ns that it ran, as recorded' 200000000 "$(ran "$temp/folded")"
}

# The same from a recording, to the byte.
test_recorded() {
	trace 0 record "$temp/recording" -- "$temp/traced" chain || return 1
	trace 0 report "$temp/recording" --perfetto "$temp/one" || return 1
	trace 0 report "$temp/recording" --perfetto "$temp/two" || return 1
	cmp "$temp/one" "$temp/two" && decode "$temp/one" || return 1
	trace 0 report "$temp/recording" -j || return 1
	equal 'waits' "$(seen semaphore count)" "$(slices 'green thread [0-9]+' 'semaphore: .*')"
}

test_under_load() {
	start "$temp/traced" serve || return 1
	trace 0 -c -d 0.1 --perfetto "$temp/timeline" -p "$pid" || return 1
	decode "$temp/timeline" || return 1
	at_least 'waits' 10 "$(slices 'green thread [0-9]+' 'sleep: busy .*')" && stop_serving
}

test_hostile_names() {
	trace 0 -c --perfetto "$temp/timeline" -- "$temp/traced" hostile || return 1
	decode "$temp/timeline" || return 1
	has 'the name' 'evil' "$temp/slices" || return 1
	equal 'control characters' 0 "$(LC_ALL=C tr -d '\n\t -~' <"$temp/slices" | wc -c)"
}

# The page draws what it should, whatever names there are in it.
test_flame_in_browser() {
	local browser box='<div style="[^"]*">'
	browser=$(command -v chromium || command -v google-chrome) ||
		{ echo 'neither chromium nor google-chrome is installed'; return 77; }
	trace 0 -c --flame "$temp/flame.html" -- "$temp/traced" hostile || return 1
	timeout -s KILL 100 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
		--user-data-dir="$temp/profile" --dump-dom "file://$temp/flame.html" \
		>"$temp/dom" 2>"$temp/err" || { tail -n 3 "$temp/err"; return 1; }
	has 'the title' '<h3 id="title">Time green threads were away, by call path: .* in all</h3>' \
		"$temp/dom" || return 1
	has 'a box' "${box}all</div>.*${box}hostile</div>" "$temp/dom" || return 1
	has 'the name as text' "${box}evil\\\\x1b\\[31m(&lt;|_)/script(&gt;|>)</div>" "$temp/dom"
}

# sleeper -> relay_one -> relay_two -> sink
test_chain() {
	trace 0 -c -w -- "$temp/traced" chain || return 1
	has 'how often' '^      [0-9]+ times, .*, woken by one that had waited in$' "$temp/out" || return 1
	grep -A12 ' semaphore  sink_of_all ' "$temp/out" | sed 's/ (.*//' | tr -s ' \n' ' ' >"$temp/chain"
	has 'the whole chain' 'semaphore relay_two semaphore relay_one sleep chain an event or a timer' \
		"$temp/chain" || return 1
	trace 0 sites -w -- "$temp/traced" chain || return 1
	has 'in the map' '^        sleep      chain \(traced.c:[0-9]+\)$' "$temp/out" || return 1
	trace 0 -c -j -w -- "$temp/traced" chain || return 1
	grep '"type":"chain"' "$temp/out" >"$temp/lines"
	"$temp/jsoncheck" type=chain count total_ns <"$temp/lines" || return 1
	has 'hops' '"function":"sink_of_all".*relay_two.*relay_one.*"end":"an event or a timer"' "$temp/lines"
}

make_traced traced "${archive[@]}"
objcopy --redefine-sym evil_function=$'evil\e[31m</script>' "$temp/traced" || exit 1
"${CC:-cc}" -O1 -Wall -Wextra -o "$temp/perfettocheck" tests/e2e/perfettocheck.c || exit 1

needs_tracing timelines
for name in timeline what_did_not_switch running recorded under_load hostile_names chain flame_in_browser; do
	check $name test_$name
done
summary
