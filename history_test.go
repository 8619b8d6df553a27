package memdbwriter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

var (
	historySeed = flag.Uint64("history.seed", 0, "seed of the random histories, 0 for a new one")
	historyRuns = flag.Int("history.runs", 1, "random histories per destination, writer and kind of table")
)

// told is the row of the histories, which may leave out two of its columns.
type told struct {
	ID    int64            `db:"id,key"`
	Name  string           `db:"name"`
	Stage string           `db:"stage,insertonly"`
	Seen  int64            `db:"seen,passive"`
	Done  bool             `db:"done"`
	Bits  Optional[string] `db:"bits"` // goes to PostgreSQL as text
	Size  *int64           `db:"size,omitnil"`
}

func (r told) bad() bool {
	return r.Name == badName || r.Name == barredName || r.Bits.V == badBits
}

// stored is what a new row is in the table.
func (r told) stored() told {
	if !r.Bits.Set {
		r.Bits = Some("111")
	}
	if r.Size == nil {
		r.Size = new(int64)
	}
	return r
}

// onto is what a row leaves of an older one of its key, or of one that failed.
func (r told) onto(old told) told {
	if !r.Bits.Set {
		r.Bits = old.Bits
	}
	if r.Size == nil {
		r.Size = old.Size
	}
	return r
}

// leaves is what a row that is stored leaves of an older failed one of its key, if
// anything.
func (r told) leaves(failed told) (left told, some bool) {
	left = r
	left.Bits, left.Size = Optional[string]{}, nil
	if !r.Bits.Set {
		left.Bits = failed.Bits
	}
	if r.Size == nil {
		left.Size = failed.Size
	}
	return left, left.Bits.Set || left.Size != nil
}

func (r told) String() string {
	size := "-"
	if r.Size != nil {
		size = fmt.Sprint(*r.Size)
	}
	return fmt.Sprintf("%d|%s|%s|%d|%s|%s", r.ID, r.Name, r.Stage, r.Seen, r.Bits.V, size)
}

// toldKinds are the ways to write it.
var toldKinds = map[string][]TableOption{
	"update": nil,
	"guard":  {Guard("done")},
	"ignore": {OnConflict(ConflictIgnore)},
	"insert": {OnConflict(ConflictInsertOnly)},
	"plain": {func(t *dest.Table) { // rows of a key may stand for others
		for i := range t.Columns {
			t.Columns[i].InsertOnly, t.Columns[i].Passive = false, false
		}
	}},
}

// barredName is rejected as long as a test wants that, badName always.
const barredName = "barred"

// badBits are rejected always.
const badBits = "1111"

// toldModel is what a destination must hold: the rows applied one after another,
// those that break a rule left out.
type toldModel struct {
	kind   string
	rows   map[int64][]told // one for each key, but with "insert"
	failed map[int64][]told // rejected rows by key, those since the last good one
	loose  map[int64]bool   // keys of which a row was rejected since the last look: see passive columns in contest.go
	added  int64
}

func newToldModel(kind string) *toldModel {
	return &toldModel{kind: kind, rows: map[int64][]told{}, failed: map[int64][]told{}, loose: map[int64]bool{}}
}

func (m *toldModel) add(row told) {
	m.added++
	if row.bad() {
		m.failed[row.ID] = append(m.failed[row.ID], row)
		m.loose[row.ID] = true
		return
	}
	m.apply(row)
	m.fail(row.ID, m.leave(m.failed[row.ID], row))
}

// leave is what a row that is stored leaves of failed ones of its key.
func (m *toldModel) leave(failed []told, row told) (rest []told) {
	for _, f := range failed {
		if m.kind == "insert" {
			rest = append(rest, f)
		} else if left, some := row.leaves(f); some && m.kind != "ignore" {
			rest = append(rest, left)
		}
	}
	return rest
}

func (m *toldModel) fail(id int64, rows []told) {
	if m.failed[id] = rows; len(rows) == 0 {
		delete(m.failed, id)
	}
}

func (m *toldModel) apply(row told) {
	stored := m.rows[row.ID]
	if len(stored) == 0 || m.kind == "insert" {
		m.rows[row.ID] = append(stored, row.stored())
		return
	}
	old := &stored[0]
	row = row.onto(*old)
	switch {
	case m.kind == "ignore", m.kind == "guard" && old.Done:
	case m.kind == "plain":
		*old = row
	case old.Name != row.Name || old.Done != row.Done || old.Bits != row.Bits || *old.Size != *row.Size:
		row.Stage = old.Stage
		*old = row
	}
}

// retry applies the failed rows that are not rejected any more.
func (m *toldModel) retry(barred bool) {
	for id, rows := range m.failed {
		var left []told
		for _, row := range rows {
			if row.bad() && (barred || row.Name != barredName || row.Bits.V == badBits) {
				left = append(left, row)
				continue
			}
			m.apply(row)
			left = m.leave(left, row)
		}
		m.fail(id, left)
	}
}

func (m *toldModel) text() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(m.rows)) {
		var rows []string
		for _, r := range m.rows[id] {
			rows = append(rows, r.String())
		}
		slices.Sort(rows)
		out = append(out, rows...)
	}
	return out
}

// capricious makes some attempts fail in ways that pass, before or after they
// took effect (the answer to a COMMIT can get lost), and rejects rows of a name.
type capricious struct {
	dest.Sink
	rng    func() float64
	before bool // never after
	barred *atomic.Bool
}

var errFlaky = errors.New("the connection broke, as arranged")

func (f *capricious) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	if f.rng() < 0.15 {
		return dest.Result{}, errFlaky
	}
	for i := 0; i < b.Len() && f.barred.Load(); i++ {
		if name, _ := tuple.Field(b.Tuple(i), 1); string(name) == barredName {
			return dest.Result{}, dest.RowErrorf(i, "name", "23514", "%s", barredName)
		}
	}
	res, err := f.Sink.Write(ctx, b)
	if err == nil && !f.before && f.rng() < 0.15 {
		return dest.Result{}, errFlaky
	}
	return res, err
}

// Whatever happens in whatever order, the destination ends up with the rows
// applied one after another, every rejected row is listed, a retry brings in
// those that are good by then, and at every moment each row is in exactly one
// place. With each policy, and one to four workers.
func TestRandomHistories(t *testing.T) {
	for where, place := range places {
		for writer, batch := range writers {
			for kind, opts := range toldKinds {
				t.Run(where+"/"+writer+"/"+kind, func(t *testing.T) {
					t.Parallel()
					p := place(t)
					key, bits := " PRIMARY KEY", "varbit"
					if kind == "insert" {
						key = ""
					}
					if where == "sqlite" {
						bits = "text"
					}
					p.exec(t, "CREATE TABLE told (id bigint"+key+`, name text NOT NULL CONSTRAINT no_bad CHECK (name <> '`+badName+`'),
						stage text NOT NULL, seen bigint NOT NULL, done boolean NOT NULL, bits `+bits+` DEFAULT '111' CHECK (bits <> '`+badBits+`'),
						size bigint NOT NULL DEFAULT 0)`)
					for range *historyRuns {
						seed := *historySeed
						if seed == 0 {
							seed = rand.Uint64()
						}
						t.Logf("-history.seed=%d", seed)
						p.exec(t, "DELETE FROM told")
						h := &history{T: t, place: p, rng: rand.New(rand.NewPCG(seed, 1)), model: newToldModel(kind)}
						h.run(mustTable[told](t, "told", opts...), batch)
					}
				})
			}
		}
	}
}

type history struct {
	*testing.T
	*place
	rng    *rand.Rand
	model  *toldModel
	w      Writer[told]
	barred atomic.Bool // rows of barredName are rejected
	calm   atomic.Bool // faults are rare: a retry begins a page anew after each
	seen   int64
}

func (h *history) run(table Table[told], batch bool) {
	h.w = openWriter(h.T, table, h.Destination, Config{
		DisableMemoryDB: batch, SyncBatchSize: 1 + h.rng.IntN(60), SyncInterval: time.Duration(1+h.rng.IntN(20)) * time.Millisecond,
		MaxRows: 1 + h.rng.IntN(200), SyncWorkers: 1 + h.rng.IntN(4),
		OnSync: func(_ context.Context, ev SyncEvent) {
			if min(ev.Synced, ev.Superseded, ev.Skipped, ev.Failed, ev.Batches) < 0 {
				h.Errorf("a count of an event is negative: %+v", ev)
			}
		},
	})
	h.disturb()
	h.barred.Store(true)
	for range 40 {
		switch h.rng.IntN(7) {
		case 0, 1, 2:
			for range h.rng.IntN(50) {
				row := h.random()
				mustAdd(h.T, h.w, row)
				h.model.add(row)
			}
		case 3:
			rows := make([]told, h.rng.IntN(300))
			for i := range rows {
				rows[i] = h.random()
			}
			n, err := h.w.AddBatch(patient(h.T), rows)
			if n != len(rows) || err != nil {
				h.Fatal(n, err)
			}
			for _, row := range rows {
				h.model.add(row)
			}
		case 4:
			row := h.random()
			if err := h.w.TryAdd(row); err == nil {
				h.model.add(row)
			} else if !errors.Is(err, ErrBufferFull) {
				h.Fatal(err)
			}
		case 5:
			h.check()
		case 6:
			h.check()
			h.retry()
		}
		wantBalance(h.T, h.w.SyncStatus())
	}
	h.check()
	h.retry()
	h.check()
	abandon(h.w)
}

func (h *history) random() told {
	h.seen++
	row := told{ID: h.rng.Int64N(80), Name: fmt.Sprint("v", h.rng.IntN(4)), Stage: fmt.Sprint("s", h.rng.IntN(1000)), Seen: h.seen}
	row.Done = h.model.kind == "guard" && h.rng.IntN(30) == 0
	if h.rng.IntN(2) == 0 {
		row.Bits = Some(fmt.Sprintf("%b", 4+h.rng.IntN(3)))
	}
	if h.rng.IntN(3) == 0 {
		size := h.rng.Int64N(4)
		row.Size = &size
	}
	switch h.rng.IntN(35) {
	case 0:
		row.Name = badName
	case 1:
		row.Name = barredName
	case 2:
		row.Bits = Some(badBits)
	}
	return row
}

// retry tries the failed rows again, with or without what made them fail,
// until that is not cut short.
func (h *history) retry() {
	before := h.w.SyncStatus()
	h.calm.Store(true)
	defer h.calm.Store(false)
	h.barred.Store(h.rng.IntN(3) == 0)
	h.model.retry(h.barred.Load())
	var sum int64
	for {
		stored, err := h.w.RetrySyncErrors(patient(h.T))
		sum += stored
		wantBalance(h.T, h.w.SyncStatus())
		if errors.Is(err, ErrUnsynced) && errors.Is(err, errFlaky) {
			continue
		}
		if (err != nil) != (len(h.model.failed) > 0) && h.exact() || err != nil && !errors.Is(err, ErrRowsFailed) {
			h.Fatalf("%d keys have rejected rows, the retry returned %v", len(h.model.failed), err)
		}
		break
	}
	after := h.w.SyncStatus()
	if after.Synced-before.Synced != sum || after.Pending != 0 {
		h.Fatalf("the retries stored %d rows: %+v, then %+v", sum, before, after)
	}
	h.compare(after)
	h.barred.Store(true)
}

// exact reports whether it is known which rejected rows are kept. A row that
// would change nothing, because of the policy or the guard, is rejected or not
// needed, as the batches are.
func (h *history) exact() bool { return h.model.kind != "ignore" && h.model.kind != "guard" }

// check drains the writer and compares everything.
func (h *history) check() {
	h.Helper()
	if err := h.w.ForceSync(patient(h.T)); (err != nil) != (len(h.model.failed) > 0) && h.exact() || err != nil && !errors.Is(err, ErrRowsFailed) {
		h.Fatalf("%d keys have rejected rows, ForceSync returned %v", len(h.model.failed), err)
	}
	h.compare(h.w.SyncStatus())
}

func (h *history) compare(s SyncStatus) {
	h.Helper()
	wantBalance(h.T, s)
	if s.Total != h.model.added || s.Pending != 0 {
		h.Fatalf("%d rows added, status %+v", h.model.added, s)
	}
	failed := map[int64][]told{}
	var listed int64
	for f, err := range h.w.SyncErrors() {
		if err != nil {
			h.Fatal(err)
		}
		listed++
		failed[f.Row.ID] = append(failed[f.Row.ID], f.Row)
	}
	if h.exact() && fmt.Sprint(failed) != fmt.Sprint(h.model.failed) {
		h.Fatalf("rejected rows by key\n got %v\nwant %v", failed, h.model.failed)
	}
	h.model.failed = failed
	if s.Failed != listed {
		h.Fatalf("%d failed rows are listed, the status is %+v", listed, s)
	}
	h.settleLoose()
	wantRows(h.T, h.place, "SELECT id, name, stage, seen, bits, size FROM told ORDER BY id, CAST(id AS text) || '|' || name || '|' || stage || '|' || CAST(seen AS text) || '|' || CAST(bits AS text) || '|' || CAST(size AS text)"+h.collate(), h.model.text()...)
}

// collate makes a text order that of Go.
func (h *history) collate() string {
	if strings.Contains(h.Destination.String(), "sqlite") {
		return ""
	}
	return ` COLLATE "C"`
}

// settleLoose takes the passive columns of the keys over of which a row was
// rejected.
func (h *history) settleLoose() {
	if h.model.kind == "insert" {
		return
	}
	for _, row := range h.query(h.T, "SELECT id, seen FROM told") {
		var id, seen int64
		if _, err := fmt.Sscanf(row, "%d|%d", &id, &seen); err != nil {
			h.Fatal(err)
		}
		if stored := h.model.rows[id]; len(stored) > 0 && h.model.loose[id] {
			stored[0].Seen = seen
		}
	}
	clear(h.model.loose)
}

// disturb puts faults between the writer and its sink, and makes it impatient.
// Nothing was added yet, so nobody uses either.
func (h *history) disturb() {
	faults := rand.New(rand.NewPCG(h.rng.Uint64(), 2))
	var mu sync.Mutex // several batches may be on their way
	c := coreOf(h.w)
	c.sink = &capricious{Sink: c.sink, before: h.model.kind == "insert", barred: &h.barred, rng: func() float64 {
		mu.Lock()
		defer mu.Unlock()
		if h.calm.Load() {
			return 10 * faults.Float64()
		}
		return faults.Float64()
	}}
	c.cfg.RetryMaxDelay = time.Millisecond
}

func coreOf[T any](w Writer[T]) *core {
	if w, ok := w.(*MemoryDBWriter[T]); ok {
		return w.engine.core
	}
	return w.(*BatchDBWriter[T]).core
}
