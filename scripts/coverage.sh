#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Prints the share of lines executed per source file of the library, from the
# counts in the given build directory, and stores it in summary.txt there.
set -eu
cd "$(dirname "$0")/.."
build=$1

find "$build/obj/runtime" "$build/obj/stacks" -name '*.gcda' 2>/dev/null | sort |
while read -r counts; do
	gcov -n -o "$counts" "$counts" 2>/dev/null
done | awk '
	# A header shows up once for each file that includes it: keep the best count.
	/^File / { file = substr($2, 2, length($2) - 2) }
	/^Lines executed:/ && file ~ /^(runtime|stacks)\// {
		split($2, share, /[:%]/)
		executed = share[2] * $4 / 100
		if (executed >= best[file]) { best[file] = executed; lines[file] = $4 }
		file = ""
	}
	END {
		for (file in lines) {
			printf "%5.1f %%  of %4d  %s\n", 100 * best[file] / lines[file], lines[file], file
			all += lines[file]; hit += best[file]
		}
		printf "%5.1f %%  of %4d  ~ all\n", all ? 100 * hit / all : 0, all
	}' | sort -k 5 | sed 's/~ all/all/' | tee "$build/summary.txt"
