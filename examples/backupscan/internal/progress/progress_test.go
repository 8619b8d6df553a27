package progress

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Time in these tests is that of synctest: a sleep takes none.

func TestPlainLinesEveryFewSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var entries atomic.Int64
		var out bytes.Buffer
		r := Start(&out, nil, func() State {
			return State{Doing: "scanning", Entries: entries.Load(), Bytes: 3 << 20, Waiting: 1234, Directory: "/data/here"}
		})
		entries.Store(50_000)
		time.Sleep(lineInterval)
		synctest.Wait()
		entries.Store(51_000)
		time.Sleep(lineInterval)
		synctest.Wait()
		r.Stop()
		want := "scanning: 50,000 entries, 3.0 MiB, 10,000/s, 1,234 waiting, /data/here\n" +
			"scanning: 51,000 entries, 3.0 MiB, 200/s, 1,234 waiting, /data/here\n"
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", out.String(), want)
		}
	})
}

func TestATerminalLineIsRedrawnAndClearedForOtherLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := Start(&out, func() int { return 80 }, func() State { return State{Doing: "scanning", Entries: 7, Directory: "/d"} })
		time.Sleep(3 * barInterval)
		synctest.Wait()
		if n := strings.Count(out.String(), "7 entries"); n < 3 || strings.Contains(out.String(), "\n") {
			t.Errorf("drawn %d times in %q", n, out.String())
		}
		out.Reset()
		_, err := r.Write([]byte("a warning\n"))
		r.Stop()
		before, _, found := strings.Cut(out.String(), "a warning\n")
		if err != nil || !found || !strings.HasPrefix(before, "\r") || strings.TrimSpace(before) != "" {
			t.Errorf("the line of the display is not cleared first: %q", out.String())
		}
	})
}

func TestALineFitsTheTerminal(t *testing.T) {
	s := State{Doing: "scanning", Entries: 1_234_567, Bytes: 1 << 40, Waiting: 99_999, Directory: "/" + strings.Repeat("long/", 50)}
	for columns := 80; columns < 300; columns++ {
		got := line(s, 123_456, columns)
		if n := len([]rune(got)); n > columns {
			t.Fatalf("%d columns for %d: %s", n, columns, got)
		}
	}
	if got := line(s, 123_456, 30); strings.Contains(got, "long") {
		t.Errorf("a directory where there is no room: %s", got)
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"/short", "/short"},
		{"/0123456789", "…123456789"},
		{"/目录目录目录目录目录目录", "…录目录目录目录目录"},
		{"/a\x1b[31m\n", "/a?[31m?"},
		{"/a\xffb", "/a\ufffdb"},
	} {
		if got := shorten(c.path, 10); got != c.want {
			t.Errorf("shorten(%q) = %q, want %q", c.path, got, c.want)
		}
	}
}
