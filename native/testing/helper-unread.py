"""The owner of `gantry-runtime serve` goes without having read what became of its order. Prints how the helper ended, and what it said.
Arguments: executable, state root."""

import os
import select
import socket
import struct
import subprocess
import sys

RUN = 1

executable, state_root = sys.argv[1:]
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
helper = subprocess.Popen(
    [executable, "--root", state_root, "serve"],
    preexec_fn=lambda: os.dup2(theirs.fileno(), 3),
    pass_fds=[3],
    stderr=subprocess.PIPE,
)
theirs.close()
name, bundle = b"unread", b"/nosuch"
ours.send(struct.pack("=IIiiII", RUN, 1, 0, 0, len(name), len(bundle)) + name + bundle)
select.select([ours], [], [], 10)
ours.close()
said = helper.communicate(timeout=10)[1].decode().strip()
print("helper:", helper.returncode, said)
