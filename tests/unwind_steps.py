# SPDX-License-Identifier: MIT
#
# For test_unwind.c: single-steps through the switch and unwinds at each
# instruction.  The walk must end in a function that has no caller (the first
# code of a green thread, or of an OS thread), not in the middle of nowhere.
import gdb

ENDS = {"switch_boot", "_start", "clone", "__clone", "clone3", "__clone3", "start_thread"}
WATCHED = {"switch_stacks", "switch_boot", "switch_landing", "switch_full"}
steps = {}
bad = []


def walk():
    names = []
    frame = gdb.newest_frame()
    while frame is not None and len(names) < 60:
        names.append(frame.name() or "??")
        frame = frame.older()
    return names


def check():
    name = gdb.newest_frame().name()
    names = walk()
    steps[name] = steps.get(name, 0) + 1
    if names[-1] not in ENDS or "??" in names:
        bad.append("%s+%#x: %s" % (name, gdb.selected_frame().pc(), " < ".join(names)))


def step_through(limit):
    """Steps as long as the program is in the switch."""
    for _ in range(limit):
        if gdb.newest_frame().name() not in WATCHED:
            return
        check()
        gdb.execute("stepi", to_string=True)


def commands():
    for line in ("set pagination off", "set confirm off", "set breakpoint pending on",
                 "handle SIGUSR1 nostop noprint pass", "set disable-randomization on"):
        gdb.execute(line, to_string=True)
    for name in sorted(WATCHED):
        gdb.execute("break *%s" % name, to_string=True)
    gdb.execute("run", to_string=True)
    stops = 0
    while stops < 400 and gdb.selected_inferior().pid:
        stops += 1
        step_through(200)
        gdb.execute("continue", to_string=True)


try:
    commands()
except gdb.error as error:
    if gdb.selected_inferior().pid:
        print("error: %s" % error)
        bad.append(str(error))
for name in sorted(steps):
    print("%s: %d steps" % (name, steps[name]))
for line in bad[:20]:
    print("bad: %s" % line)
print("all steps unwound" if steps and not bad else "%d steps not unwound" % len(bad))
if gdb.selected_inferior().pid:
    gdb.execute("kill", to_string=True)
