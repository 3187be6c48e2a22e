#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs each fuzzer of the given build directory for some seconds.  The corpus is
# kept below it; a crash leaves its input there and fails.
set -eu
cd "$(dirname "$0")/.."
build=$1
seconds=$2

# Inputs are small and many: memory that is kept back after it was freed costs a page fault
# for each page, most of the time of some.
export ASAN_OPTIONS="quarantine_size_mb=1:malloc_context_size=8${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

for fuzzer in "$build"/tests/fuzz_*; do
	[ -x "$fuzzer" ] || { echo "no fuzzer in $build" >&2; exit 1; }
	name=$(basename "$fuzzer")
	mkdir -p "$build/corpus/$name"
	# Inputs kept in the tree are where the fuzzer starts from.
	seeds=tests/fuzz/$name
	[ -d "$seeds" ] || seeds=
	echo "$name: $seconds s"
	# shellcheck disable=SC2086 # absent when empty
	"$fuzzer" -max_total_time="$seconds" -artifact_prefix="$build/corpus/$name-" \
		-print_final_stats=1 "$build/corpus/$name" $seeds
done
