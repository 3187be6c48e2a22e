#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Shows what a build does on another kernel: boots one in qemu-system, emulated
# in software with two CPUs, and runs suites (all by default) on both engines
# there, then the hello example, the benches (for their results, not their
# speed), httpd, asked by curl, and, where they were built, greenrun's conformance
# program in C and greentrace.  Needs no root.
#
#   tests/bootstrap/qemu.sh [--limit SECONDS] DIRECTORY [KERNEL [SUITE ...]]
#
# --limit    for the machine as a whole (900); a suite that is not done is a failure
# DIRECTORY  outside the repository; keeps the kernel, the system made from it and
#            the machine's console
# KERNEL     an image (vmlinuz), a .deb, or a package for `apt-get download`; by
#            default linux-image-cloud-amd64, the newest of this release
# SUITE      as test_io; "none" for the programs only
#
# BUILD names the build (build/release); GREEN_FEATURES reaches the programs.
# Needs apt-get install qemu-system-x86 cpio busybox-static curl, and make programs.
set -euo pipefail

limit=900
if [ "${1:-}" = --limit ]; then
	limit=$2
	shift 2
fi
case ${1:--} in -*) sed -n '/^#   tests/,/^# SUITE/s/^# *//p' "$0" >&2; exit 2 ;; esac
mkdir -p "$1"
work=$(realpath "$1")
kernel=${2:-linux-image-cloud-amd64}
[ ! -f "$kernel" ] || kernel=$(realpath "$kernel")
cd "$(dirname "$0")/../.."
repository=$PWD
build=${BUILD:-build/release}
case $work/ in "$repository"/*) echo "$work lies in the repository" >&2; exit 1 ;; esac
for tool in qemu-system-x86_64 cpio busybox curl; do
	command -v $tool >/dev/null || { echo "$tool is not installed" >&2; exit 1; }
done
if [ $# -ge 3 ]; then
	suites=("${@:3}")
	[ "$3" != none ] || suites=()
else
	suites=("$build"/tests/test_* "$build"/tests/stress_*)
fi

# ---- the kernel ------------------------------------------------------------------

# download PACKAGE: prints the path of its .deb.
download() {
	rm -rf "$work/deb"
	mkdir "$work/deb"
	(cd "$work/deb" && apt-get -q download "$1") >&2
	echo "$work"/deb/*.deb
}

# unpack DEB: prints the path of the image in it; nothing when it has none.
unpack() {
	rm -rf "$work/kernel"
	dpkg -x "$1" "$work/kernel"
	find "$work/kernel/boot" -name 'vmlinuz*' 2>/dev/null
}

if ! [ -f "$kernel" ]; then
	# A package without a version only depends on the newest one.
	newest=$(apt-cache depends "$kernel" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
	kernel=$(download "${newest:-$kernel}")
fi
case $kernel in *.deb) kernel=$(unpack "$kernel") ;; esac
[ -n "$kernel" ] || { echo 'no kernel image in that package' >&2; exit 1; }

# ---- the system: an initial RAM file system --------------------------------------

root=$work/root
rm -rf "$root"
mkdir -p "$root"/{bin,dev,etc,lib64,proc,sys,tmp,root}

# copy FILE PLACE: a program, and the libraries it needs at the places where it looks.
copy() {
	local library
	install -D "$1" "$root/$2"
	for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
		[ -e "$root$library" ] || install -D "$library" "$root$library"
	done
}

copy "$(command -v busybox)" bin/busybox
copy "$(command -v bash)" bin/bash
copy "$(command -v curl)" bin/curl
for suite in "${suites[@]}"; do
	suite=$(basename "$suite")
	copy "$build/tests/$suite" "build/release/tests/$suite"
	# tests/run looks for sources.
	case $suite in
	stress_*) install -D -m 644 /dev/null "$root/tests/stress/${suite#stress_}.c" ;;
	*) install -D -m 644 /dev/null "$root/tests/$suite.c" ;;
	esac
done
for program in tests/probe greenbench examples/hello examples/httpd; do
	copy "$build/$program" "build/release/$program"
done
if [ -x "$build/tests/conform" ] && [ -e "$build/libgreenrun.so" ]; then
	for file in tests/conform greenrun libgreenrun.so; do
		copy "$build/$file" "build/release/$file"
	done
	# What pthread_cancel(3) loads.
	copy "$("${CC:-cc}" -print-file-name=libgcc_s.so.1)" /lib/x86_64-linux-gnu/libgcc_s.so.1
fi
if [ -x "$build/greentrace" ]; then
	copy "$build/greentrace" build/release/greentrace
	"${CC:-cc}" -O1 -g -I "$build/include" -o "$work/traced" tests/e2e/traced.c \
		"$build/libgreen.a" -l:liburing.a -lm -pthread
	copy "$work/traced" build/release/traced
fi
install -D tests/run "$root/tests/run"
install tests/bootstrap/qemu-init "$root/init"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$work/initrd"

# ---- the machine -----------------------------------------------------------------

# What the kernel does not know of its command line becomes init's environment.
# QEMU 7.2 emulates CMPXCHG16B with wrong flags: kernels from 6.12 on crash by it.
timeout "$limit" qemu-system-x86_64 -accel tcg -cpu max,cx16=off -smp 2 -m 2G \
	-nodefaults -display none -no-reboot -serial stdio \
	-kernel "$kernel" -initrd "$work/initrd" \
	-append "console=ttyS0 quiet panic=-1 GREEN_FEATURES=${GREEN_FEATURES:-}" </dev/null |
	tr -d '\r' | tee "$work/console" || echo "the machine did not end within $limit s"
grep -qx 'machine: passed' "$work/console"
