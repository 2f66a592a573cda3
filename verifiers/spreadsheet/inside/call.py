"""Hands one framed job from standard input to a warm grader at a socket, and its answer to standard
output.
"""

import socket
import sys

with socket.socket(socket.AF_UNIX) as line:
    line.connect(sys.argv[1])
    line.sendall(sys.stdin.buffer.read())
    line.shutdown(socket.SHUT_WR)
    while part := line.recv(1 << 16):
        sys.stdout.buffer.write(part)
