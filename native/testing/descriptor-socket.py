"""A socket at PATH that somebody sends a descriptor to. KIND: takes (accepts, says what arrived), hangs (its queue is full
and stays so), datagram (not what anybody wants to connect to). Says "ready" when it is."""

import array
import os
import socket
import sys
import time

path, kind = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
listener.bind(path)
waiting = []
if kind != "datagram":
    listener.listen(0)
if kind == "hangs":
    waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(2)]
    for each in waiting:
        try:
            each.connect(path)
        except BlockingIOError:
            pass
print("ready", flush=True)
if kind != "takes":
    time.sleep(60)
    sys.exit(0)
connection, _ = listener.accept()
name, rights, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
descriptor = array.array("i", rights[0][2])[0]
with open(f"/proc/self/fdinfo/{descriptor}") as info:
    pid = next((line.split()[1] for line in info if line.startswith("Pid:")), "none")
print(name.decode(), os.readlink(f"/proc/self/fd/{descriptor}"), "pid", pid, flush=True)
if os.isatty(descriptor):
    text = b""
    try:
        while chunk := os.read(descriptor, 4096):
            text += chunk
    except OSError:
        pass  # the other end is closed
    print(text.decode(), flush=True)
