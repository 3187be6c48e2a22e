#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What idle connections cost examples/httpd, and how they wake.

Opens keep-alive connections from processes of their own, has one request answered
on each, waits until the server's memory no longer shrinks, then sends one request
on all at once.  Prints the server's user memory for each idle connection (resident
pages and page tables, less what it had before), and when the first answers came.

usage: scripts/idle.py [CONNECTIONS [HIBERNATE_MS]]   BUILD names the build directory
"""
import os
import select
import socket
import subprocess
import sys
import time

REQUEST = b"GET /idle.py HTTP/1.1\r\nHost: h\r\n\r\n"
EACH = 5000  # connections a process


def memory(pid):
    """Resident pages and page tables of a process, bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return sum(int(line.split()[1]) * 1024 for line in status
                   if line.startswith(("VmRSS:", "VmPTE:")))


def exchange(sockets, waiting):
    """One request on each, all sent before any answer is read; the delays in s."""
    begin, delays = {}, []
    for s in sockets:
        begin[s.fileno()] = time.monotonic()
        s.send(REQUEST)
    by_fd = {s.fileno(): s for s in sockets}
    left = set(by_fd)
    while left:
        ready = waiting.poll(10)
        if not ready:
            sys.exit(f"{len(left)} connections without an answer")
        for fd, _ in ready:
            answer = by_fd[fd].recv(65536)
            if fd in left:
                if not answer.startswith(b"HTTP/1.1 200"):
                    sys.exit(f"wrong answer: {answer[:40]}")
                delays.append(time.monotonic() - begin[fd])
                left.discard(fd)
    return delays


def client(port, count, commands, answers):
    """In a process of its own: connects, then does one exchange for each command."""
    waiting, sockets = select.epoll(), []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port))
        waiting.register(s.fileno(), select.EPOLLIN)
        sockets.append(s)
        exchange([s], waiting)
    os.write(answers, b"ready\n")
    os.read(commands, 1)
    delays = exchange(sockets, waiting)
    os.write(answers, b"done\n")
    with open(f"/proc/self/fd/{answers}", "wb", closefd=True) as out:
        out.write(" ".join(f"{d:.6f}" for d in delays).encode() + b"\n")


def start_client(port, count):
    """Forks a client: (file of its answers, descriptor for commands)."""
    command_out, command_in = os.pipe()
    answer_out, answer_in = os.pipe()
    if os.fork() == 0:
        os.close(command_in)
        os.close(answer_out)
        client(port, count, command_out, answer_in)
        os._exit(0)
    os.close(command_out)
    os.close(answer_in)
    return os.fdopen(answer_out), command_in


def settled(pid):
    """The process's memory once it has not shrunk for two seconds."""
    least, since = memory(pid), time.monotonic()
    while time.monotonic() - since < 2:
        time.sleep(0.1)
        now = memory(pid)
        if now < least - 4096:
            least, since = now, time.monotonic()
    return memory(pid)


def main():
    """Measures, and prints."""
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    after = sys.argv[2] if len(sys.argv) > 2 else "1000"
    httpd = os.path.join(os.environ.get("BUILD", "build/release"), "examples/httpd")
    root = os.path.dirname(os.path.abspath(__file__))
    server = subprocess.Popen([httpd, "--listen", "127.0.0.1:0", "--root", root],
                              env=dict(os.environ, GREEN_HIBERNATE_MS=after),
                              stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        before = settled(server.pid)
        clients = [start_client(port, min(EACH, connections - i))
                   for i in range(0, connections, EACH)]
        for answers, _ in clients:
            if answers.readline() != "ready\n":
                sys.exit("a client failed")
        peak = memory(server.pid)
        idle = settled(server.pid)
        for _, commands in clients:
            os.write(commands, b"x")
        delays = []
        for answers, _ in clients:
            if answers.readline() != "done\n":
                sys.exit("a client failed")
            delays += [float(d) for d in answers.readline().split()]
    finally:
        server.terminate()
        server.wait()
    delays.sort()
    print(f"connections {connections}, hibernate after {after} ms")
    print(f"bytes a connection: {(peak - before) / connections:.0f} after its request, "
          f"{(idle - before) / connections:.0f} idle")
    print(f"first answers: {len(delays)}, ms: median {delays[len(delays) // 2] * 1e3:.1f}, "
          f"p99 {delays[len(delays) * 99 // 100] * 1e3:.1f}, last {delays[-1] * 1e3:.1f}")


if __name__ == "__main__":
    main()
