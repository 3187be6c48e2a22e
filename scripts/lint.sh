#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Static analysis: cppcheck, clang-tidy and shellcheck.  BUILD names a build
# directory.  A tool that is not installed is a named skip.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build/release}
failed=0

have() {
	command -v "$1" >/dev/null && return
	echo "SKIP: lint: $1 is not installed"
	return 1
}

flags="-D_GNU_SOURCE= -iquote runtime -iquote stacks -iquote tests -I$build/include"
flags="$flags -iquote bpf -iquote tools/greenps -iquote tools/greentrace"
# Written by bpftool.
flags="$flags -isystem $build/bpf"

sources=$(find runtime stacks tools examples -name '*.c' 2>/dev/null)
tests=$(find tests -name '*.c')
of_httpd='/[a-z]*_http'
# Needs libpq-dev, which nothing else does.
libpq=/usr/include/postgresql
flags="$flags -isystem $libpq"
[ -e $libpq/libpq-fe.h ] || tests=$(echo "$tests" | grep -v /planted/rows.c)

if have cppcheck && [ -n "$sources" ]; then
	# Wrong everywhere: invalidFunctionArg objects to the -1 of an anonymous mmap(), and
	# autoVariables to waiting with a record that lies in the frame, readdirCalled to a call
	# that is safe on a stream of one's own.
	# shellcheck disable=SC2086 # lists
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -j "$(nproc)" \
		--enable=warning,portability --library=posix \
		--suppress=missingIncludeSystem --suppress=invalidFunctionArg \
		--suppress=autoVariables --suppress=readdirCalled "-D__$(uname -m)__=1" -D_GNU_SOURCE= \
		-Iruntime -Istacks $sources || failed=1
fi

if have clang-tidy; then
	# shellcheck disable=SC2086 # lists
	printf '%s\n' $sources $tests | grep -v "$of_httpd" | xargs -P "$(nproc)" -I FILE \
		clang-tidy --quiet FILE -- -std=gnu11 $flags 2>/dev/null || failed=1
	# The tools have a files.h, too.
	# shellcheck disable=SC2086 # lists
	printf '%s\n' $tests | grep "$of_httpd" | xargs -P "$(nproc)" -I FILE \
		clang-tidy --quiet FILE -- -std=gnu11 -iquote examples/httpd $flags 2>/dev/null || failed=1
fi

if have shellcheck; then
	find scripts tests .ci -type f -perm -u+x ! -name '*.py' -exec shellcheck -x {} + || failed=1
fi
exit $failed
