package ogtest

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// The requests that a connection may begin with, and the protocols that
// openGauss accepts of those for which there are clients (opengauss.md 3.1).
const (
	sslRequest    = 80877103
	cancelRequest = 80877102
	protocol30    = 3 << 16
	protocol350   = 3<<16 | 50
	protocol351   = 3<<16 | 51
)

// startup is how a client introduced itself.
type startup struct {
	minor  int
	params map[string]string
	order  []string
}

var errCancelled = errors.New("a cancel request, which is done")

// greet reads the first packets of a connection, and returns the connection
// to go on with: that inside of TLS, if the client wanted it.
func (s *Server) greet(conn net.Conn) (net.Conn, *startup, error) {
	for {
		code, body, err := readPacket(conn)
		if err != nil {
			return conn, nil, err
		}
		switch code {
		case sslRequest:
			if _, inside := conn.(*tls.Conn); inside || s.tls == nil {
				_, err = conn.Write([]byte("N"))
			} else if _, err = conn.Write([]byte("S")); err == nil {
				conn = tls.Server(conn, s.tls)
			}
			if err != nil {
				return conn, nil, err
			}
		case cancelRequest:
			if len(body) == 8 {
				s.cancel(binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:]))
			}
			return conn, nil, errCancelled
		case protocol30, protocol350, protocol351:
			st, err := parseStartup(int(code&0xffff), body)
			return conn, st, err
		default:
			return conn, nil, fatal("0A000", "unsupported frontend protocol %d.%d: server supports 1.0 to 3.51",
				code>>16, code&0xffff)
		}
	}
}

// readPacket reads a packet that has no type: its code and the rest.
func readPacket(r io.Reader) (code uint32, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 8 || size > 10000 {
		return 0, nil, fatal("08P01", "invalid length of startup packet")
	}
	body = make([]byte, size-8)
	_, err = io.ReadFull(r, body)
	return binary.BigEndian.Uint32(head[4:]), body, err
}

func parseStartup(minor int, body []byte) (*startup, error) {
	st := &startup{minor: minor, params: map[string]string{}}
	fields := bytes.Split(body, []byte{0})
	for i := 0; i+1 < len(fields) && len(fields[i]) > 0; i += 2 {
		name := string(fields[i])
		st.params[name] = string(fields[i+1])
		st.order = append(st.order, name)
	}
	if st.params["user"] == "" {
		return nil, fatal("28000", "no openGauss user name specified in startup packet")
	}
	return st, nil
}
