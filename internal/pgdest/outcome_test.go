package pgdest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/faultproxy"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func lines() *dest.Table {
	return &dest.Table{Name: "log", Policy: dest.InsertOnly, Columns: []dest.Column{col("id", tuple.Int8), col("line", tuple.Text)}}
}

const linesDDL = `CREATE TABLE log (id bigint, line text)`

// numbered is a batch of n rows whose ids are their arrival numbers.
func numbered(first, n int64) *tuple.Batch {
	b := &tuple.Batch{}
	for i := range n {
		b.Append(first+i, encode(row{first + i, "a line"}))
	}
	return b
}

// throughProxy returns a Sink that reaches the database through a proxy, and
// what it logs.
func throughProxy(t *testing.T, db *pgtest.DB, table *dest.Table) (*Sink, *faultproxy.Proxy, *bytes.Buffer) {
	t.Helper()
	proxy := faultproxy.Start(t, db.URL)
	s := open(t, proxy.URL, table)
	log := &bytes.Buffer{}
	s.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	check(t, s)
	return s, proxy, log
}

// insist writes the batch until it is in, as the writer does.
func insist(tb testing.TB, s dest.Sink, b *tuple.Batch) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		_, err := s.Write(ctx, b)
		if err == nil {
			return
		}
		if e := asError(tb, err); e.Class != dest.ClassTransient || ctx.Err() != nil {
			tb.Fatalf("class %v: %v", e.Class, err)
		}
	}
}

func mended(tb testing.TB, p *faultproxy.Proxy) {
	tb.Helper()
	if err := p.Mend(); err != nil {
		tb.Fatal(err)
	}
}

// lose writes the batch and lets the connection fall silent at the phase. The
// server does not notice that.
func lose(tb testing.TB, s *Sink, proxy *faultproxy.Proxy, at faultproxy.Phase, b *tuple.Batch) {
	tb.Helper()
	hit := proxy.Break(faultproxy.Fault{At: at, Do: faultproxy.Hang})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := s.Write(ctx, b)
		done <- err
	}()
	<-hit
	mended(tb, proxy)
	cancel()
	if e := asError(tb, <-done); e.Class != dest.ClassTransient || !strings.Contains(e.Error(), "not known whether the batch got in") {
		tb.Errorf("class %v: %v", e.Class, e)
	}
}

func TestInsertOnlyBatchIsInOnceWhereverTheConnectionBreaks(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, linesDDL)
	s, proxy, log := throughProxy(t, db, lines())
	const rows = 50
	next := int64(0)
	for _, fault := range []faultproxy.Fault{
		{At: faultproxy.Query, Do: faultproxy.Reset},
		{At: faultproxy.Batch, Do: faultproxy.Reset},
		{At: faultproxy.CopyData, After: 500, Do: faultproxy.Close},
		{At: faultproxy.CopyDone, Do: faultproxy.Reset}, // not committed
		{At: faultproxy.Running, Do: faultproxy.Reset},  // perhaps
		{At: faultproxy.Running, Do: faultproxy.Close},
		{At: faultproxy.Answer, Do: faultproxy.Reset}, // committed
		{At: faultproxy.Answer, Do: faultproxy.Close},
	} {
		for range 10 {
			hit := proxy.Break(fault)
			b := numbered(next, rows)
			next += rows
			_, err := s.Write(context.Background(), b)
			<-hit
			mended(t, proxy)
			if err != nil { // the Sink itself found out nothing at its second attempt
				insist(t, s, b)
			}
		}
		equal(t, db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM log"), fmt.Sprint(next, "|", next))
	}
	if strings.Contains(log.String(), "ERROR") {
		t.Errorf("log: %s", log)
	}
}

func TestConcurrentInsertOnlyBatchesAreInOnce(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, linesDDL)
	s, proxy, _ := throughProxy(t, db, lines())
	const workers, batches, rows = 4, 15, 20
	faults := []faultproxy.Phase{faultproxy.CopyDone, faultproxy.Running, faultproxy.Answer}
	stop := make(chan struct{})
	var breaker, wg sync.WaitGroup
	breaker.Go(func() {
		for {
			hit := proxy.Break(faultproxy.Fault{At: faults[rand.N(len(faults))], Do: faultproxy.Reset})
			select {
			case <-hit:
			case <-stop:
				return
			}
			mended(t, proxy)
			for range 3 { // and some get through
				db.Count(t, "log")
			}
		}
	})
	for w := range workers {
		wg.Go(func() {
			for i := range batches {
				insist(t, s, numbered(int64((w*batches+i)*rows), rows))
			}
		})
	}
	wg.Wait()
	close(stop)
	breaker.Wait()
	mended(t, proxy)
	const want = workers * batches * rows
	equal(t, db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM log"), fmt.Sprint(want, "|", want))
}

// The server does not know that its client is gone, and would wait for hours.
func TestAbandonedTransactionIsEnded(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, linesDDL)
	s, proxy, _ := throughProxy(t, db, lines())
	b := numbered(0, 100)
	lose(t, s, proxy, faultproxy.CopyDone, b)
	insist(t, s, b)
	equal(t, db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM log"), "100|100")
}

func TestOutcomeIsKnownAfterARestart(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, linesDDL)
	s, proxy, log := throughProxy(t, db, lines())
	b := numbered(0, 100)
	lose(t, s, proxy, faultproxy.Answer, b)
	server.Restart()
	insist(t, s, b)
	equal(t, db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM log"), "100|100")
	if strings.Contains(log.String(), "ERROR") {
		t.Errorf("log: %s", log)
	}
}

// After a crash a number may belong to another transaction. A row twice is
// better than a row lost, but not in silence.
func TestOutcomeThatACrashMadeUncertainIsSaidLoudly(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, linesDDL)
	for fault, want := range map[faultproxy.Phase]int{faultproxy.CopyDone: 100, faultproxy.Answer: 200} {
		db.Exec(t, "TRUNCATE log")
		s, proxy, log := throughProxy(t, db, lines())
		b := numbered(0, 100)
		lose(t, s, proxy, fault, b)
		server.Kill()
		server.Restart()
		insist(t, s, b)
		if n := db.Count(t, "log"); n != want {
			t.Errorf("%v: %d rows, want %d", fault, n, want)
		}
		loud := strings.Contains(log.String(), `level=ERROR msg="rows may be in the table twice`) && strings.Contains(log.String(), "rows=100 first=0 last=99")
		if loud != (want == 200) {
			t.Errorf("%v: log: %s", fault, log)
		}
	}
}

func TestJudge(t *testing.T) {
	then := server{1, "a"}
	for _, c := range []struct {
		status string
		asked  server
		want   outcome
	}{
		{"committed", then, committed},
		{"aborted", then, aborted},
		{"in progress", then, running},
		{"", then, unknown},
		{"committed", server{1, "b"}, unknown},
		{"aborted", server{1, "b"}, aborted},
		{"not given", server{1, "b"}, aborted},
		{"in progress", server{1, "b"}, running},
		{"committed", server{2, "a"}, unknown},
		{"aborted", server{2, "a"}, unknown},
		{"not given", server{2, "a"}, unknown},
	} {
		if got := (receipt{server: then, xid: 7}).judge(c.asked, c.status); got != c.want {
			t.Errorf("%q on %v: %v, want %v", c.status, c.asked, got, c.want)
		}
	}
	if got := (receipt{server: server{1, ""}, xid: 7}).judge(server{1, ""}, "committed"); got != unknown {
		t.Errorf("on a server that cannot tell its lives apart: %v", got)
	}
}

// A COMMIT that waits for a synchronous standby, and is given up, is committed where
// it was written, and nowhere else. Its rows are not stored before the standby has
// them.
func TestCommitThatWaitsForAStandbyIsWaitedFor(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, linesDDL)
	s := open(t, db.URL, lines())
	check(t, s)
	db.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	db.Exec(t, "SELECT pg_reload_conf()")
	for pgtest.Value[string](t, db, "SHOW synchronous_standby_names") == "" {
	}
	waits := 0
	try := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		res, err := s.Write(ctx, numbered(0, 10))
		waits += res.StandbyWaits
		return err
	}
	if e := asError(t, try()); e.Class != dest.ClassTransient {
		t.Errorf("class %v: %v", e.Class, e)
	}
	for db.Count(t, "log") == 0 { // until the wait is cut short: all see the rows
	}
	for range 3 {
		if err := try(); err == nil {
			t.Fatal("stored, and no standby has it")
		} else if e := asError(t, err); e.Class != dest.ClassTransient {
			t.Errorf("class %v: %v", e.Class, e)
		}
	}
	if waits != 1 {
		t.Errorf("%d transactions are said to wait for a standby, want 1", waits)
	}
	db.Exec(t, "ALTER SYSTEM RESET synchronous_standby_names")
	db.Exec(t, "SELECT pg_reload_conf()")
	insist(t, s, numbered(0, 10))
	equal(t, db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM log"), "10|10")
}

func TestServerThatCannotTellOutcomesIsUsedAllTheSame(t *testing.T) {
	server := pgtest.Start(t)
	withPlainRole(t, server)
	db := server.Open(t)
	db.Exec(t, linesDDL)
	db.Exec(t, "REVOKE EXECUTE ON FUNCTION pg_control_system FROM PUBLIC; GRANT ALL ON SCHEMA "+db.Schema+" TO plain; GRANT ALL ON log TO plain")
	plain := *db
	plain.URL = asPlain(db)
	s, proxy, log := throughProxy(t, &plain, lines())
	if !strings.Contains(log.String(), "cannot tell the outcome") {
		t.Errorf("log: %s", log)
	}
	res, err := s.Write(context.Background(), numbered(0, 10))
	if err != nil || res.RoundTrips != 1 {
		t.Errorf("%d round trips, %v", res.RoundTrips, err)
	}
	b := numbered(10, 10)
	lose(t, s, proxy, faultproxy.Answer, b)
	insist(t, s, b)
	if !strings.Contains(log.String(), "rows may be in the table twice") {
		t.Errorf("log: %s", log)
	}
}

func TestOrdinaryRoleMayAskForOutcomes(t *testing.T) {
	server := pgtest.Start(t)
	withPlainRole(t, server)
	db := server.Open(t)
	db.Exec(t, linesDDL+"; GRANT ALL ON SCHEMA "+db.Schema+" TO plain; GRANT ALL ON log TO plain")
	s := open(t, asPlain(db), lines())
	check(t, s)
	if p := s.plan.Load(); p.server.system == 0 || p.server.life == "" {
		t.Errorf("the server is %+v", p.server)
	}
	if res := write(t, s, row{int64(1), "a"}); res.RoundTrips != 2 {
		t.Errorf("%d round trips", res.RoundTrips)
	}
}

// A life is told from the one before, whichever way that ended.
func TestLives(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, linesDDL)
	zone := "UTC"
	life := func() string {
		s := open(t, db.URL+"&datestyle=German&timezone="+zone, lines()) // which do not matter
		check(t, s)
		return s.plan.Load().server.life
	}
	first := life()
	zone = "Asia/Tokyo"
	server.Restart()
	if life() != first {
		t.Error("an orderly restart begins another life")
	}
	server.Kill()
	server.Restart()
	second := life()
	if second == first {
		t.Error("a crash does not begin another life")
	}
	server.Stop(pgtest.Immediate)
	server.Restart()
	if life() == second {
		t.Error("an immediate shutdown does not begin another life")
	}
}

// A receipt of another process is asked for before rows of it are written, in
// whatever portions; where there is no answer they are written, and that is said.
func TestReceiptsOfAnotherProcess(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, linesDDL)
	receipts := map[int64]dest.Receipt{}
	writer := open(t, db.URL, lines())
	writer.Record(nil, func(_ context.Context, some []dest.Receipt) error { receipts[some[0].First] = some[0]; return nil })
	for _, first := range []int64{1, 11} {
		if _, err := writer.Write(t.Context(), numbered(first, 10)); err != nil {
			t.Fatal(err)
		}
	}
	db.Exec(t, "TRUNCATE log")
	elsewhere := receipts[11]
	elsewhere.Token = bytes.Replace(elsewhere.Token, []byte(`"System":`), []byte(`"System":1`), 1)
	for _, c := range []struct {
		name    string
		receipt dest.Receipt
		want    string // rows in the table
		loud    bool
	}{
		{"committed", receipts[1], "0", false},
		{"another server", dest.Receipt{First: 1, Last: 10, Token: elsewhere.Token}, "10", true},
		{"nonsense", dest.Receipt{First: 1, Last: 10, Token: []byte("{")}, "10", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			db.Exec(t, "TRUNCATE log")
			s := open(t, db.URL, lines())
			log := &bytes.Buffer{}
			s.log = slog.New(slog.NewTextHandler(log, nil))
			s.Record([]dest.Receipt{c.receipt}, nil)
			for _, first := range []int64{1, 6} {
				if _, err := s.Write(t.Context(), numbered(first, 5)); err != nil {
					t.Fatal(err)
				}
			}
			equal(t, db.Rows(t, "SELECT count(*) FROM log"), c.want)
			if n := strings.Count(log.String(), "rows may be in the table twice"); n > 1 || (n == 1) != c.loud {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// Rows in doubt are recognized one by one: they may come again among others, in
// more than one batch, and their neighbours may be refused.
func TestRowsInDoubtComeAgainInOtherBatches(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE log (id bigint, line text CHECK (line <> 'bad'))`)
	s, proxy, log := throughProxy(t, db, lines())
	some := func(ids ...int64) *tuple.Batch {
		b := &tuple.Batch{}
		for _, id := range ids {
			line := "good"
			if id < 0 {
				id, line = -id, "bad"
			}
			b.Append(id, encode(row{id, line}))
		}
		return b
	}
	want := func(ids string) {
		t.Helper()
		equal(t, db.Rows(t, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM log"), ids)
	}
	lose(t, s, proxy, faultproxy.Answer, some(3, 5, 7))
	lose(t, s, proxy, faultproxy.Answer, some(20, 21))
	want("3 5 7 20 21")
	insist(t, s, some(2, 4, 6, 8)) // none of the transaction, though their numbers are in its gaps and around it
	want("2 3 4 5 6 7 8 20 21")
	_, err := s.Write(t.Context(), some(1, 3, 5, 7, -9, 11))
	if e := asError(t, err); e.Class != dest.ClassRow || e.Row != 4 {
		t.Errorf("row %d of class %v: %v", e.Row, e.Class, e)
	}
	want("2 3 4 5 6 7 8 20 21")
	insist(t, s, some(1, 3, 5))
	want("1 2 3 4 5 6 7 8 20 21")
	insist(t, s, some(7, 11, 12, 20, 21, 22))
	want("1 2 3 4 5 6 7 8 11 12 20 21 22")
	if n := len(s.doubts.all); n != 1 { // that about 3 to 7 lies in neither batch
		t.Errorf("%d transactions are remembered", n)
	}
	if strings.Contains(log.String(), "ERROR") {
		t.Errorf("log: %s", log)
	}
}
