#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Programs that stall, each for one reason (tests/planted/), and the command of
# man/greentrace-guide.7 that finds the line, which the source marks "planted".  Without the
# problem the same command must not find it.
#
#   tests/e2e/planted.sh           all of them
#   tests/e2e/planted.sh SEED      one, chosen at random by that number
#
# BUILD names the build directory; GREENTRACE a greentrace to test instead of that build's.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
top=$PWD
greentrace=${GREENTRACE:-$build/greentrace}
export DEBUGINFOD_URLS='' GREEN_WORKERS=2
unset GREEN_ENGINE

# What finds it, as the guide has it; the program is ./server there.
declare -A commands=(
	[rows]='greentrace --assert-no-yield render -- ./server'
	[tls]='greentrace -c -k -- ./server'
	[sort]='greentrace --assert-no-yield by_name -- ./server'
	[convoy]='greentrace sites -- ./server'
	[backoff]='greentrace -c --blocked 10 -- ./server'
	[hog]='greentrace -c --hog 50 -- ./server'
	[starved]='greentrace -c -s queued --hog 10 -- ./server'
	[punt]='greentrace -c --io -- ./server'
	[grown]='greentrace -c --faults -- ./server'
	[upgrade]='greentrace sites --check switches.lock -- ./server'
)
declare -A flags=([rows]="-I$(pg_config --includedir 2>/dev/null) -lpq" [tls]='-lssl -lcrypto')
problems=(rows tls sort convoy backoff hog starved punt grown upgrade)

if ! [ -x "$greentrace" ]; then
	skip greentrace 'not built, for lack of libbpf-dev, libdw-dev, bpftool or clang'
	exit 77
fi
needs_tracing attaching

# ---- what they need ------------------------------------------------------------------

# there HEADER FLAG...: is the library installed?
there() { echo "#include <$1>" | "${CC:-cc}" -E "${@:2}" - >/dev/null 2>&1; }

# PostgreSQL's programs are not in PATH on Debian.
pg_program() {
	local path
	for path in "$(command -v "$1")" "$(pg_config --bindir 2>/dev/null)/$1" \
		/usr/lib/postgresql/*/bin/"$1"; do
		[ -x "$path" ] && echo "$path" && return
	done
	return 1
}

# A server of our own, which does not run as root, on a socket below $temp alone.
start_database() {
	local as=()
	export PGHOST=$temp/pg PGDATABASE=postgres PGUSER=postgres
	[ "$(id -u)" -ne 0 ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	mkdir "$temp/pg" && chmod 755 "$temp"
	[ "$(id -u)" -ne 0 ] || chown 65534:65534 "$temp/pg"
	(
		cd "$temp/pg" || exit 1
		"${as[@]}" "$(pg_program initdb)" -D data -U postgres -A trust --no-sync \
			--no-locale >initdb.log 2>&1 || { cat initdb.log; exit 1; }
	) || return 1
	(
		cd "$temp/pg" && exec "${as[@]}" "$(pg_program postgres)" -D data -k "$temp/pg" \
			-c listen_addresses= -c fsync=off >"$temp/postgres.log" 2>&1
	) &
	database=$!
	children[$database]=1
	for ((i = 0; i < 300; i++)); do
		"$(pg_program psql)" -qXc 'select 1' >/dev/null 2>&1 && break
		sleep 0.1
	done
	"$(pg_program psql)" -qX -v ON_ERROR_STOP=1 <<-'END' || { cat "$temp/postgres.log"; return 1; }
		create table customers (id int primary key, name text);
		create table orders (id int primary key, customer int);
		insert into customers select n, 'customer ' || n from generate_series(1, 100) n;
		insert into orders select n, n from generate_series(1, 100) n;
	END
}

needs_rows() {
	if ! there libpq-fe.h "-I$(pg_config --includedir 2>/dev/null)"; then
		echo 'libpq-dev is not installed'
	elif ! pg_program initdb >/dev/null || ! pg_program psql >/dev/null; then
		echo 'postgresql is not installed'
	else
		return 0
	fi
	return 1
}

needs_punt() {
	engine_there io_uring || { echo 'the kernel refuses io_uring'; return 1; }
	[ -r /sys/kernel/tracing/events/io_uring/io_uring_complete/id ] ||
		{ echo 'no tracefs is mounted at /sys/kernel/tracing'; return 1; }
}

prepare_rows() { start_database; }

needs_tls() { there openssl/ssl.h || { echo 'libssl-dev is not installed'; return 1; }; }

# Version 1 of the library, and what it made the program enter.
prepare_upgrade() {
	library 1 || return 1
	(cd "$temp" && greentrace sites --lock switches.lock -- ./server)
}

library() {
	"${CC:-cc}" -O1 -g -fPIC -shared -DVERSION="$1" -I "$build/include" \
		-o "$temp/libsession.so" tests/planted/session.c -L "$build" \
		-Wl,-rpath,"$top/$build" -lgreen
}

# compile_planted NAME: ./server in $temp, which is not told apart from outside.
compile_planted() {
	local linked=("${archive[@]}")
	# shellcheck disable=SC2206 # words
	linked+=(${flags[$1]:-})
	if [ "$1" = upgrade ]; then
		library 1 || return 1
		linked=("-L$temp" "-L$build" "-Wl,-rpath,$temp" "-Wl,-rpath,$top/$build"
			-lsession -lgreen)
	fi
	# A large frame is touched where it is written, and not where it is made.
	"${CC:-cc}" -std=gnu11 -O1 -g -fno-stack-clash-protection -I "$build/include" -o "$temp/server" \
		"tests/planted/$1.c" "${linked[@]}" -pthread
}

# ---- finding it ------------------------------------------------------------------------

# marked NAME MARK: "FILE:LINE" of the line that bears it.
marked() {
	local file=tests/planted/$1.c
	[ "$1" != upgrade ] || file=tests/planted/session.c
	echo "$(basename "$file"):$(grep -n "/\* $2 \*/" "$file" | cut -d: -f1)"
}

# run_command NAME [well]: in $temp; its exit status, output in $temp/out.
run_command() {
	(
		cd "$temp" || exit 1
		PATH=$(dirname "$(realpath "$OLDPWD/$greentrace")"):$PATH
		# shellcheck disable=SC2086 # words
		timeout -s KILL 60 ${commands[$1]} ${2:-} >out 2>err </dev/null
	)
}

greentrace() { "$top/$greentrace" "$@"; }

# nanoseconds TEXT: of a duration as the tables have it.
nanoseconds() {
	echo "$1" | awk '/ns$/ { f = 1 } /us$/ { f = 1e3 } /ms$/ { f = 1e6 } /[0-9]s$/ { f = 1e9 }
		{ printf "%.0f", $1 * f }'
}

# The line is named, in the form that the command shows such a problem in.
found() {
	local at
	at=$(marked "$1" planted)
	at="\\(${at/./\\.}\\)"
	case $1 in
	rows | sort) grep -qE "^      [a-z_]+ $at" "$temp/out" ;;
	# Below libssl, and above it the one who asked.
	tls) awk -v at="$(marked tls planted)" '/^      bio_read/ { deep = 1; next }
		!/^      / { deep = tls = 0 } deep && /libssl/ { tls = 1 }
		tls && index($0, " fetch_rate (" at ")") { found = 1 } END { exit !found }' "$temp/out" ;;
	# The first row, and who holds the lock meanwhile.
	convoy)
		sed -n 3p "$temp/out" | grep -qE " mutex +sell $at" &&
			grep -qE " sleep +journal_append" "$temp/out" ;;
	backoff)
		grep -qE '^ +10 .* clock_nanosleep$' "$temp/out" &&
			grep -qE "^      legacy_send $at" "$temp/out" ;;
	hog) grep -qE "^      upload $at" "$temp/out" ;;
	# It waited long, and only for the queue; and for whom.
	starved)
		read -r _ _ mean _ _ _ queued _ < <(grep -E " yield +send_part $at" "$temp/out")
		[ "$(nanoseconds "${mean:-0ns}")" -gt 20000000 ] && [ "$mean" = "$queued" ] &&
			grep -qF "($(marked starved culprit))" "$temp/out" ;;
	# As often as it was asked for.
	punt) grep -qE "^ +200 +200 .* FSYNC +journal_append $at" "$temp/out" ;;
	# Ten pages of each stack.
	grown)
		sed -n '/^Pages of stacks/,$p' "$temp/out" >"$temp/pages"
		grep -qE "^      form_read $at" "$temp/pages" &&
			grep -qE '^ +[0-9]+ +(39|4[0-9])\.[0-9]K$' "$temp/pages" &&
			sed -n '/^Threads that ended/,$p' "$temp/out" | grep -A1 -E '^ +[0-9]+ +(39|4[0-9])\.[0-9]K$' |
			grep -qE '^      reader \(grown' ;;
	upgrade) grep -qE '^new: io in session_refresh of libsession' "$temp/out" ;;
	esac
}

# What the exit status is when the problem is there, if the command judges.
declare -A broken=([rows]=1 [sort]=1 [upgrade]=1)

test_planted() {
	local status
	if declare -F "needs_$1" >/dev/null; then "needs_$1" || return 77; fi
	compile_planted "$1" || return 1
	if declare -F "prepare_$1" >/dev/null; then "prepare_$1" || return 1; fi
	[ "$1" != upgrade ] || library 2 || return 1
	run_command "$1"
	status=$?
	equal 'exit status' "${broken[$1]:-0}" $status || { cat "$temp/err" "$temp/out"; return 1; }
	found "$1" || { echo "not found at $(marked "$1" planted):"; cat "$temp/out"; return 1; }
	[ "$1" != upgrade ] || library 1 || return 1
	run_command "$1" well
	status=$?
	equal 'exit status without it' 0 $status || { cat "$temp/err" "$temp/out"; return 1; }
	! found "$1" || { echo 'found where it is not:'; cat "$temp/out"; return 1; }
}

# The guide has these very commands.
test_guide() {
	local name
	for name in "${problems[@]}"; do
		sed 's/\\-/-/g; s/\\fB//g; s/\\fR//g' man/greentrace-guide.7 |
			grep -qF -- "${commands[$name]}" || { echo "not there: ${commands[$name]}"; return 1; }
	done
}

if [ $# -gt 0 ]; then
	RANDOM=$1
	problems=("${problems[RANDOM % ${#problems[@]}]}")
	echo "# seed $1: ${problems[0]}: ${commands[${problems[0]}]}"
fi
for name in "${problems[@]}"; do check "$name" test_planted "$name"; done
check guide test_guide
summary
