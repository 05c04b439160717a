"""One packet to `gantry-runtime serve`, made by hand: a request to run in which the length of the bundle's
path leaves out what follows it. Prints what comes of it. Arguments: executable, state root, id, bundle, what is added to the bundle's path."""

import os
import socket
import struct
import subprocess
import sys

RUN = 1
NAMES = {3: "started", 4: "failed", 5: "exited"}

executable, state_root, name, bundle, more = sys.argv[1:]
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
helper = subprocess.Popen(
    [executable, "--root", state_root, "serve"],
    preexec_fn=lambda: os.dup2(theirs.fileno(), 3),
    pass_fds=[3],
    stderr=subprocess.PIPE,
)
theirs.close()
header = struct.pack("=IIiiII", RUN, 1, 0, 0, len(name), len(bundle))
null = os.open("/dev/null", os.O_RDWR)
ours.sendmsg(
    [header, name.encode(), bundle.encode(), more.encode()],
    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=iii", null, null, null))],
)
ours.settimeout(10)
while True:
    try:
        packet = ours.recv(65536)
    except ConnectionResetError:
        packet = b""
    if packet == b"":
        break
    kind = struct.unpack("=I", packet[:4])[0]
    print(NAMES.get(kind, kind), packet[24:].decode())
    if kind in (4, 5):
        break
ours.close()
print("helper:", helper.communicate()[1].decode().strip())
