#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# greentrace as an ordinary user, with capabilities one after the other, on processes of that
# user, of another and of root: what works, and that what does not is said with what is
# missing and how to grant it.  BUILD names the build directory.
set -u
cd "$(dirname "$0")/../.." || exit 2
# shellcheck source=tests/e2e/common.bash
. tests/e2e/common.bash
greentrace=${GREENTRACE:-$build/greentrace}
export DEBUGINFOD_URLS='' GREEN_WORKERS=2
mine=65534 others=65533

if ! [ -x "$greentrace" ]; then
	skip greentrace 'not built, for lack of libbpf-dev, libdw-dev, bpftool or clang'
	exit 77
fi
if ! setpriv --reuid $mine --regid $mine --clear-groups --inh-caps=-all,+bpf --ambient-caps=-all,+bpf \
	true 2>/dev/null; then
	skip rights 'users and capabilities cannot be changed here'
	exit 77
fi

# What greentrace is run by, to find another machine than this one: a command and its
# arguments.
apart=()

# with CAPABILITIES ARGUMENT...: greentrace as a user who has these; output in $temp/said.
with() {
	local set=-all,$1
	[ -n "$1" ] || set=-all
	timeout -s KILL 60 "${apart[@]}" setpriv --reuid $mine --regid $mine --clear-groups --inh-caps="$set" \
		--ambient-caps="$set" "$temp/greentrace" "${@:2}" >"$temp/said" 2>&1 </dev/null
}

# expect STATUS PATTERN CAPABILITIES ARGUMENT...
expect() {
	local status
	with "${@:3}"
	status=$?
	equal "with '$3': ${*:4}: exit status" "$1" $status || { cat "$temp/said"; return 1; }
	has "with '$3': ${*:4}" "$2" "$temp/said"
}

# serve USER [SETPRIV-OPTION...]: a program of that user; its pid in $pid.
serve() {
	: >"$temp/ready"
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}" "$temp/traced" serve <&4 \
		>"$temp/ready" 2>&1 3>&- &
	pid=$!
	children[$pid]=1
	until grep -q '^ready' "$temp/ready"; do sleep 0.02; done
}

table='sleep +busy \(traced.c:[0-9]+\)$'
"$greentrace" check | grep -q 'libbpf 1\.[012]$' && old=1 || old=
# What a probe takes with this libbpf.
probes=+bpf,+perfmon${old:+,+sys_admin}

test_nobody() {
	expect 2 '^Missing: CAP_BPF, CAP_PERFMON' '' check || return 1
	has 'how to grant it' 'sudo setcap cap_bpf,cap_perfmon' "$temp/said" || return 1
	serve $mine
	expect 2 "cannot attach .*: it takes root, or CAP_BPF, CAP_PERFMON" '' -c -d 0.3 -p $pid
}

# Without any right: what the runtime wrote down.
test_flight() {
	local i
	serve $mine
	for ((i = 0; i < 100; i++)); do
		with '' flight -n 5 -p $pid
		grep -qE "$table" "$temp/said" && return
		sleep 0.05
	done
	cat "$temp/said"
	return 1
}

test_bpf_only() {
	expect 2 '^Missing: CAP_PERFMON' +bpf check || return 1
	serve $mine
	expect 2 'it takes root, or CAP_PERFMON' +bpf -c -d 0.3 -p $pid || return 1
	[ -n "$old" ] || return 0
	has 'what the old libbpf takes' 'or CAP_PERFMON, CAP_SYS_ADMIN .this libbpf is older than 1.3' \
		"$temp/said" || return 1
	with +bpf check
	has 'how to grant it' 'sudo setcap cap_bpf,cap_perfmon,.*,cap_sys_admin\+ep' "$temp/said"
}

# From libbpf 1.3 on that is enough.
test_bpf_and_perfmon() {
	if [ -z "$old" ]; then
		expect 0 '^switch points +yes' +bpf,+perfmon check
		return
	fi
	expect 1 '^switch points +no: it takes root, or CAP_SYS_ADMIN .this libbpf is older' \
		+bpf,+perfmon check || return 1
	has 'the kernel views' '^workers that block or wait for a CPU +yes' "$temp/said" || return 1
	has 'samples' '^green threads that do not switch +yes' "$temp/said"
}

test_own() {
	serve $mine
	expect 0 "$table" "$probes" -c -k --blocked 50 --hog 100 --runq -d 0.5 -p $pid
}

test_of_others() {
	serve $others
	expect 2 "not allowed: it belongs to user $others .* or with CAP_SYS_PTRACE" "$probes" \
		-c -d 0.3 -p $pid || return 1
	expect 2 "not allowed: it belongs to user $others" '' flight -p $pid || return 1
	expect 0 'busy .traced.c:' +sys_ptrace flight -p $pid || return 1
	expect 0 "$table" "$probes,+sys_ptrace" -c -k -d 0.5 -p $pid
}

test_of_root() {
	serve 0
	expect 2 'not allowed: it belongs to user 0 ' "$probes" -c -d 0.3 -p $pid
}

# Root in a container that has not been given the right.
test_root_without_ptrace() {
	serve $mine
	setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace "$temp/greentrace" -c -d 0.3 \
		-p $pid >"$temp/said" 2>&1 </dev/null
	equal 'exit status' 2 $? || { cat "$temp/said"; return 1; }
	has 'what is missing' 'although you are root: this container lacks CAP_SYS_PTRACE' "$temp/said"
}

# A process of the same user that may not be read: here because it has a capability more.
# What Yama says of it is put in its place.
test_yama() {
	local scope
	serve $mine --inh-caps=-all,+net_raw --ambient-caps=-all,+net_raw
	expect 2 "it belongs to user $mine or has more rights than you" '' flight -p $pid || return 1
	for scope in 1 2; do
		yama $scope
		expect 2 "ptrace_scope is $scope; run it as root .*or with CAP_SYS_PTRACE, or let the program call prctl" \
			'' flight -p $pid || return 1
		expect 0 'busy .traced.c:' +sys_ptrace flight -p $pid || return 1
	done
	serve 0
	yama 3
	expect 2 'ptrace_scope is 3, which lets nobody .* core file instead' '' flight -p $pid
}
yama() {
	# shellcheck disable=SC2016 # for the other shell
	apart=(unshare -m bash -c 'mount -t tmpfs none /proc/sys/kernel && cd /proc/sys/kernel &&
		mkdir yama && echo "$0" >yama/ptrace_scope && exec "$@"' "$1")
}

# A kernel without type information: probes and samples do without.
test_no_btf() {
	# shellcheck disable=SC2016 # for the other shell
	apart=(unshare -m bash -c 'mount -t tmpfs none /sys/kernel/btf && exec "$@"' -)
	expect 1 '^workers that block or wait for a CPU +no: this kernel has no BTF' "$probes" check ||
		return 1
	has 'switch points' '^switch points +yes' "$temp/said" || return 1
	has 'samples' '^green threads that do not switch +yes' "$temp/said" || return 1
	has 'why' 'CONFIG_DEBUG_INFO_BTF, and no right can replace that' "$temp/said" || return 1
	serve $mine
	expect 0 'this kernel has no BTF .*: workers that block or wait for a CPU are not seen' "$probes" \
		-c -k --blocked 50 --hog 100 --runq -d 0.5 -p $pid || return 1
	has 'the table' "$table" "$temp/said"
}

chmod 755 "$temp"
cp "$greentrace" "$temp/greentrace"
compile traced tests/e2e/traced.c "${archive[@]}"
mkfifo "$temp/input"
exec 4<>"$temp/input"
check nobody test_nobody
check flight test_flight
check bpf_only test_bpf_only
check bpf_and_perfmon test_bpf_and_perfmon
if "$greentrace" check >/dev/null; then
	check own test_own
	check of_others test_of_others
else
	skip own "$("$greentrace" check | grep -m1 ' no: ')"
fi
check of_root test_of_root
check root_without_ptrace test_root_without_ptrace
if unshare -m mount -t tmpfs none /proc/sys/kernel 2>/dev/null; then
	check yama test_yama
	if "$greentrace" check >/dev/null; then
		check no_btf test_no_btf
	else
		skip no_btf "$("$greentrace" check | grep -m1 ' no: ')"
	fi
else
	skip 'yama, no_btf' 'no file system can be mounted here'
fi
summary
