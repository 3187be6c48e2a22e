# SPDX-License-Identifier: MIT
#
# gdb commands for the green threads of a libgreen program, live or in a core file:
#
#     info green-threads          lists them
#     green-thread ID             selects one: backtrace, up, down, info locals … show it
#     green-thread ID bt [ARGS]   prints its backtrace
#     green-thread                goes back to the OS thread
#
# Reads the descriptor in the ELF note .note.libgreen (runtime/descriptor.h), no debug
# information, and runs no code in the program.  Installed where gdb finds it by itself
# when the library lies below /usr; otherwise: source libgreen-gdb.py
import re
import struct

import gdb
from gdb.unwinder import Unwinder, register_unwinder

FORMAT_VERSION = 1
DWARF_REGISTERS = ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10",
                   "r11", "r12", "r13", "r14", "r15", "rip"]


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def number(raw, signed=False):
    return int.from_bytes(raw, "little", signed=signed)


def text(raw):
    return raw.split(b"\0")[0].decode("utf-8", "replace")


def printable(name):
    """For terminals: names come from the program."""
    return "".join(c if c.isprintable() else "\\x%02x" % ord(c) for c in name)


class Layout:
    """Where the program's runtime keeps what."""

    def __init__(self):
        self.items = {}
        self.names = {"state": {}, "why": {}}
        for note in self.notes():
            if self.load(note):
                return
        raise gdb.GdbError("This is not a libgreen program, or its files are missing "
                           "(\"file\" and \"set sysroot\" tell gdb where they are).")

    @staticmethod
    def notes():
        files = gdb.execute("info files", to_string=True)
        for match in re.finditer(r"0x([0-9a-f]+) - 0x([0-9a-f]+) is \.note\.libgreen", files):
            yield int(match.group(1), 16)

    def load(self, note):
        name_size, _, _ = struct.unpack("<III", read(note, 12))
        at = note + 12 + (name_size + 3) // 4 * 4
        version, distance = struct.unpack("<Iq", read(at, 12))
        if version != FORMAT_VERSION:
            raise gdb.GdbError("The program's libgreen has a descriptor of version %d, this "
                               "script knows %d: use the one that came with it."
                               % (version, FORMAT_VERSION))
        at += 4 + distance
        magic, _, header, count, size, library = struct.unpack("<8s4I16s", read(at, 40))
        if magic != b"green\n\x1a\0":
            return False
        self.library = text(library)
        items = read(at + header, count * size)
        for i in range(count):
            name, value, width = struct.unpack_from("<24sQQ", items, i * size)
            self.keep(text(name), value, width)
        state = self.get(self.read("runtime", self.items["rt"][0]), "runtime.state")
        return state in (self["runtime:ready"], self["runtime:running"])

    def keep(self, name, value, size):
        self.items[name] = (value, size)
        kind, colon, rest = name.partition(":")
        if colon and kind in self.names:
            self.names[kind][value] = rest

    def __getitem__(self, name):
        return self.items[name][0]

    def read(self, struct_name, address):
        return read(address, self.items[struct_name][1])

    def get(self, raw, field, signed=False):
        offset, size = self.items[field]
        return number(raw[offset:offset + size], signed)

    def peek(self, address, field):
        """A field of a struct in memory; None if it cannot be read."""
        offset, size = self.items[field]
        try:
            return number(read(address + offset, size))
        except gdb.error:
            return None


class Thread:
    """A green thread."""

    def __init__(self, layout, address, index, raw):
        self.layout = layout
        self.address = address
        self.flags = layout.get(raw, "gt.id")
        self.id = self.flags >> layout["GT_INDEX_BITS"] << layout["GT_INDEX_BITS"] | index
        for field in ("sp", "park", "stack", "worker", "state", "why", "wait_obj", "wait_pc",
                      "since_ns", "ext", "fn", "spawn_pc"):
            setattr(self, field, layout.get(raw, "gt." + field))

    def state_name(self):
        return self.layout.names["state"].get(self.state, "?")

    def is_parked(self):
        return self.state == self.layout["state:parked"]

    def is_foreign(self):
        return bool(self.flags & self.layout["GT_FOREIGN"])

    def name(self):
        offset, size = self.layout.items["gt_ext.name"]
        try:
            name = text(read(self.ext + offset, size)) if self.ext else ""
        except gdb.error:
            name = ""
        if name:
            return '"%s"' % printable(name)
        return "(OS thread)" if self.is_foreign() else symbol(self.fn)

    def waits_on(self, table):
        layout = self.layout
        if not self.is_parked():
            return ""
        why = layout.names["why"].get(self.why, "?")
        if why == "io" and self.wait_obj:
            fd = layout.peek(self.wait_obj, "io_op.fd")
            return "io" if fd is None else "io on descriptor %d" % fd
        if why == "close":
            return "close of descriptor %d" % self.wait_obj
        if why == "join" and self.wait_obj:
            index = (self.wait_obj - table) // layout.items["gt"][1]
            flags = layout.peek(self.wait_obj, "gt.id") or 0
            return "join of %d" % (flags >> layout["GT_INDEX_BITS"] << layout["GT_INDEX_BITS"]
                                   | index)
        if why == "mutex" and self.wait_obj:
            owner = layout.peek(self.wait_obj, "green_mutex.owner")
            return "mutex 0x%x%s" % (self.wait_obj, " of %d" % owner if owner else "")
        return "%s 0x%x" % (why, self.wait_obj) if self.wait_obj else why

    def registers(self):
        """Those of the call that parked it, from its saved context."""
        layout = self.layout
        context = read(self.sp, layout.items["frame"][1])
        values = {"rip": layout.get(context, "frame.pc"),
                  DWARF_REGISTERS[layout["frame.sp_number"]]: self.sp + len(context)}
        for i, name in enumerate(DWARF_REGISTERS):
            if "frame.reg%d" % i in layout.items:
                values[name] = layout.get(context, "frame.reg%d" % i)
        return values


def symbol(address):
    """function+offset"""
    said = gdb.execute("info symbol %d" % address, to_string=True)
    if said.startswith("No symbol"):
        return "0x%x" % address
    return re.sub(r" in section .*| \+ ", lambda m: "+" if m.group(0) == " + " else "",
                  said).strip()


def place(address):
    return symbol(address - 1) if address else "?"


class Runtime:
    def __init__(self):
        if gdb.selected_inferior().pid == 0:
            raise gdb.GdbError("There is no process and no core file.")
        self.layout = layout = Layout()
        self.table = number(read(layout["gt_table"], 8))
        rt = layout["rt"]
        count = layout.peek(rt, "runtime.workers_count")
        self.workers = {}
        for i in range(count):
            worker = number(read(rt + layout["runtime.workers"] + 8 * i, 8))
            raw = layout.read("worker", worker)
            self.workers[layout.get(raw, "worker.current")] = layout.get(raw, "worker.tid")

    def threads(self):
        layout = self.layout
        high = number(read(layout["gt_table_high"], layout.items["gt_table_high"][1]))
        size = layout.items["gt"][1]
        for first in range(1, high, 4096):
            count = min(4096, high - first)
            block = read(self.table + first * size, count * size)
            for i in range(count):
                raw = block[i * size:(i + 1) * size]
                thread = Thread(layout, self.table + (first + i) * size, first + i, raw)
                if thread.flags & layout["GT_LIVE"] and (
                        not thread.is_foreign() or thread.is_parked()):
                    yield thread

    def find(self, ident):
        layout = self.layout
        index = ident & ((1 << layout["GT_INDEX_BITS"]) - 1)
        high = number(read(layout["gt_table_high"], layout.items["gt_table_high"][1]))
        if 0 < index < high:
            address = self.table + index * layout.items["gt"][1]
            thread = Thread(layout, address, index, layout.read("gt", address))
            if thread.id == ident and thread.flags & layout["GT_LIVE"]:
                return thread
        raise gdb.GdbError("There is no green thread %d; \"info green-threads\" lists them."
                           % ident)

    def is_saved(self, thread):
        if thread.is_foreign() or not thread.stack or thread.address in self.workers:
            return False
        if thread.is_parked():
            return bool(thread.park & self.layout["PARK_SAVED"])
        return thread.state == self.layout["state:ready"]


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class GreenUnwinder(Unwinder):
    """While a green thread is selected, the caller of the OS thread's innermost frame
    is the call that parked the green thread.  Nothing is written to registers, so that
    this works in core files, too."""

    def __init__(self):
        super().__init__("libgreen")
        self.values = None
        self.at = None

    def __call__(self, pending):
        if self.values is None:
            return None
        at = int(pending.read_register("rsp")), int(pending.read_register("rip"))
        if at != self.at:
            return None
        # An id below the green stack: gdb wants callers to lie higher.
        info = pending.create_unwind_info(
            FrameId(gdb.Value(self.values["rsp"] - 128), gdb.Value(at[1])))
        for name, value in self.values.items():
            register = pending.read_register(name)
            info.add_saved_register(name, gdb.Value(value).cast(register.type))
        return info

    def select(self, values):
        self.values = None
        gdb.invalidate_cached_frames()
        if values:
            newest = gdb.newest_frame()
            self.at = int(newest.read_register("rsp")), int(newest.read_register("rip"))
            self.values = values
            gdb.invalidate_cached_frames()

    def has_selected(self):
        return self.values is not None


class InfoGreenThreads(gdb.Command):
    """List the green threads of a libgreen program: id, state, name, what each waits on,
the OS thread of its worker while it runs, and who spawned it."""

    def __init__(self):
        super().__init__("info green-threads", gdb.COMMAND_STATUS)

    def invoke(self, arg, from_tty):
        runtime = Runtime()
        print("%-12s %-8s %-24s %-36s %-8s %s"
              % ("ID", "STATE", "NAME", "WAITS ON", "RUNS ON", "SPAWNED AT"))
        for thread in runtime.threads():
            runs_on = runtime.workers.get(thread.address)
            state = "running" if runs_on else thread.state_name()
            print("%-12d %-8s %-24s %-36s %-8s %s"
                  % (thread.id, state, thread.name(), thread.waits_on(runtime.table),
                     runs_on or "", "" if thread.is_foreign() else place(thread.spawn_pc)))


class GreenThread(gdb.Command):
    """Look at the stack of a green thread.
green-thread ID: select it; the frames from 1 on are its own, frame 0 is that of the OS thread.
green-thread ID bt [ARGS]: print its backtrace.
green-thread: go back to the OS thread."""

    def __init__(self):
        super().__init__("green-thread", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        words = arg.split(None, 2)
        unwinder.select(None)
        if not words:
            return
        try:
            ident = int(words[0], 0)
        except ValueError:
            raise gdb.GdbError("green-thread: \"%s\" is not an id" % words[0])
        if len(words) > 1 and words[1] not in ("bt", "backtrace", "where"):
            raise gdb.GdbError("green-thread: after the id comes \"bt\" or nothing")
        runtime = Runtime()
        thread = runtime.find(ident)
        if thread.address in runtime.workers:
            self.go_to(runtime.workers[thread.address])
            if len(words) > 1:
                gdb.execute("bt " + (words[2] if len(words) > 2 else ""))
            return
        if not runtime.is_saved(thread):
            raise gdb.GdbError("green-thread: %d is %s and has no saved stack"
                               % (ident, thread.state_name()))
        values = thread.registers()
        if not values["rip"]:
            raise gdb.GdbError("green-thread: the stack of %d is not in this core file (gdb's "
                               "gcore cannot read past guards; the kernel's cores are whole)"
                               % ident)
        unwinder.select(values)
        if len(words) > 1:
            try:
                self.backtrace(words[2] if len(words) > 2 else "")
            finally:
                unwinder.select(None)
        else:
            gdb.execute("frame 1")

    @staticmethod
    def backtrace(arguments):
        """As bt does, without the frame of the OS thread."""
        arguments = re.sub(r"(?<!\S)\d+", lambda m: str(int(m.group(0)) + 1), arguments)
        said = gdb.execute("bt " + arguments, to_string=True)
        for line in said.splitlines():
            match = re.match(r"#(\d+)( *)(.*)", line)
            if not match:
                print(line)
            elif match.group(1) != "0":
                print("#%-3d%s" % (int(match.group(1)) - 1, match.group(3)))

    @staticmethod
    def go_to(tid):
        for thread in gdb.selected_inferior().threads():
            if tid in thread.ptid:
                thread.switch()
                return
        raise gdb.GdbError("green-thread: gdb does not know its OS thread %d" % tid)


if not hasattr(gdb, "libgreen_unwinder"):
    gdb.libgreen_unwinder = GreenUnwinder()
    register_unwinder(None, gdb.libgreen_unwinder, replace=True)
    gdb.events.cont.connect(lambda event: gdb.libgreen_unwinder.select(None))
    InfoGreenThreads()
    GreenThread()
unwinder = gdb.libgreen_unwinder
