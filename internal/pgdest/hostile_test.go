package pgdest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// rogue is a server that lets everybody in and then says what the test wants. It
// returns its URL. Every connection is served until talk returns.
func rogue(t *testing.T, talk func(conn net.Conn, b *pgproto3.Backend)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			serving.Go(func() {
				defer conn.Close()
				b := pgproto3.NewBackend(conn, conn)
				msg, err := b.ReceiveStartupMessage()
				if _, start := msg.(*pgproto3.StartupMessage); err == nil && start {
					talk(conn, b)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return "postgres://u:pw@" + l.Addr().String() + "/db?sslmode=disable"
}

// welcome lets a client in.
func welcome(b *pgproto3.Backend) error {
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "15.0"})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 7, SecretKey: []byte("key!")})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return b.Flush()
}

// flood sends many more parameters than a client takes, and no end of its answer.
func flood(b *pgproto3.Backend) {
	for i := range 20 * maxParameters {
		b.Send(&pgproto3.ParameterStatus{Name: fmt.Sprintf("p%d", i), Value: "x"})
		if i%100 == 0 && b.Flush() != nil {
			return
		}
	}
	_, _ = b.Receive() // until the client hangs up
}

// A server that sends no end of parameters, or a message of a gigabyte, loses the
// client, whatever it has been asked. So does one that sends nothing that ends.
func TestServersThatDrownTheirClient(t *testing.T) {
	huge := []byte("D\x40\x00\x00\x00")
	for name, talk := range map[string]func(net.Conn, *pgproto3.Backend){
		"parameters during the login": func(_ net.Conn, b *pgproto3.Backend) {
			b.Send(&pgproto3.AuthenticationOk{})
			flood(b)
		},
		"parameters after it": func(_ net.Conn, b *pgproto3.Backend) {
			if welcome(b) == nil {
				flood(b)
			}
		},
		"parameters in answer": func(_ net.Conn, b *pgproto3.Backend) {
			if welcome(b) == nil {
				if _, err := b.Receive(); err == nil {
					flood(b)
				}
			}
		},
		"a message of a gigabyte": func(conn net.Conn, b *pgproto3.Backend) {
			if welcome(b) == nil {
				if _, err := b.Receive(); err == nil {
					_, _ = conn.Write(huge) // fails once the client has left
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, rogue(t, talk), files())
			for _, err := range []error{s.Check(t.Context()), refused(t, s, row{int64(1), "a", nil})} {
				if e := asError(t, err); e.Class != dest.ClassTransient || !strings.Contains(e.Error(), "the server") && !strings.Contains(e.Error(), "conn closed") {
					t.Errorf("class %v: %v", e.Class, err)
				}
			}
		})
	}
	t.Run("notices", func(t *testing.T) {
		stop := make(chan struct{})
		s := open(t, rogue(t, func(_ net.Conn, b *pgproto3.Backend) {
			for err := welcome(b); err == nil; err = b.Flush() {
				select {
				case <-stop:
					return
				default:
				}
				b.Send(&pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "go on"})
			}
		}), files())
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		err := s.Check(ctx)
		close(stop)
		if e := asError(t, err); e.Class != dest.ClassTransient || !dest.Timeout(e) {
			t.Errorf("class %v: %v", e.Class, e)
		}
	})
}

// Messages are followed through pieces of any size, and handed on as they are.
func FuzzBounded(f *testing.F) {
	f.Add([]byte("S\x00\x00\x00\x08a\x00b\x00Z\x00\x00\x00\x05I"), uint8(3))
	f.Add([]byte("D\x40\x00\x00\x00"), uint8(1))
	f.Add([]byte("E\x00\x00\x00\x03"), uint8(5))
	f.Add(bytes.Repeat([]byte("S\x00\x00\x00\x04"), maxParameters+1), uint8(7))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		whole, wholeErr := io.ReadAll(&bounded{r: bytes.NewReader(data)})
		pieces := &bounded{r: bytes.NewReader(data)}
		var got []byte
		var err error
		for p := make([]byte, int(size)+1); err == nil; {
			var n int
			n, err = pieces.Read(p)
			got = append(got, p[:n]...)
		}
		if err == io.EOF {
			err = nil
		}
		if (err == nil) != (wholeErr == nil) || err == nil && !bytes.Equal(got, data) || !bytes.HasPrefix(data, got) || !bytes.HasPrefix(data, whole) {
			t.Errorf("in pieces of %d: %d bytes, %v; as a whole: %d bytes, %v", size, len(got), err, len(whole), wholeErr)
		}
	})
}
