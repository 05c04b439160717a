"""The supervisor of a seccomp filter: listens on argv[1], takes one listener, prints the state document that came with it, answers the
calls that it is asked about with errno 77 until argv[2] of them were answered."""
import array, fcntl, json, os, socket, struct, sys

RECEIVE, SEND = 0xC0502100, 0xC0182101  # of struct seccomp_notif and seccomp_notif_resp

server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("listening", flush=True)
client, _ = server.accept()
data, ancillary, _, _ = client.recvmsg(65536, socket.CMSG_SPACE(4))
listener = array.array("i", ancillary[0][2][:4])[0]
while chunk := client.recv(65536):
    data += chunk
print(json.dumps(json.loads(data)), flush=True)
for _ in range(int(sys.argv[2])):
    request = bytearray(80)
    fcntl.ioctl(listener, RECEIVE, request)
    (number,) = struct.unpack_from("Q", request)
    (call,) = struct.unpack_from("i", request, 16)
    print("asked about", call, flush=True)
    fcntl.ioctl(listener, SEND, bytearray(struct.pack("QqiI", number, 0, -77, 0)))
