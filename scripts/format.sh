#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that the sources are as .clang-format says; --write makes them so.
set -u
cd "$(dirname "$0")/.." || exit 1

# Other versions of clang-format disagree about details.
for format in clang-format-14 clang-format; do
	case $($format --version 2>/dev/null) in
	*' 14.'*) break ;;
	*) format= ;;
	esac
done
if [ -z "$format" ]; then
	echo 'SKIP: format: clang-format 14 is not installed'
	exit 77
fi

case ${1:-} in
--write) set -- -i ;;
*) set -- --dry-run -Werror ;;
esac
find . -path ./build -prune -o -name '*.[ch]' -exec "$format" "$@" {} +
