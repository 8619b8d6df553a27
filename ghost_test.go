package memdbwriter

import (
	"log/slog"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/faultproxy"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// Half-open towards the server and never reset: the server's session would keep
// its uncommitted keys, and every further attempt wait for them.
func TestGhostSessionBlocksTheWriter(t *testing.T) {
	for _, at := range []faultproxy.Phase{faultproxy.CopyData, faultproxy.CopyDone} {
		t.Run(at.String(), func(t *testing.T) {
			db := pgtest.Open(t)
			p, proxy := behindProxy(t, db)
			log := newFailures()
			w := openImpatient(t, p, Config{SyncBatchSize: 5000, SyncTimeout: time.Second, Logger: slog.New(log)})
			m := newModel()
			hit := proxy.Break(faultproxy.Fault{At: at, After: 200_000, Do: faultproxy.Hang})
			m.addRows(t, w, 5000, "row")
			<-hit
			if err := proxy.Mend(); err != nil { // the network works again, the old connection stays dead
				t.Fatal(err)
			}
			begin := time.Now()
			err := w.ForceSync(patient(t))
			t.Logf("after %v: %v", time.Since(begin), err)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A batch that is held up on its way arrives after a newer one was stored.
func TestALateBatchOverwritesANewerOne(t *testing.T) {
	db := pgtest.Open(t)
	p, proxy := behindProxy(t, db)
	log := newFailures()
	w := openImpatient(t, p, Config{SyncBatchSize: 50, SyncTimeout: time.Second, Logger: slog.New(log)})
	m := newModel()
	for _, name := range []string{"before", "known"} {
		m.addRows(t, w, 50, name)
		mustSync(t, w)
	}
	hit := proxy.Break(faultproxy.Fault{At: faultproxy.Batch, Do: faultproxy.Stall})
	m.addRows(t, w, 50, "old")
	<-hit
	if err := proxy.Mend(); err != nil {
		t.Fatal(err)
	}
	mustSync(t, w)
	m.addRows(t, w, 50, "newer")
	mustSync(t, w)
	proxy.Resume()
	// The late session is over once it is gone from the server.
	for pgtest.Value[int](t, db, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'memdbwriter' AND state <> 'idle'") > 0 {
	}
	m.check(t, p, w)
}
