"""Runs a command in a pseudo-terminal of its own and is its screen and keyboard.

Arguments: COLUMNS ROWS COMMAND... Each line on stdin is JSON: {"type": "text"} or {"resize": [columns, rows]}.
Everything the terminal shows goes to stdout. Exits like the command; when stdin ends, the terminal hangs up.
"""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios


def resize(fd, columns, rows):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main():
    columns, rows, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    pid, terminal = pty.fork()
    if pid == 0:
        resize(0, columns, rows)
        os.execvp(command[0], command)
    pending = b""
    sources = [0, terminal]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if terminal in ready:
            try:
                shown = os.read(terminal, 65536)
            except OSError:  # EIO: the last one who had it open is gone
                shown = b""
            if not shown:
                break
            os.write(1, shown)
        if 0 in ready:
            read = os.read(0, 65536)
            if not read:
                os.kill(pid, signal.SIGHUP)
                sources = [terminal]
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if "resize" in order:
                    resize(terminal, *order["resize"])
                else:
                    os.write(terminal, order["type"].encode())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.exit(status if status >= 0 else 128 - status)


main()
