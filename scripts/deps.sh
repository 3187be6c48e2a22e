#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs what is missing for the named groups (build, test, lint), on Debian and
# Ubuntu, with sudo when not root.  Elsewhere names the packages and fails.
# Does nothing, quietly, when everything is there.
set -eu

# What a group needs: "KIND NAME PACKAGE", as Debian names the packages.
needs() {
	case $1 in
	build)
		echo 'cmd cc gcc'
		echo 'cmd gcc gcc'
		echo 'cmd make make'
		echo 'hdr stdio.h libc6-dev'
		echo 'hdr liburing.h liburing-dev'
		echo 'lib liburing.a liburing-dev'
		echo 'hdr elfutils/libdwfl.h libdw-dev'
		echo 'hdr gelf.h libelf-dev'
		echo 'hdr bpf/libbpf.h libbpf-dev'
		echo 'cmd clang clang'
		echo "bpf bpftool $bpftool_package"
		;;
	test)
		echo 'cmd clang clang'
		echo "san libclang_rt.asan-$(uname -m).a $(sanitizer_package)"
		echo 'cmd llvm-symbolizer llvm'
		echo 'hdr cmocka.h libcmocka-dev'
		echo 'hdr valgrind/valgrind.h valgrind'
		echo 'cmd pkg-config pkg-config'
		echo 'cmd curl curl'
		echo 'cmd gdb gdb'
		echo 'cmd strace strace'
		echo 'cmd wrk wrk'
		echo 'cmd pgrep procps'
		echo 'cmd g++ g++'
		echo 'hdr openssl/ssl.h libssl-dev'
		# Ubuntu's perf goes with one kernel: there it is a user's to choose.
		[ -z "$(apt-cache madison linux-perf 2>/dev/null)" ] || echo 'cmd perf linux-perf'
		;;
	lint)
		echo 'cmd clang-format-14 clang-format-14'
		echo 'cmd clang-tidy clang-tidy'
		echo 'omp omp.h libomp-dev'
		echo 'cmd cppcheck cppcheck'
		echo 'cmd shellcheck shellcheck'
		;;
	*)
		echo "deps.sh: no group named $1" >&2
		return 1
		;;
	esac
}

# The sanitizer runtimes became a package of their own with clang 14 on Debian;
# without it they are in a package that clang depends on.
sanitizer_package() {
	version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p')
	if [ -n "$(apt-cache madison "libclang-rt-$version-dev" 2>/dev/null)" ]; then
		echo "libclang-rt-$version-dev"
	else
		echo clang
	fi
}

# Ubuntu's is part of the tools of a kernel, behind a script that wants those of the
# running one; any version does, and none is needed where the tarball has what it makes.
bpftool_package=bpftool
[ -n "$(apt-cache madison bpftool 2>/dev/null)" ] || bpftool_package=linux-tools-generic
bpftool_there() {
	for tool in bpftool /usr/sbin/bpftool /usr/lib/linux-tools/*/bpftool \
		/usr/lib/linux-tools-*/bpftool; do
		"$tool" version >/dev/null 2>&1 && return
	done
	[ -e "$(dirname "$0")/../bpf/greentrace.skel.h" ]
}

there() {
	case $1 in
	cmd) command -v "$2" >/dev/null ;;
	hdr) echo "#include <$2>" | cc -E - >/dev/null 2>&1 ;;
	omp) echo "#include <$2>" | clang -fopenmp -E - >/dev/null 2>&1 ;;
	# The compiler prints the full path of a file that it finds, else the bare name.
	lib) [ "$(cc -print-file-name="$2" 2>/dev/null)" != "$2" ] ;;
	bpf) bpftool_there ;;
	san) [ -e "$(clang -print-file-name="$2" 2>/dev/null)" ] ;;
	esac
}

missing() {
	for group in "$@"; do
		needs "$group" | while read -r kind name package; do
			there "$kind" "$name" || echo "$package"
		done
	done | sort -u | tr '\n' ' '
}

for group in "$@"; do
	needs "$group" >/dev/null
done
packages=$(missing "$@")
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "Missing (names of the Debian packages): $packages- please install them." >&2
	exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "Missing: $packages- install them as root, for there is no sudo." >&2
		exit 1
	fi
	as_root=sudo
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >>"$log" 2>&1 </dev/null
}

# A bare container has no package lists: which sanitizer package there is shows later.
if [ -z "$(apt-cache madison make 2>/dev/null)" ]; then
	echo "Fetching the package lists${as_root:+ with sudo}, to install what is missing."
	apt update || { cat "$log" >&2; exit 1; }
	packages=$(missing "$@")
fi
echo "Installing ${packages}(needed for: $*)${as_root:+ with sudo}."
# shellcheck disable=SC2086 # a list
install() { apt install --no-install-recommends $packages; }
if ! install && ! { apt update && install; }; then
	cat "$log" >&2
	exit 1
fi
packages=$(missing "$@")
if [ -n "$packages" ]; then
	echo "Still missing after the installation: $packages" >&2
	exit 1
fi
