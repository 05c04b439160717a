package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// connection is one kept-alive connection with at most one request on it.
type connection struct {
	host   string
	tcp    *net.TCPConn
	raw    syscall.RawConn
	reader *bufio.Reader
	head   []byte
}

type answer struct {
	status   int
	location string
}

func dial(address string) (*connection, error) {
	plain, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	tcp := plain.(*net.TCPConn)
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &connection{host: address, tcp: tcp, raw: raw, reader: bufio.NewReaderSize(tcp, 16*1024)}, nil
}

func (c *connection) close() { c.tcp.Close() }

// ask sends one request, whose body is `pieces` together, and reads its answer to the end.
func (c *connection) ask(method, path, headers string, pieces ...[]byte) (answer, error) {
	size := 0
	for _, piece := range pieces {
		size += len(piece)
	}
	c.head = fmt.Appendf(c.head[:0], "%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, path, c.host, headers)
	if method != "GET" && method != "HEAD" {
		c.head = fmt.Appendf(c.head, "Content-Length: %d\r\n", size)
	}
	c.head = append(c.head, "\r\n"...)
	buffers := append(net.Buffers{c.head}, pieces...)
	if _, err := buffers.WriteTo(c.tcp); err != nil {
		return answer{}, err
	}
	return c.read(method)
}

func (c *connection) read(method string) (answer, error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return answer{}, err
	}
	if len(line) < 12 {
		return answer{}, fmt.Errorf("not an HTTP answer: %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return answer{}, err
	}
	got := answer{status: status}
	length, chunked := 0, false
	for {
		if line, err = c.reader.ReadSlice('\n'); err != nil {
			return got, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return got, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("Location")):
			got.location = pathOf(string(value))
		}
	}
	if method == "HEAD" || status == 204 || status == 304 {
		return got, nil
	}
	if chunked {
		return got, c.discardChunks()
	}
	return got, c.discard(length)
}

// pathOf takes the path and query of a Location, which may be a whole URL.
func pathOf(location string) string {
	if _, rest, absolute := strings.Cut(location, "://"); absolute {
		return rest[strings.IndexByte(rest, '/'):]
	}
	return location
}

func (c *connection) discardChunks() error {
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return err
		}
		if _, err := c.reader.Discard(int(size) + 2); err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
	}
}

// discard lets the kernel throw away what the buffer does not hold already: nothing is copied.
func (c *connection) discard(count int) error {
	buffered, err := c.reader.Discard(min(count, c.reader.Buffered()))
	if err != nil {
		return err
	}
	for left := count - buffered; left > 0; {
		var read int
		var failed error
		err := c.raw.Read(func(descriptor uintptr) bool {
			n, _, errno := syscall.Syscall6(syscall.SYS_RECVFROM, descriptor, 0, uintptr(left), syscall.MSG_TRUNC, 0, 0)
			switch {
			case errno == syscall.EAGAIN || errno == syscall.EINTR:
				return false
			case errno != 0:
				failed = errno
			case n == 0:
				failed = io.ErrUnexpectedEOF
			}
			read = int(n)
			return true
		})
		if err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
		left -= read
	}
	return nil
}
