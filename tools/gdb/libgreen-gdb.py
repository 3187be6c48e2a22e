# SPDX-License-Identifier: MIT
#
# gdb commands for the green threads of a libgreen program, live or in a core file:
#
#     info green-threads          lists them
#     green-thread ID             selects one: backtrace, up, down, info locals … show it
#     green-thread ID bt [ARGS]   prints its backtrace
#     green-thread all bt [ARGS]  those of all
#     green-thread                goes back to the OS thread
#     green-gcore [FILE]          a core file that has all stacks and is no longer for it
#
# Reads the descriptor in the ELF note .note.libgreen (runtime/descriptor.h), no debug
# information, and runs no code in the program.  Installed where gdb finds it by itself
# when the library lies below /usr; otherwise: source libgreen-gdb.py
import atexit
import os
import re
import struct
import tempfile
from types import SimpleNamespace

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
        if "gt.kind" in layout.items and layout.get(raw, "gt.kind") & layout["GT_KIND_HANDLER"]:
            self.fn, self.spawn_pc = self.spawn_pc, 0  # of green_serve()
        elif self.ext and "gt_ext.user_fn" in layout.items:
            self.fn = layout.peek(self.ext, "gt_ext.user_fn") or self.fn
        self.is_lent = not self.stack >> layout["STACK_ID_SHIFT"]  # its stack: not in an arena

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

    def registers(self, context):
        """Those of the call that parked it, from its saved context."""
        layout = self.layout
        context = context[:layout.items["frame"][1]]
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


class Runtime:
    def __init__(self):
        if gdb.selected_inferior().pid == 0:
            raise gdb.GdbError("There is no process and no core file.")
        self.layout = layout = Layout()
        self.stacks = Stacks(layout)
        self.table = number(read(layout["gt_table"], 8))
        rt = layout["rt"]
        self.workers = {}
        for i in range(layout.peek(rt, "runtime.workers_count")):
            worker = number(read(rt + layout["runtime.workers"] + 8 * i, 8))
            raw = layout.read("worker", worker)
            self.workers[layout.get(raw, "worker.current")] = layout.get(raw, "worker.tid")

    def threads(self):
        layout = self.layout
        high = number(read(*layout.items["gt_table_high"]))
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
        high = number(read(*layout.items["gt_table_high"]))
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


def unpack(code, like, moved):
    """What pack() of stacks/pack.h was given: words, from the model's words."""
    words, recent, at = [], [], (len(like) + 3) // 4

    def difference():
        nonlocal at
        how, count = code[at], code[at] % 16
        if how >= 32:
            at += 1
            return recent[-1 - (how - 32)]
        value = number(code[at + 1:at + 1 + count], signed=True)
        at += 1 + count
        if how >= 16:
            return value - like[len(words)]
        recent.append(value)
        return value

    for i in range(len(like)):
        how = code[i // 4] >> i % 4 * 2 & 3
        add = (lambda: 0, lambda: moved, lambda: recent[-1], difference)[how]()
        words.append(like[i] + add & 0xffffffffffffffff)
    return words


class Stacks:
    """Where the stacks lie, and their bytes, also of those that hibernate."""

    def __init__(self, layout):
        self.layout = layout
        raw, step = read(*layout.items["arenas"]), layout.items["arena"][1]
        self.arenas = [raw[at:at + step] for at in range(0, len(raw), step)]
        self.sleeps = layout.items.get("PACK_FORMAT", (0, 0))[0] == 1  # absent where none can

    def slot(self, thread):
        """Its arena, number there, and the address where its frames begin."""
        layout = self.layout
        shift = layout["STACK_ID_SHIFT"]
        arena = self.arenas[(thread.stack >> shift) - 1]
        slot = thread.stack & (1 << shift) - 1
        end = layout.get(arena, "arena.base") + (slot + 1 << layout.get(arena, "arena.shift"))
        colour = slot * layout["STACK_COLOUR_FACTOR"] & layout["STACK_COLOUR_MASK"]
        return arena, slot, end - (colour << layout["STACK_COLOUR_SHIFT"])

    def word(self, thread):
        """The word of its slot and its entry in the slab."""
        layout = self.layout
        if not self.sleeps or thread.is_lent or thread.is_foreign():
            return 0, 0
        arena, slot, _ = self.slot(thread)
        size = layout.items["slot_sleep"][1]
        try:
            raw = read(layout.get(arena, "arena.sleep") + slot * size, size)
        except gdb.error:
            return 0, 0
        return layout.get(raw, "slot_sleep.word"), layout.get(raw, "slot_sleep.slab")

    def length(self, word):
        return word >> self.layout["SLOT_LENGTH_SHIFT"] & self.layout["SLOT_LENGTH_MASK"]

    def is_hibernated(self, thread):
        return self.sleeps and self.length(self.word(thread)[0]) > 0

    def packed(self, thread):
        """The bytes below its top that are in the slab; none: they are not."""
        layout = self.layout
        word, entry = self.word(thread)
        if not self.sleeps or not self.length(word):
            return b""
        count = self.length(word) // 8
        top, model = self.slot(thread)[2], word >> layout["SLOT_MODEL_SHIFT"]
        view = layout.read("hibernate_view", layout["hibernate_view"])
        at = layout.get(view, "hibernate_view.slab") + entry * layout["SLAB_UNIT"]
        size = (count + 3) // 4 + count * 9
        try:
            code = read(at, size)
        except gdb.error:  # it is shorter than the longest one
            code = read(at, min(size, 4096 - at % 4096))
        words = read(layout.get(view, "hibernate_view.words") +
                     model * layout["PACK_WORDS_MAX"] * 8, count * 8)
        model_top = layout.peek(layout.get(view, "hibernate_view.models") +
                                model * layout.items["pack_model"][1], "pack_model.top")
        words = unpack(code, struct.unpack("<%dQ" % count, words), top - model_top)
        return struct.pack("<%dQ" % count, *words)

    def read(self, thread):
        """Its bytes from the saved context up, and are they from the slab?  Nothing: they
        cannot be had.  No saved context begins with a page of zeroes."""
        size = self.layout.items["frame"][1] if thread.is_lent else self.slot(thread)[2] - thread.sp
        if not self.sleeps or self.word(thread)[0] & self.layout["SLOT_STATE_MASK"] != \
                self.layout["slot:hibernated"]:
            try:
                found = read(thread.sp, size)
                if self.layout.get(found, "frame.pc"):
                    return found, False
            except gdb.error:
                pass
        try:
            found = self.packed(thread)
        except (gdb.error, IndexError):  # of a damaged core file
            found = b""
        return (found, True) if len(found) == size else (b"", False)


class Overlay:
    """Bytes that gdb sees where the program has none: the only section of a symbol file,
    which gdb reads instead of memory, being told to trust read-only sections.  The
    program is not touched, and a core file need not have room for them."""

    def __init__(self):
        self.path = None
        # gdb may end while one is shown.
        atexit.register(lambda: self.path and os.unlink(self.path))

    @staticmethod
    def file(address, data):
        names = b"\0.green_stack\0.shstrtab\0"
        head, room = 64, (len(data) + 7) // 8 * 8
        section = struct.Struct("<IIQQQQIIQQ")
        table = head + room + (len(names) + 7) // 8 * 8
        # 62: EM_X86_64
        elf = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0, 0, table, 0,
                          head, 56, 0, section.size, 3, 2)
        return (elf + data.ljust(room, b"\0") + names.ljust(table - head - room, b"\0") +
                section.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0) +
                section.pack(1, 1, 2, address, head, len(data), 0, 0, 8, 0) +
                section.pack(14, 3, 0, 0, head + room, len(names), 0, 0, 1, 0))

    def show(self, address, data):
        self.hide()
        descriptor, self.path = tempfile.mkstemp(prefix="green-stack-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.file(address, data))
        self.trusted = gdb.parameter("trust-readonly-sections")
        gdb.execute("add-symbol-file %s -s .green_stack %d" % (self.path, address), to_string=True)
        gdb.execute("set trust-readonly-sections on")

    def hide(self):
        if not self.path:
            return
        path, self.path = self.path, None
        gdb.execute("set trust-readonly-sections " + ("on" if self.trusted else "off"))
        gdb.execute("remove-symbol-file %s" % path, to_string=True)
        os.unlink(path)


class GreenUnwinder(Unwinder):
    """While a green thread is selected, the caller of the OS thread's innermost frame
    is the call that parked the green thread.  Nothing is written to registers, so that
    this works in core files, too."""

    def __init__(self):
        super().__init__("libgreen")
        self.values = None
        self.at = None
        self.overlay = Overlay()

    def __call__(self, pending):
        if self.values is None:
            return None
        at = int(pending.read_register("rsp")), int(pending.read_register("rip"))
        if at != self.at:
            return None
        # An id below the green stack: gdb wants callers to lie higher.
        info = pending.create_unwind_info(
            SimpleNamespace(sp=gdb.Value(self.values["rsp"] - 128), pc=gdb.Value(at[1])))
        for name, value in self.values.items():
            register = pending.read_register(name)
            info.add_saved_register(name, gdb.Value(value).cast(register.type))
        return info

    def select(self, values, address=0, data=None):
        """data: what to see at that address."""
        self.values = None
        gdb.invalidate_cached_frames()
        self.overlay.hide()
        if data:
            self.overlay.show(address, data)
        if values:
            newest = gdb.newest_frame()
            self.at = int(newest.read_register("rsp")), int(newest.read_register("rip"))
            self.values = values
            gdb.invalidate_cached_frames()


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
            origin = "" if thread.is_foreign() else (
                symbol(thread.spawn_pc - 1) if thread.spawn_pc else "green_serve")
            print("%-12d %-8s %-24s %-36s %-8s %s%s"
                  % (thread.id, "running" if runs_on else thread.state_name(), thread.name(),
                     thread.waits_on(runtime.table), runs_on or "", origin,
                     ", hibernated" if runtime.stacks.is_hibernated(thread) else ""))


class GreenThread(gdb.Command):
    """Look at the stack of a green thread.
green-thread ID: select it; the frames from 1 on are its own, frame 0 is that of the OS thread.
green-thread ID bt [ARGS]: print its backtrace.
green-thread all bt [ARGS]: print those of all.
green-thread: go back to the OS thread."""

    def __init__(self):
        super().__init__("green-thread", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        words = arg.split(None, 2)
        unwinder.select(None)
        if not words:
            return
        if len(words) > 1 and words[1] not in ("bt", "backtrace", "where"):
            raise gdb.GdbError("green-thread: after the id comes \"bt\" or nothing")
        path = (words[2] if len(words) > 2 else "") if len(words) > 1 else None
        runtime = Runtime()
        if words[0] == "all" and path is not None:
            self.all(runtime, path)
            return
        try:
            ident = int(words[0], 0)
        except ValueError:
            raise gdb.GdbError("green-thread: \"%s\" is not an id" % words[0])
        self.look(runtime, runtime.find(ident), path)

    def all(self, runtime, path):
        before = gdb.selected_thread()
        for thread in runtime.threads():
            if thread.is_foreign():
                continue
            print("\nGreen thread %d (%s), %s%s:"
                  % (thread.id, thread.name(), thread.state_name(),
                     ", hibernated" if runtime.stacks.is_hibernated(thread) else ""))
            try:
                self.look(runtime, thread, path)
            except gdb.GdbError as error:
                print("(%s)" % error)
        if before:
            before.switch()

    def look(self, runtime, thread, path):
        """Selects it, or prints its call path and selects none."""
        hibernated = runtime.stacks.is_hibernated(thread)
        if thread.address in runtime.workers and not hibernated:
            self.go_to(runtime.workers[thread.address])
            if path is not None:
                gdb.execute("bt " + path)
            return
        if not runtime.is_saved(thread) and not hibernated:
            raise gdb.GdbError("green-thread: %d is %s and has no saved stack"
                               % (thread.id, thread.state_name()))
        data, packed = runtime.stacks.read(thread)
        if not data:
            raise gdb.GdbError("green-thread: the stack of %d cannot be read (gdb's own gcore "
                               "leaves stacks out, green-gcore does not)" % thread.id)
        unwinder.select(thread.registers(data), thread.sp, data if packed else None)
        if path is None:
            gdb.execute("frame 1")
            return
        try:
            self.backtrace(path)
        finally:
            unwinder.select(None)

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
                return thread.switch()
        raise gdb.GdbError("green-thread: gdb does not know its OS thread %d" % tid)


class GreenGcore(gdb.Command):
    """Save a core file of a libgreen program, with its green threads' stacks.
green-gcore [FILE]

gdb's own generate-core-file gives up on a mapping at the first page that it cannot read,
as the guards of green stacks are; or it writes out all zeroes below the frames.  This
command has it write the file, and puts the frames in their places in it."""

    def __init__(self):
        super().__init__("green-gcore", gdb.COMMAND_FILES, gdb.COMPLETE_FILENAME)

    def invoke(self, arg, from_tty):
        runtime = Runtime()
        path = os.path.expanduser(arg.strip()) or "core.%d" % gdb.selected_inferior().pid
        said = gdb.execute("generate-core-file %s" % path, to_string=True)
        print(re.sub(r"(?m)^(warning: Memory read failed|Saved core).*\n", "", said), end="")
        threads = [t for t in runtime.threads() if t.stack and not t.is_foreign()]
        # Those that hibernate are in the slab, which gdb does read.
        awake = [t for t in threads if not runtime.stacks.is_hibernated(t)]
        with open(path, "r+b") as file:
            segments = self.segments(file)
            put = [self.put(file, segments, *self.frames(runtime, t)) for t in awake]
        print("Saved %s: %d stacks, %d of them hibernated%s"
              % (printable(path), len(threads), len(threads) - len(awake),
                 "; %d could not be saved" % put.count(False) if False in put else ""))

    @staticmethod
    def segments(file):
        """(address, size, offset) of each part of memory in the core file."""
        file.seek(0)
        start, _, _, _, size, count = struct.unpack_from("<QQIHHH", file.read(64), 32)
        file.seek(start)
        headers = struct.iter_unpack("<IIQQQQQQ", file.read(size * count))
        return [(address, kept, offset)
                for kind, _, offset, address, _, kept, _, _ in headers if kind == 1]

    @staticmethod
    def frames(runtime, thread):
        """Where they begin, and their bytes."""
        arena, _, top = runtime.stacks.slot(thread)
        if runtime.is_saved(thread):
            return thread.sp, runtime.stacks.read(thread)[0]
        # It runs: all there is, page by page, down to the guard.
        low, data = top, b""
        size = 1 << runtime.layout.get(arena, "arena.shift")
        try:
            while low % size or low == top:
                begin = (low - 1) & ~4095
                data = read(begin, low - begin) + data
                low = begin
        except gdb.error:
            pass
        return low, data

    @staticmethod
    def put(file, segments, address, data):
        for start, size, offset in segments:
            if data and start <= address and address + len(data) <= start + size:
                file.seek(offset + address - start)
                file.write(data)
                return True
        return False


if not hasattr(gdb, "libgreen_unwinder"):
    gdb.libgreen_unwinder = GreenUnwinder()
    register_unwinder(None, gdb.libgreen_unwinder, replace=True)
    gdb.events.cont.connect(lambda event: gdb.libgreen_unwinder.select(None))
    InfoGreenThreads()
    GreenThread()
    GreenGcore()
unwinder = gdb.libgreen_unwinder
# How greenrun sees calls that it could not rewrite: one of these each.
gdb.execute("handle SIGSYS nostop noprint pass", to_string=True)
