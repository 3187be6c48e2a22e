#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# greenrun: what it refuses and how it says so; and that what threads may rely on holds
# under it as it does natively.  The programs of tests/conform run natively, then under
# greenrun in each mode of interception, with one and two workers, on both engines: a
# choice in which each pair occurs; CONFORM=all takes all.  BUILD names the build
# directory; GREENRUN a greenrun to test instead of that build's: the tool alone, for the
# rest is the library's.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
needs_greenrun

# ---- the tool ------------------------------------------------------------------

# says STATUS PATTERN COMMAND...: ends with the status and says the pattern.
says() {
	local status
	timeout 60 "${@:3}" >"$temp/said" 2>&1 </dev/null
	status=$?
	equal "status of ${*:3}" "$1" $status || return 1
	[ -z "$2" ] || has "${*:3}" "$2" "$temp/said"
}

# program NAME FLAG...: a program of that name in $temp that ends with status 7.
program() {
	echo 'int main(void) { return 7; }' >"$temp/seven.c"
	"${CC:-cc}" -o "$temp/$1" "$temp/seven.c" "${@:2}" 2>"$temp/cc"
}

test_usage() {
	says 0 Usage "$run" --help && says 0 'greenrun 0\.' "$run" --version &&
		says 125 Usage "$run" && says 125 options "$run" --nonsense true &&
		says 125 '1 to 1024' "$run" --workers 0 true && says 125 '1 to' "$run" -w x true &&
		says 125 'io_uring or epoll' "$run" --engine steam true &&
		says 125 'dispatch' "$run" --intercept magic true &&
		says 125 '16K to 1G' "$run" --stack 1 true &&
		says 125 milliseconds "$run" --audit=x true &&
		says 125 'one worker' "$run" --serial --workers 2 true
}

test_finds() {
	program seven && mkdir -p "$temp/path" && cp "$temp/seven" "$temp/path/found-by-path" ||
		return 1
	says 7 '' "$run" "$temp/seven" && says 7 '' "$run" -- "$temp/seven" &&
		says 7 '' env PATH="$temp/path:$PATH" "$run" found-by-path &&
		says 7 '' env -C "$temp" "$PWD/$run" ./seven &&
		says 127 'No such file' "$run" no-such-program-anywhere &&
		says 127 'No such file' "$run" "$temp/absent" &&
		says 126 'Permission denied' "$run" "$temp/seven.c" &&
		says 126 'Is a directory' "$run" "$temp"
}

test_arguments_and_environment() {
	# shellcheck disable=SC2016 # for the other shell
	says 0 '^a b|--workers|c$' "$run" sh -c 'IFS="|"; echo "$*"' x 'a b' --workers c &&
		says 0 '^kept$' env KEPT=kept "$run" sh -c 'echo $KEPT' &&
		says 0 'libgreenrun.so:/nowhere.so$' env LD_PRELOAD=/nowhere.so "$run" sh -c 'echo $LD_PRELOAD' &&
		says 0 '^[^:]*libgreenrun.so$' "$run" "$run" sh -c 'echo $LD_PRELOAD' &&
		says 0 '^.$' "$run" --intercept off sh -c 'echo ".$LD_PRELOAD"' &&
		says 0 '^glibc.*nns=1.*:glibc.rtld.nns=4$' env GLIBC_TUNABLES=glibc.rtld.nns=4 \
			"$run" --lean sh -c 'echo $GLIBC_TUNABLES'
}

test_refuses_static() {
	program static -static || return 77
	says 126 'statically linked' "$run" "$temp/static" &&
		says 7 '' "$run" --intercept off "$temp/static" || return 1
	! program static-pie -static-pie ||
		says 126 'statically linked' "$run" "$temp/static-pie"
}

test_refuses_other_libcs() {
	program musl -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1 &&
		says 126 'musl' "$run" "$temp/musl" &&
		program other -Wl,--dynamic-linker=/lib/ld-uClibc.so.0 &&
		says 126 'ld-uClibc' "$run" "$temp/other"
}

test_refuses_go() {
	cat >"$temp/go.s" <<-'END'
		.section .note.go.buildid, "a", @note
		.long 4, 4, 4
		.asciz "Go\0"
		.long 0
		.section .note.GNU-stack, "", @progbits
	END
	program go "$temp/go.s" && says 126 'Go program' "$run" "$temp/go"
}

# The header of another machine is enough.
test_refuses_other_machines() {
	program seven || return 1
	cp "$temp/seven" "$temp/arm" && printf '\xb7' | dd of="$temp/arm" bs=1 seek=18 conv=notrunc \
		2>/dev/null && says 126 'another CPU' "$run" "$temp/arm" || return 1
	cp "$temp/seven" "$temp/x32" && printf '\x01' | dd of="$temp/x32" bs=1 seek=4 conv=notrunc \
		2>/dev/null && says 126 'x32' "$run" "$temp/x32" || return 1
	printf '\x03' | dd of="$temp/x32" bs=1 seek=18 conv=notrunc 2>/dev/null &&
		says 126 '32-bit' "$run" "$temp/x32" || return 1
	head -c 20 "$temp/seven" >"$temp/cut" && chmod +x "$temp/cut" &&
		says 126 'cut off' "$run" "$temp/cut"
}

# Only root can give a file to somebody else; it then means something to root, too.
test_refuses_setuid() {
	program seven && cp "$temp/seven" "$temp/setuid" || return 1
	if ! chown 65534:65534 "$temp/setuid" 2>/dev/null; then
		echo 'needs root'
		return 77
	fi
	chmod 4755 "$temp/setuid" && says 126 'setuid' "$run" "$temp/setuid" &&
		chmod 2755 "$temp/setuid" && says 126 'setgid' "$run" "$temp/setuid" &&
		chmod 755 "$temp/setuid" && says 7 '' "$run" "$temp/setuid"
}

test_follows_scripts() {
	program seven && program musl -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1 || return 1
	printf '#!/bin/sh\nexit 9\n' >"$temp/script"
	printf '#! %s x\n' "$temp/musl" >"$temp/refused"
	printf 'exit 8\n' >"$temp/bare"
	printf '#!/no/such/interpreter\n' >"$temp/broken"
	printf '#!%s\n' "$temp/loop" >"$temp/loop"
	chmod +x "$temp"/{script,refused,bare,broken,loop}
	says 9 '' "$run" "$temp/script" && says 8 '' "$run" "$temp/bare" &&
		says 126 musl "$run" "$temp/refused" &&
		says 127 'No such file' "$run" "$temp/broken" &&
		says 126 'Too many levels' "$run" "$temp/loop"
}

# A computing call of 200 MB in a thread with a name.
# Signals that come while the runtime starts end a program that does nothing about them.
test_signals_at_start() {
	local i status
	cat >"$temp/pauses.c" <<-'END'
		#include <pthread.h>
		#include <unistd.h>
		static void *sleeps(void *unused) { return sleep(3), unused; }
		int main(void)
		{
			pthread_t t;
			return pthread_create(&t, 0, sleeps, 0) || pthread_join(t, 0);
		}
	END
	"${CC:-cc}" -o "$temp/pauses" "$temp/pauses.c" -pthread || return 1
	for ((i = 0; i < 60; i++)); do
		"$run" "$temp/pauses" >/dev/null 2>&1 &
		sleep "$(printf "0.%03d" $((i * 7 % 40)))"
		kill -TERM $!
		wait $! 2>/dev/null
		status=$?
		equal "status after a signal" 143 $status || return 1
	done
}

test_audit() {
	cat >"$temp/fills.c" <<-'END'
		#define _GNU_SOURCE
		#include <pthread.h>
		#include <sys/mman.h>
		static __attribute__((noinline)) int fills(void)
		{
			char *p = mmap(0, 200 << 20, PROT_READ | PROT_WRITE,
			               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			return madvise(p, 200 << 20, 23) + munmap(p, 200 << 20);
		}
		static void *run(void *argument)
		{
			pthread_setname_np(pthread_self(), "filler");
			return fills() ? argument : 0;
		}
		int main(void)
		{
			pthread_t t;
			return pthread_create(&t, 0, run, &t) || pthread_join(t, 0);
		}
	END
	"${CC:-cc}" -O1 -o "$temp/fills" "$temp/fills.c" -pthread || return 1
	says 0 'held its worker.*"filler": madvise at .*fills' "$run" --audit=1 "$temp/fills" &&
		says 0 'held a worker' "$run" --audit=1 --report "$temp/fills" &&
		has 'the report' 'times.*longest.*madvise at' "$temp/said" &&
		says 0 '' "$run" --audit=100000 "$temp/fills" && equal 'said' '' "$(cat "$temp/said")"
}

test_report() {
	local threads=$build/examples/many_threads
	says 0 'report of "many_threads"' "$run" --report "$threads" 100 || return 1
	has 'threads' '  threads +101 created, 101 at most at once' "$temp/said" &&
		has 'switches' '  switches +[1-9][0-9]* on' "$temp/said" &&
		has 'calls' 'threads .*clone3 100' "$temp/said" &&
		has 'memory' '  memory +resident [1-9]' "$temp/said" || return 1
	rm -f "$temp/report"
	says 0 '^threads 10 ' env -C "$temp" "$PWD/$run" --report=report "$PWD/$threads" 10 &&
		has 'the file' 'report of "many_threads"' "$temp/report" &&
		says 0 '^threads 10 ' "$run" "--report=$temp/report" "$threads" 10 &&
		equal 'reports in the file' 2 "$(grep -c '^greenrun: report' "$temp/report")" || return 1
	says 125 'report /nonexistent/file: No such file' "$run" --report=/nonexistent/file "$threads" 10
}

# What greenrun sets for the library, set to something else by a user.
test_environment() {
	local setting
	for setting in GREEN_PREEMPT=no GREEN_AUDIT_MS=5ms GREEN_INTERCEPT=on GREEN_WORKERS=0; do
		says 125 "${setting%%=*}" env "$setting" "$run" "$build/examples/many_threads" 10 || return 1
	done
}

# The stack of a thread that asks for none.
test_stack() {
	cat >"$temp/size.c" <<-'END'
		#define _GNU_SOURCE
		#include <pthread.h>
		#include <stdio.h>
		int main(void)
		{
			pthread_attr_t a;
			size_t size;
			pthread_getattr_default_np(&a);
			pthread_attr_getstacksize(&a, &size);
			printf("%zu\n", size);
			return 0;
		}
	END
	"${CC:-cc}" -o "$temp/size" "$temp/size.c" -pthread || return 1
	says 0 '^262144$' "$run" --stack 256K "$temp/size"
}

# Nothing is started for a program without threads.
test_without_threads() {
	program seven || return 1
	says 7 'report of "seven" .*: it made no thread' "$run" --report "$temp/seven" &&
		equal 'lines' 1 "$(wc -l <"$temp/said")" &&
		says 7 '' "$run" --report="$temp/none" "$temp/seven" &&
		has 'the file' 'made no thread' "$temp/none"
}

# What it did before its first thread holds; also if it has become a daemon in between.
test_before_the_first_thread() {
	local mode i
	"${CC:-cc}" -O1 -o "$temp/late" tests/e2e/late.c -pthread || return 1
	says 0 '' "$temp/late" native || return 1
	for mode in auto patch dispatch both; do
		says 0 '' "$run" --intercept $mode "$temp/late" green || return 1
		"$run" --intercept $mode "$temp/late" daemon green >"$temp/$mode" 2>&1 || return 1
		for ((i = 0; i < 200; i++)); do
			[ -s "$temp/$mode" ] && break
			sleep 0.1
		done
		equal "the daemon with $mode" good "$(<"$temp/$mode")" || return 1
	done
}

# How a process ends, and what its children may: each in a process that had no thread before,
# so that those of its children are green.
test_conform_alone() {
	local name
	for name in exit_in_a_thread exit_runs_handlers exit_of_main_leaves_threads \
		exit_of_the_last_thread exit_of_the_last_thread_takes_signals daemon_uses_threads; do
		says 0 "^ok $name" "$build/tests/conform" $name &&
			says 0 "^ok $name" "$run" --workers 2 "$build/tests/conform" $name || return 1
	done
}

# Too little address space when the first thread is made: said, and gone on natively.
test_no_room() {
	"${CC:-cc}" -O1 -o "$temp/late" tests/e2e/late.c -pthread || return 1
	says 0 'goes on with threads of the kernel' "$run" bash -c "ulimit -v 2000000; exec $temp/late native"
}

# A program with green threads of its own, of the same library, has the one runtime for itself.
test_own_green_threads() {
	cat >"$temp/own.c" <<-'END'
		#include <green.h>
		#include <stdlib.h>
		static void *first(void *arg) { return arg; }
		int main(void)
		{
			if (getenv("LINK") && green_intercept_all() < 0)
				return 1;
			return green_run(first, NULL, NULL) != 0;
		}
	END
	compile own "$temp/own.c" -L "$build" -Wl,-rpath,"$PWD/$build" -lgreen
	says 0 'greenrun: the program runs green threads itself, by green_run\(\); .* goes on as it is' \
		"$run" --workers 2 "$temp/own" || return 1
	says 0 'greenrun: the program intercepts its system calls itself; .* goes on as it is' \
		env LINK=1 "$run" --workers 2 "$temp/own"
}

# Mutexes that at once inherit priority and are shared, when somebody has to wait for one.
test_refuses_shared_pi() {
	cat >"$temp/shared_pi.c" <<-'END'
		#define _GNU_SOURCE
		#include <pthread.h>
		#include <sys/mman.h>
		static void *locks(void *mutex) { return pthread_mutex_lock(mutex) ? mutex : 0; }
		int main(void)
		{
			pthread_mutexattr_t a;
			pthread_t t;
			pthread_mutex_t *m = mmap(0, 4096, PROT_READ | PROT_WRITE,
			                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
			pthread_mutexattr_init(&a);
			pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
			pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
			if (pthread_mutex_init(m, &a) || pthread_mutex_lock(m))
				return 1;
			return pthread_create(&t, 0, locks, m) || pthread_join(t, 0);
		}
	END
	"${CC:-cc}" -O1 -o "$temp/shared_pi" "$temp/shared_pi.c" -pthread || return 1
	says 134 'inherits priority is refused, since processes share it' "$run" "$temp/shared_pi"
}

# Traced, a program with threads and a child ends as it does natively.
test_traced() {
	local mode
	if ! command -v gdb >/dev/null || ! command -v strace >/dev/null; then
		echo 'needs gdb and strace'
		return 77
	fi
	cat >"$temp/traced.c" <<-'END'
		#include <pthread.h>
		#include <stdlib.h>
		#include <unistd.h>
		static void *waits(void *unused) { return usleep(20000), unused; }
		int main(int argc, char **argv)
		{
			pthread_t t[20];
			for (int i = 0; i < 20; i++)
				pthread_create(&t[i], 0, waits, 0);
			for (int i = 0; i < 20; i++)
				pthread_join(t[i], 0);
			return argc > 1 || (argv[0] && system("exit 3") >> 8 == 3) ? 7 : 1;
		}
	END
	"${CC:-cc}" -o "$temp/traced" "$temp/traced.c" -pthread || return 1
	if ! strace -o /dev/null true 2>/dev/null; then
		echo 'ptrace is not permitted'
		return 77
	fi
	# Without another program: at a vfork gdb loses it now and then (greenrun(1)).
	for mode in auto patch dispatch; do
		says 7 '' strace -f -o /dev/null "$run" --intercept $mode "$temp/traced" &&
			says 0 'exited with code 07' gdb -nx -q -batch -ex 'set debuginfod enabled off' \
				-ex 'source tools/gdb/libgreen-gdb.py' -ex 'set startup-with-shell off' -ex run \
				--args "$run" --intercept $mode "$temp/traced" alone || return 1
	done
}

# The call paths of threads whose stacks libc has made.
test_debugged() {
	if ! command -v gdb >/dev/null || ! strace -o /dev/null true 2>/dev/null; then
		echo 'needs gdb, and ptrace permitted'
		return 77
	fi
	cat >"$temp/debugged.c" <<-'END'
		#include <pthread.h>
		#include <unistd.h>
		static _Atomic int waiting;
		static void *waits_here(void *unused) { return waiting++, pause(), unused; }
		__attribute__((noinline)) void all_wait(void) { __asm__(""); }
		int main(void)
		{
			pthread_t t;
			for (int i = 0; i < 3; i++)
				pthread_create(&t, 0, waits_here, 0);
			while (waiting < 3)
				usleep(1000);
			usleep(50000);
			all_wait();
			return 0;
		}
	END
	"${CC:-cc}" -O1 -o "$temp/debugged" "$temp/debugged.c" -pthread || return 1
	timeout 60 gdb -nx -q -batch -ex 'set debuginfod enabled off' \
		-ex 'source tools/gdb/libgreen-gdb.py' -ex 'set startup-with-shell off' \
		-ex 'set breakpoint pending on' -ex 'break all_wait' -ex run \
		-ex 'green-thread all bt' --args "$run" --workers 1 "$temp/debugged" \
		>"$temp/gdb" 2>&1 </dev/null
	equal 'threads whose path leads to where they wait' 3 \
		"$(grep -c 'in waits_here ()' "$temp/gdb")" || { tail -n 40 "$temp/gdb"; return 1; }
}

check usage test_usage
check finds test_finds
check arguments_and_environment test_arguments_and_environment
check refuses_static test_refuses_static
check refuses_other_libcs test_refuses_other_libcs
check refuses_go test_refuses_go
check refuses_other_machines test_refuses_other_machines
check refuses_setuid test_refuses_setuid
check follows_scripts test_follows_scripts
check report test_report
check environment test_environment
check signals_at_start test_signals_at_start
check audit test_audit
check stack test_stack
check without_threads test_without_threads
check before_the_first_thread test_before_the_first_thread
check debugged test_debugged
check conform_alone test_conform_alone
check no_room test_no_room
check own_green_threads test_own_green_threads
check refuses_shared_pi test_refuses_shared_pi
check traced test_traced

# ---- conformance ---------------------------------------------------------------

# The lines of all checks of a program, but for those in $left_out, into file $2, whatever
# ends it on the way: what came after the last line is what ended it, and the rest goes on
# behind that.
left_out=
results() {
	local program=$1 file=$2 after='' status next
	shift 2
	# shellcheck disable=SC2086 # a list
	"$program" --list | grep -vxF "$(printf '%s\n' $left_out)" >"$temp/list"
	: >"$file"
	while :; do
		# shellcheck disable=SC2046,SC2086 # words or none
		timeout -s KILL "$limit" "$@" "$program" ${after:+--after $after} \
			${left_out:+$(<"$temp/list")} >"$temp/part" 2>"$temp/complaints" </dev/null
		status=$?
		grep -E '^(ok|not ok|SKIP:) ' "$temp/part" >>"$file"
		after=$(tail -n 1 "$file" | sed -E 's/^(ok|not ok|SKIP:) ([a-z0-9_]*).*/\2/')
		next=$(awk -v last="$after" 'go { print; exit } $0 == last { go = 1 }
			last == "" { print; exit }' "$temp/list")
		[ -n "$next" ] || return 0
		echo "not ok $next: status $status: $(tail -n 1 "$temp/complaints")" >>"$file"
		after=$next
	done
}

# What runs until another thread does something, which --serial never lets it do: there is no
# preemption.
computing='cancel_asynchronous signal_to_a_computing_thread thread_spins_for_another
	spin_held_by_a_sleeper fork_while_others_use_malloc calls_let_others_run'

# compared NATIVE FOUND: every check that passes in the one, and was not left out, passes in
# the other.
compared() {
	local name line bad=0
	while read -r _ name; do
		[[ " ${left_out//[[:space:]]/ } " != *" $name "* ]] || continue
		line=$(grep -E "^(ok|not ok|SKIP:) $name(:|$)" "$2")
		[ "$line" != "ok $name" ] || continue
		echo "${line:-no result of $name}"
		bad=1
	done < <(grep '^ok ' "$1")
	return $bad
}

conforms() {
	results "$build/tests/$1" "$temp/found" "${@:2}"
	compared "$temp/native_$1" "$temp/found"
}

if [ -n "${GREENRUN:-}" ]; then
	summary
	exit
fi
limit=${CONFORM_LIMIT:-120}
for program in conform conform_cxx conform_openmp; do
	label=$program
	if ! [ -x "$build/tests/$program" ]; then
		skip everything 'it was not built: no compiler for it'
		continue
	fi
	results "$build/tests/$program" "$temp/native_$program"
	natively=$(grep -c '^ok ' "$temp/native_$program")
	remark "$natively checks pass natively"
	grep -v '^ok ' "$temp/native_$program" | while read -r line; do remark "natively $line"; done
	while read -r mode workers engine; do
		label="$program $mode $workers $engine"
		# libgomp makes its system calls itself, where only dispatch sees them.
		if [ "$program $mode" = 'conform_openmp patch' ]; then
			skip everything 'OpenMP needs dispatch'
		elif ! engine_there "$engine"; then
			skip everything 'the kernel refuses io_uring'
		else
			check "$natively checks" conforms "$program" "$run" --intercept "$mode" \
				--workers "$workers" --engine "$engine"
		fi
	done < <(interceptions "${CONFORM:-}")
	label="$program serial"
	left_out=$computing
	check "$natively checks, but those that need preemption" conforms "$program" "$run" --serial
	left_out=
	label="$program lean"
	check "$natively checks" conforms "$program" "$run" --lean --workers 2
	label="$program on an older CPU"
	check "$natively checks" conforms "$program" env GREEN_FEATURES=-xsavec "$run" --workers 2
done
label=
summary
