#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs below a DESTDIR and builds the program shown in README.md with nothing
# but the flags of pkg-config, against the shared and the static library, and runs
# it; then uninstalls and looks for what is left.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build/release}
dest=$PWD/$build/install
cc=${CC:-cc}
rm -rf "$dest"
mkdir -p "$dest"

make --no-print-directory VARIANT="$(basename "$build")" \
	DESTDIR="$dest" PREFIX=/usr LIBDIR=/usr/lib install

for file in include/green.h include/green_io.h include/green_sync.h include/green_intercept.h lib/libgreen.a \
	lib/libgreen.so lib/libgreen.so.0 lib/pkgconfig/green.pc share/libgreen/libgreen-gdb.py; do
	[ -e "$dest/usr/$file" ] || { echo "not installed: $file"; exit 1; }
done

# The script that gdb looks for bears the shared library's whole name.
[ -e "$dest/usr/share/gdb/auto-load/usr/lib/$(basename "$(readlink -f "$dest/usr/lib/libgreen.so")")-gdb.py" ] ||
	{ echo 'not installed: the script that gdb loads by itself'; exit 1; }
for tool in "$build"/green*; do
	if [ -f "$tool" ] && [ -x "$tool" ]; then
		[ -x "$dest/usr/bin/$(basename "$tool")" ] || { echo "not installed: $tool"; exit 1; }
		[ -e "$dest/usr/share/man/man1/$(basename "$tool").1" ] ||
			[ -e "$dest/usr/share/man/man8/$(basename "$tool").8" ] ||
			{ echo "no manual page: $tool"; exit 1; }
	fi
done

# greenrun finds its library from where it was installed; a build that cannot intercept has none.
if [ -e "$build/libgreenrun.so" ]; then
	"$dest/usr/bin/greenrun" --report "$build/examples/many_threads" 10 2>&1 | grep -q '^  threads  *11 created' ||
		{ echo 'the installed greenrun does not run a program on green threads'; exit 1; }
fi

if command -v pkg-config >/dev/null; then
	# The first C program of the README, or the smallest one.
	program=$dest/example.c
	awk '/^```$/ && inside { exit }
		inside { print }
		/^```c$/ { inside = 1 }' README.md 2>/dev/null >"$program" || true
	if ! [ -s "$program" ]; then
		printf '#include <green.h>\nint main(void) { return green_yield(); }\n' >"$program"
	fi
	pc() {
		PKG_CONFIG_SYSROOT_DIR=$dest PKG_CONFIG_PATH=$dest/usr/lib/pkgconfig \
			PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
			pkg-config "$@" green
	}
	# shellcheck disable=SC2046 # flags
	$cc -Wall -Wextra -Werror "$program" -o "$dest/shared" $(pc --cflags --libs)
	timeout 60 env LD_LIBRARY_PATH="$dest/usr/lib" "$dest/shared" </dev/null
	# shellcheck disable=SC2046 # flags
	$cc -Wall -Wextra -Werror "$program" -o "$dest/static" -static $(pc --cflags --static --libs)
	timeout 60 "$dest/static" </dev/null

	# With these flags a frame larger than any stack meets the guard all the same.
	cat >"$program" <<-'EOF'
		#include <green.h>
		static void *overflow(void *unused)
		{
			volatile char large[1 << 20];

			large[0] = 0;
			return large[0] ? unused : NULL;
		}
		int main(void) { return green_run(overflow, NULL, NULL); }
	EOF
	# shellcheck disable=SC2046 # flags
	$cc -Wall -Wextra -Werror "$program" -o "$dest/large" $(pc --cflags --libs)
	report=$(timeout 60 env LD_LIBRARY_PATH="$dest/usr/lib" GREEN_OVERFLOW=end "$dest/large" 2>&1 || true)
	case $report in
	*'ran out of its stack'*) ;;
	*) echo 'a large frame steps over the guard:' "$report"; exit 1 ;;
	esac

	# Each header may be the first one, in C++ too, and warns of nothing.
	languages=$(for compiler in "$cc" clang; do
		for language in "$compiler -x c -std=c99" "$compiler -x c++ -std=c++11"; do
			! echo 'int main(void) {}' | $language -fsyntax-only - 2>/dev/null || echo "$language"
		done
	done)
	case $languages in
	*c++*) ;;
	*) echo "SKIP: check_install: neither $cc nor clang compiles C++" ;;
	esac
	for header in "$dest"/usr/include/*.h; do
		# shellcheck disable=SC2046 # flags
		echo "$languages" | while read -r language; do
			echo "#include <$(basename "$header")>" |
				$language -Wall -Wextra -pedantic -Wshadow -Wconversion -Wcast-qual -Werror \
					-fsyntax-only $(pc --cflags) -
		done
	done
else
	echo 'SKIP: check_install: pkg-config is not installed'
fi

# A build with a sanitizer has no shared library to install.
if make -n VARIANT=asan DESTDIR="$dest/asan" install | grep 'build/asan/libgreen\.so'; then
	echo 'make VARIANT=asan install wants a shared library'
	exit 1
fi

make --no-print-directory VARIANT="$(basename "$build")" \
	DESTDIR="$dest" PREFIX=/usr LIBDIR=/usr/lib uninstall
left=$(find "$dest/usr" ! -type d)
[ -z "$left" ] || { echo "left by uninstall: $left"; exit 1; }
