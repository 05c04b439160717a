"""Mounts a folder upon another so that its owners are shifted: id-mapped-mount.py SOURCE TARGET FIRST COUNT."""

import ctypes
import os
import sys

OPEN_TREE_CLONE, AT_EMPTY_PATH, MOVE_MOUNT_F_EMPTY_PATH, MOUNT_ATTR_IDMAP = 1, 0x1000, 4, 0x100000
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR, CLONE_NEWUSER = 428, 429, 442, 0x10000000
libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"system call {number}")
    return result


def user_namespace(first, count):
    """A namespace has to be somebody's while it is opened."""
    ready, made = os.pipe()
    holder = os.fork()
    if holder == 0:
        failed = libc.unshare(CLONE_NEWUSER)
        os.write(made, b"1")
        while not failed:
            libc.pause()
        os._exit(1)
    os.read(ready, 1)
    try:
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{holder}/{name}", "w") as file:
                file.write(f"0 {first} {count}")
        return os.open(f"/proc/{holder}/ns/user", os.O_RDONLY)
    finally:
        os.kill(holder, 9)
        os.waitpid(holder, 0)


source, target, first, count = sys.argv[1:]
tree = call(OPEN_TREE, -100, source.encode(), OPEN_TREE_CLONE)
attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_IDMAP, 0, 0, user_namespace(first, count))
call(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, ctypes.sizeof(attributes))
call(MOVE_MOUNT, tree, b"", -100, target.encode(), MOVE_MOUNT_F_EMPTY_PATH)
