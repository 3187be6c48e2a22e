#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The thread tests of glibc, natively and under greenrun: what passes there has to pass
# here, but for the names in scripts/nptl/exceptions.
#
#   scripts/check-nptl.sh [NAME ...]
#
# NAME: tests, such as tst-cond1; all without.  The source package of the system's glibc is
# fetched by apt-get into BUILD/nptl, and those tests compiled that need nothing else of its
# tree; nothing of it is kept elsewhere.  BUILD names the build directory, MODES what is
# given to greenrun (default: 'auto dispatch'), JOBS how many run at once.
# shellcheck disable=SC2016,SC2317 # functions and words for another shell
set -u
cd "$(dirname "$0")/.." || exit 2
root=$PWD
build=${BUILD:-build/release}
work=$root/$build/nptl
jobs=${JOBS:-4}
skipped() {
	echo "SKIP: nptl: $1"
	exit 77
}
[ -e "$build/libgreenrun.so" ] || skipped "there is no libgreenrun.so in $build"
mkdir -p "$work"/{include/support,tests,programs,out} || exit 1

# ---- the source -----------------------------------------------------------------

# With lists of our own: the system's need not name any source.
fetch() {
	local suite version options
	command -v apt-get >/dev/null || skipped 'there is no apt-get'
	# shellcheck source=/dev/null
	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	version=$(dpkg-query -W -f '${source:Version}' libc6)
	mkdir -p "$work"/apt/{lists,cache/archives}/partial
	printf 'deb-src http://deb.debian.org/debian %s main
		deb-src http://deb.debian.org/debian-security %s-security main\n' "$suite" "$suite" |
		sed 's/^\t*//' >"$work/apt/sources"
	options=(-qq -o "Dir::Etc::sourcelist=$work/apt/sources" -o Dir::Etc::sourceparts=/dev/null
		-o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache"
		-o "APT::Sandbox::User=$(id -un)")
	(cd "$work" && apt-get "${options[@]}" update && apt-get "${options[@]}" --download-only \
		source "glibc=$version") >"$work/fetch.log" 2>&1 ||
		skipped "the source of glibc $version cannot be fetched: $(tail -n 1 "$work/fetch.log")"
	tar -xJf "$work"/glibc_*.orig.tar.xz -C "$work" --strip-components=1 --wildcards \
		'*/nptl/tst-*' '*/sysdeps/pthread/tst-*' '*/test-skeleton.c' '*/sysdeps/pthread/eintr.c' \
		'*/posix/tst-vfork[12].c' '*/unix/sysv/linux/tst-skeleton-*' || exit 1
	touch "$work/fetched"
}
[ -e "$work/fetched" ] || fetch

# ---- compiling -------------------------------------------------------------------

# Every header of the tests' own library is ours.
for header in check xthread xunistd xsignal xtime xstdio xdlfcn timespec support temp_file \
	test-driver; do
	echo '#include "nptl.h"' >"$work/include/support/$header.h"
done
echo '#include "driver.h"' >"$work/include/support/test-driver.c"
mkdir -p "$work/include/elf"
for header in libc-diag array_length pthreadP config shlib-compat elf/dl-tunables; do
	echo '#include "nptl.h"' >"$work/include/$header.h"
done
mkdir -p "$work/out" && touch "$work/out/Makefile" # which some of them open

# compile SOURCE: into programs/NAME, and what a test loads into NAME.so.
compile() {
	local source=$1 program how=()
	program=$work/programs/$(basename "$source" .c)
	case $program in
	*mod*) program+=.so how=(-shared -fPIC) ;;
	esac
	[ "$program" -nt "$source" ] && [ "$program" -nt scripts/nptl/nptl.h ] &&
		[ "$program" -nt scripts/nptl/driver.h ] && return
	"${CC:-gcc}" "${how[@]}" -std=gnu11 -D_GNU_SOURCE -O2 -g -w -I"$work/include" -Iscripts/nptl \
		-iquote "$work/nptl" -iquote "$work/sysdeps/pthread" -iquote "$work" -I"$work/nptl" -I"$work" \
		-iquote "$work/sysdeps/unix/sysv/linux" -I"$work/sysdeps/unix/sysv/linux" \
		-o "$program" "$source" -pthread -lm -ldl 2>"$program.log" || rm -f "$program"
}
export -f compile
export work
printf '%s\n' "$work"/{nptl,sysdeps/pthread}/tst-*.c | xargs -P "$jobs" -I SOURCE bash -c 'compile SOURCE'

# ---- running ---------------------------------------------------------------------

names=("$@")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(cd "$work/programs" &&
	find . -name 'tst-*' ! -name '*.log' ! -name '*.so' -printf '%f\n' | sort)

# runs LABEL NAME COMMAND...: its status into out/LABEL/NAME.status.
runs() {
	local label=$1 name=$2 out
	out=$work/out/$label/$name
	shift 2
	(cd "$work/out" && LD_LIBRARY_PATH=$work/programs timeout -s KILL "$limit" \
		"$@" "$work/programs/$name") >"$out" 2>&1 </dev/null
	echo $? >"$out.status"
}
export -f runs
export limit=100 # the longest that any gives itself is 80, but for one that says a week

# all_of LABEL COMMAND...: of those names that come in.
all_of() {
	mkdir -p "$work/out/$1"
	xargs -P "$jobs" -I NAME bash -c 'runs "$1" NAME "${@:2}"' runs "$@"
}

status_of() { cat "$work/out/$1/$2.status"; }
passes() { [ "$(status_of "$1" "$2")" = 0 ]; }
is_excepted() { grep -qE "^$1[[:space:]]" scripts/nptl/exceptions; }

printf '%s\n' "${names[@]}" | all_of native
natively=()
for name in "${names[@]}"; do
	! passes native "$name" || natively+=("$name")
done
echo "# $(find "$work"/{nptl,sysdeps/pthread} -name 'tst-*.c' | wc -l) files, ${#names[@]} compile," \
	"${#natively[@]} pass natively"
bad=0
for mode in ${MODES-auto dispatch}; do
	passed=0 excepted=0
	printf '%s\n' "${natively[@]}" | all_of "$mode" "$root/$build/greenrun" --intercept "$mode" --
	for name in "${natively[@]}"; do
		if passes "$mode" "$name"; then
			passed=$((passed + 1))
			! is_excepted "$name" || echo "# $mode $name passes, though it is an exception"
		elif is_excepted "$name"; then
			excepted=$((excepted + 1))
		else
			echo "not ok $mode $name: status $(status_of "$mode" "$name"):" \
				"$(tail -n 1 "$work/out/$mode/$name")"
			bad=1
		fi
	done
	echo "# $mode: $passed pass, $excepted are exceptions"
done
exit $bad
