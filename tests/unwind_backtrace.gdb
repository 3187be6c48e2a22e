# SPDX-License-Identifier: MIT
#
# For test_unwind.c: the backtrace of a green thread.
set pagination off
set confirm off
set breakpoint pending on
handle SIGUSR1 nostop noprint pass
break unwind_stop
run
backtrace
kill
