#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Shows that a newcomer's two commands work on a bare Debian or Ubuntu: makes such
# a system in a directory with debootstrap, clones this repository into it, and
# runs `make demo` and `make check` there.  Needs root, about 3 GB and, for make
# check, up to half an hour.
#
#   tests/bootstrap/fresh.sh [OPTION...] DIRECTORY [MIRROR]
#
# --release R  bookworm (default), jammy or noble
# --user       as an unprivileged user with sudo, instead of as root
# --epoll      with io_uring switched off in the kernel while it runs
# --demo-only  leaves out make check
# --keep       leaves the system there; a later run goes on from it
# DIRECTORY    outside the repository; holds the new system
# MIRROR       where packages come from; else as debootstrap chooses
#
# The new system uses this machine's proxy variables, and a Debian one its apt
# configuration.  Without the keyring of Ubuntu (package ubuntu-keyring) the first
# packages of an Ubuntu are not authenticated; a line says so.
set -euo pipefail

user=root
release=bookworm
epoll=
demo_only=
keep=
while [ $# -gt 0 ]; do
	case $1 in
	--release) release=${2:-}; shift ;;
	--user) user=newcomer ;;
	--epoll) epoll=1 ;;
	--demo-only) demo_only=1 ;;
	--keep) keep=1 ;;
	-*) sed -n '/^#   tests/,/^# MIRROR/s/^# *//p' "$0" >&2; exit 2 ;;
	*) break ;;
	esac
	shift
done
[ $# -ge 1 ] || { echo "usage: $0 [OPTION...] DIRECTORY [MIRROR] (see its first lines)" >&2; exit 2; }
case $release in
bookworm | jammy | noble) ;;
*) echo "$0: --release: give bookworm, jammy or noble, not '$release'" >&2; exit 2 ;;
esac
[ "$(id -u)" -eq 0 ] || { echo 'needs root' >&2; exit 1; }
repository=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
root=$(cd "$1" && pwd)
mirror=${2:-}
case $root/ in "$repository"/*) echo "$root lies in the repository" >&2; exit 1 ;; esac

uring_setting=
clean_up() {
	[ -z "$uring_setting" ] || sysctl -q kernel.io_uring_disabled="$uring_setting"
	for mounted in dev/shm dev/pts dev sys proc; do
		if mountpoint -q "$root/$mounted"; then
			umount "$root/$mounted"
		fi
	done
	# One file system only: should an unmount have failed, nothing of the host is removed.
	[ -n "$keep" ] || rm -rf --one-file-system "$root"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---- the bare system -------------------------------------------------------------

# All releases of Ubuntu are made alike; older debootstraps do not know the newer ones.
make_ubuntu() {
	local keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg check
	mirror=${mirror:-http://archive.ubuntu.com/ubuntu}
	check=--keyring=$keyring
	if ! [ -e $keyring ]; then
		check=--no-check-gpg
		echo "no $keyring: the first packages are not authenticated"
	fi
	debootstrap $check --variant=minbase --components=main,universe \
		--include=git,make,ca-certificates "$release" "$root" "$mirror" \
		/usr/share/debootstrap/scripts/gutsy
	printf 'deb %s %s main universe\n' "$mirror" "$release" "$mirror" "$release-updates" \
		>"$root/etc/apt/sources.list"
}

if ! [ -x "$root/usr/bin/make" ]; then
	if [ "$release" = bookworm ]; then
		debootstrap --variant=minbase --include=git,make,ca-certificates bookworm "$root" \
			${mirror:+"$mirror"}
	else
		make_ubuntu
	fi
fi

# The same package sources, settings, keys and certificates as here.
copy() {
	local path
	for path in "$@"; do
		[ -e "$path" ] || continue
		mkdir -p "$root$(dirname "$path")"
		cp -rL --remove-destination "$path" "$root$(dirname "$path")/"
	done
}
copy /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt
if [ "$release" = bookworm ]; then
	rm -f "$root/etc/apt/sources.list"
	copy /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf /etc/apt/apt.conf.d \
		/etc/apt/auth.conf.d /etc/apt/keyrings /etc/apt/trusted.gpg.d \
		/etc/apt/preferences.d
fi
for hook in "$root"/etc/apt/apt.conf.d/*; do
	# Settings that run programs of this machine have no place there.
	if grep -qE '(Pre|Post)-Invoke|Pre-Install' "$hook"; then rm "$hook"; fi
done

mount -t proc proc "$root/proc"
mount --bind /sys "$root/sys"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"

inside() {
	env -i HOME="$home" USER="$user" TERM=dumb LANG=C.UTF-8 \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
		chroot ${1:+--userspec="$1"} "$root" /bin/sh -ec "$2"
}

# ---- what the newcomer does ------------------------------------------------------

home=/root
as=
if [ "$user" != root ]; then
	home=/home/$user
	inside '' "apt-get -q update && apt-get -qy install --no-install-recommends sudo &&
		{ id $user 2>/dev/null || useradd -m $user; } &&
		echo '$user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/$user" >/dev/null
	as=$user:$user
fi

# Bundled, because a clone needs no access to the directories of this machine then.
git -C "$repository" bundle create -q "$root/tmp/libgreen.bundle" --branches HEAD
chmod 644 "$root/tmp/libgreen.bundle"

if [ -n "$epoll" ]; then
	uring_setting=$(sysctl -n kernel.io_uring_disabled)
	sysctl -q kernel.io_uring_disabled=2
fi

inside "$as" "cd && rm -rf libgreen && git clone -q /tmp/libgreen.bundle libgreen"
echo "== make demo, as $user"
SECONDS=0
inside "$as" "cd && cd libgreen && make demo" </dev/null
echo "== make demo: passed, $SECONDS s"
if [ -z "$demo_only" ]; then
	echo "== make check, as $user"
	SECONDS=0
	inside "$as" "cd && cd libgreen && make check" </dev/null
	echo "== make check: passed, $SECONDS s"
fi
