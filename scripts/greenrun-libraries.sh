#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Libraries of Debian with their blocking calls, in many threads at once, natively and
# under greenrun, and in green threads in link mode: every answer checked, the time of 200
# threads on two workers compared with that of one.
#
#   scripts/greenrun-libraries.sh [--rounds N] [NAME ...]
#
# NAME: curl, hiredis, libpq, mariadb, memcached, libxml2, sqlite, openssl, dns, pipes,
# popen, system, exceptions.  N: calls of each thread (3); with many the script shows that
# threads go on elsewhere: "moves" are calls begun on another CPU than the one before.
# BUILD names the build directory.  Servers listen on the loopback interface
# or in a temporary folder.  Needs the headers of the libraries, and redis-server,
# postgresql, mariadb-server, memcached and unshare; without them it is skipped, by name.
# shellcheck disable=SC2317 # functions are called by name
set -u
cd "$(dirname "$0")/.." || exit 2
build=$PWD/${BUILD:-build/release}
threads=200 rounds=3 bad=0 servers=() inside=()
if [ "${1:-}" = --rounds ]; then
	[[ ${2:-} =~ ^[1-9][0-9]*$ ]] || { echo "$0: --rounds takes a number from 1" >&2; exit 2; }
	rounds=$2
	shift 2
fi
temp=$(mktemp -d)

clean_up() {
	[ ${#servers[@]} -eq 0 ] || kill -9 "${servers[@]}" 2>/dev/null
	wait 2>/dev/null
	rm -rf "$temp"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

packages='libcurl hiredis libpq libmariadb libmemcached libxml-2.0 sqlite3 openssl'
# shellcheck disable=SC2086 # words
if ! pkg-config --exists $packages 2>/dev/null; then
	echo "SKIP: everything: not all of $packages is installed"
	exit 77
fi
"${CXX:-c++}" -O1 -g -c -o "$temp/exceptions.o" scripts/libraries/exceptions.cc || exit 1
# shellcheck disable=SC2046,SC2086 # flags
"${CC:-cc}" -O1 -g -o "$temp/libraries" scripts/libraries/{libraries,libc,tls}.c \
	"$temp/exceptions.o" $(pkg-config --cflags --libs $packages) -lstdc++ -pthread &&
	"${CC:-cc}" -O1 -g -DLINK_MODE -I"$build/include" -o "$temp/libraries_linked" \
		scripts/libraries/{libraries,libc,tls}.c "$temp/exceptions.o" $(pkg-config --cflags --libs $packages) \
		-L"$build" -lgreen -Wl,-rpath,"$build" -lstdc++ -pthread &&
	"${CC:-cc}" -O1 -g -o "$temp/dns_server" scripts/libraries/dns_server.c || exit 1

# appears COMMAND...: within ten seconds it succeeds.
appears() {
	local i
	for ((i = 0; i < 100; i++)); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	return 1
}

# Each sets address, and starts what the library talks to.
start_curl() {
	head -c 2000 /dev/zero >"$temp/file"
	"$build/examples/threaded_httpd" --listen 127.0.0.1:0 --root "$temp" >"$temp/http" 2>&1 &
	servers+=($!)
	appears grep -q listening "$temp/http" || return 1
	address=http://127.0.0.1:$(sed -n 's/^listening on .*:\([0-9]*\).*/\1/p' "$temp/http")/file
}
start_libxml2() {
	start_curl || return
	(
		echo '<list>'
		printf '<item number="%d"/>\n' {1..20}
		echo '</list>'
	) >"$temp/list.xml"
	address=${address%/file}/list.xml
}
start_memcached() {
	local user=()
	command -v memcached >/dev/null || return 77
	[ "$(id -u)" != 0 ] || user=(-u root)
	memcached "${user[@]}" -s "$temp/memcached" -c 1000 >"$temp/memcached.log" 2>&1 &
	servers+=($!)
	address=$temp/memcached
	appears test -S "$address"
}
# Its server refuses to be root's.
start_libpq() {
	local bin as=()
	bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | tail -n 1)
	[ -x "$bin/initdb" ] || return 77
	mkdir "$temp/pg"
	if [ "$(id -u)" = 0 ]; then
		as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
		chmod 711 "$temp" && chown 65534:65534 "$temp/pg" || return 1
	fi
	# In there: nobody may be allowed to see the present folder.
	(cd "$temp/pg" && "${as[@]}" "$bin/initdb" -D "$temp/pg/data" -A trust -U green) \
		>"$temp/initdb" 2>&1 || return 1
	(cd "$temp/pg" && exec "${as[@]}" "$bin/postgres" -D "$temp/pg/data" -k "$temp/pg" -F \
		-c listen_addresses= -c max_connections=300) >"$temp/pg.log" 2>&1 &
	servers+=($!)
	address="host=$temp/pg user=green dbname=postgres"
	appears "$bin/psql" "$address" -c 'select 1'
}
start_openssl() {
	address=$temp
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=green.test \
		-keyout "$temp/key.pem" -out "$temp/cert.pem" >"$temp/openssl.log" 2>&1
}
# Its server needs port 53 and a resolv.conf of its own: in namespaces of its own.
start_dns() {
	command -v unshare >/dev/null && command -v nsenter >/dev/null || return 77
	unshare --user --map-root-user --mount --net true 2>/dev/null || return 77
	echo 'nameserver 127.0.0.1' >"$temp/resolv.conf"
	# shellcheck disable=SC2016 # for the other shell
	unshare --user --map-root-user --mount --net sh -c \
		'mount --bind "$0/resolv.conf" "$(realpath /etc/resolv.conf)" && exec "$0/dns_server"' \
		"$temp" >"$temp/dns.log" 2>&1 &
	servers+=($!)
	address=none inside=(nsenter --preserve-credentials -U -m -n -t $!)
	appears grep -q serving "$temp/dns.log"
}
start_pipes() { address=none; }
start_hiredis() {
	command -v redis-server >/dev/null || return 77
	redis-server --port 0 --unixsocket "$temp/redis" --save '' --dir "$temp" >"$temp/redis.log" 2>&1 &
	servers+=($!)
	address=$temp/redis
	appears test -S "$address"
}
start_mariadb() {
	command -v mariadb-install-db >/dev/null || return 77
	mkdir "$temp/db"
	mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$temp/db" \
		--auth-root-authentication-method=normal >"$temp/install" 2>&1 || return 1
	"$(command -v mariadbd || echo /usr/sbin/mariadbd)" --no-defaults --user="$(id -un)" \
		--datadir="$temp/db" --socket="$temp/my" --skip-networking --max-connections=300 \
		--pid-file="$temp/my.pid" >"$temp/my.log" 2>&1 &
	servers+=($!)
	address=$temp/my
	appears mysqladmin --no-defaults -uroot --socket="$address" ping
}
start_sqlite() { address=none; }
start_popen() { address=none; }
start_system() { address=none; }
start_exceptions() { address=none; }

# seconds_of NAME THREADS PREFIX...: prints them, and the moves; fails when an answer was wrong.
program=libraries
seconds_of() {
	"${inside[@]}" timeout -s KILL 120 "${@:3}" "$temp/$program" "$1" "$2" "$rounds" "$address" 2>"$temp/complaints"
}

one() {
	local name=$1 native_one native_all green_one green_all link_one link_all status
	local green=("$build/greenrun" --workers 2 --)
	inside=() program=libraries
	"start_$name"
	status=$?
	if [ $status -eq 77 ]; then
		echo "SKIP: $name: its server is not installed"
		return
	fi
	if [ $status -eq 0 ] && native_one=$(seconds_of "$name" 1) &&
		native_all=$(seconds_of "$name" "$threads") && green_one=$(seconds_of "$name" 1 "${green[@]}") &&
		green_all=$(seconds_of "$name" "$threads" "${green[@]}") && program=libraries_linked &&
		link_one=$(seconds_of "$name" 1 env GREEN_WORKERS=2) &&
		link_all=$(seconds_of "$name" "$threads" env GREEN_WORKERS=2); then
		echo "$name $threads $native_one $native_all $green_one $green_all $link_one $link_all" |
			awk '{ printf "ok %-10s %3d threads  native %.3f s (one: %.3f)  green %.3f s " \
				"(one: %.3f, %.2f times, %d moves)  link mode %.3f s (one: %.3f, " \
				"%.2f times, %d moves)\n", $1, $2, $5, $3, $9, $7, $9 / $7, $10,
				$13, $11, $13 / $11, $14 }'
	else
		echo "not ok $name: $(tail -n 2 "$temp/complaints" 2>/dev/null)"
		bad=1
	fi
}

names=("$@")
[ ${#names[@]} -gt 0 ] || names=(curl hiredis libpq mariadb memcached libxml2 sqlite openssl \
	dns pipes popen system exceptions)
for name in "${names[@]}"; do
	one "$name"
done
exit $bad
