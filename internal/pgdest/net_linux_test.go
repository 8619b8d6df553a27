package pgdest

import (
	"context"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// What the kernel does with these values cannot be seen without cutting a
// cable; that the socket has them can.
func TestSilenceEndsAConnection(t *testing.T) {
	s := open(t, pgtest.Open(t).URL, files())
	conn, err := s.db.pool.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	raw, err := conn.Conn().PgConn().Conn().(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ level, option, want int }{
		"SO_KEEPALIVE":     {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		"TCP_KEEPIDLE":     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
		"TCP_KEEPINTVL":    {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
		"TCP_KEEPCNT":      {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 25_000},
	} {
		got := 0
		cerr := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), c.level, c.option) })
		if cerr != nil || err != nil || got != c.want {
			t.Errorf("%s is %d, want %d: %v %v", name, got, c.want, cerr, err)
		}
	}
}
