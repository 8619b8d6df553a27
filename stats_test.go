package memdbwriter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

func TestOldestPendingIsTheAgeOfTheOldestRow(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		w := open(&script{}, Config{SyncInterval: time.Hour, SyncBatchSize: 3})
		age := func(atLeast, atMost time.Duration) {
			t.Helper()
			if s := w.SyncStatus(); s.OldestPending < atLeast || s.OldestPending > atMost {
				t.Errorf("the oldest of %d rows waits %v, want from %v to %v", s.Pending, s.OldestPending, atLeast, atMost)
			}
		}
		age(0, 0)
		mustAdd(t, w, newItem(1, "x"))
		age(0, 0)
		time.Sleep(time.Millisecond) // it is not staged yet
		age(time.Millisecond, time.Millisecond)
		time.Sleep(time.Minute)
		mustAdd(t, w, newItem(2, "x"))
		age(time.Minute, time.Minute+time.Millisecond)
		mustSync(t, w)
		age(0, 0)
		time.Sleep(time.Minute)
		mustAdd(t, w, newItem(3, "x"))
		time.Sleep(time.Second)
		age(time.Second, time.Second)
		mustStop(t, w)
		age(0, 0)
	})
}

// While a batch is on its way, its oldest row counts, and not the first one that
// came meanwhile.
func TestOldestPendingOfARowInFlight(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		proceed := make(chan struct{})
		w := open(&script{write: func(context.Context, []string) error { <-proceed; return nil }}, Config{SyncInterval: 10 * time.Minute})
		mustAdd(t, w, newItem(1, "x"))
		time.Sleep(time.Minute)
		done := make(chan error, 1)
		go func() { done <- w.ForceSync(t.Context()) }()
		synctest.Wait()
		mustAdd(t, w, newItem(2, "x"))
		time.Sleep(time.Minute)
		if s := w.SyncStatus(); s.OldestPending != 2*time.Minute {
			t.Errorf("in flight: %v", s.OldestPending)
		}
		close(proceed)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if s := w.SyncStatus(); s.Pending != 1 || s.OldestPending < time.Minute || s.OldestPending > time.Minute+5*time.Millisecond {
			t.Errorf("behind it: %v of %d", s.OldestPending, s.Pending)
		}
		mustStop(t, w)
	})
}

func TestUsageAndTheMarkBeforeFull(t *testing.T) {
	for name, cfg := range map[string]Config{"rows": {MaxRows: 10}, "bytes": {MaxBytes: 10 * itemBytes(t)}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, hold := &logbook{}, make(chan struct{})
				cfg.Logger, cfg.SyncInterval, cfg.SyncBatchSize = slog.New(log), time.Hour, 4
				w := scriptedWriter(t, &script{write: func(context.Context, []string) error { <-hold; return nil }}, cfg)
				for i := range 10 {
					mustAdd[item](t, w, newItem(int64(i), "x"))
					time.Sleep(2 * linger)
					s := w.SyncStatus()
					if want := float64(i+1) / 10; math.Abs(s.Usage-want) > 1e-9 || s.NearFull != (i >= 7) {
						t.Errorf("%d rows: usage %v, near full %v", i+1, s.Usage, s.NearFull)
					}
				}
				if s := w.SyncStatus(); s.State != StateFull || s.TimeToFull != 0 {
					t.Errorf("full: %+v", s)
				}
				hold <- struct{}{} // four rows
				synctest.Wait()
				if s := w.SyncStatus(); s.Pending != 6 || !s.NearFull {
					t.Errorf("%d rows: near full %v", s.Pending, s.NearFull)
				}
				close(hold)
				mustSync[item](t, w)
				if s := w.SyncStatus(); s.Usage != 0 || s.NearFull {
					t.Errorf("empty: %+v", s)
				}
				mustStop[item](t, w)
				if n := log.count("WARN buffer nearly full"); n != 1 {
					t.Errorf("%d warnings", n)
				}
			})
		})
	}
}

func itemBytes(t *testing.T) int64 {
	t.Helper()
	table, row := itemTable(t), newItem(1, "x")
	b, err := table.encode(nil, &row)
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(b))
}

func TestEstimates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := false
		w := scriptedWriter(t, &script{write: func(_ context.Context, names []string) error {
			if away {
				return &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("away")}
			}
			time.Sleep(time.Duration(len(names)) * time.Millisecond)
			return nil
		}}, Config{MaxRows: 10_000, SyncInterval: time.Hour, SyncBatchSize: 100})
		if s := w.SyncStatus(); s.TimeToDrain != 0 || s.TimeToFull >= 0 {
			t.Errorf("new: %v, %v", s.TimeToDrain, s.TimeToFull)
		}
		mustAdd[item](t, w, newItem(0, "x"))
		if s := w.SyncStatus(); s.TimeToDrain >= 0 {
			t.Errorf("before the first batch: %v", s.TimeToDrain)
		}
		for i := range 1000 {
			mustAdd[item](t, w, newItem(int64(i), "x"))
		}
		mustSync[item](t, w)
		for i := range 50 {
			mustAdd[item](t, w, newItem(int64(i), "x"))
		}
		synctest.Wait()
		if s := w.SyncStatus(); s.TimeToDrain < 45*time.Millisecond || s.TimeToDrain > 55*time.Millisecond {
			t.Errorf("50 rows at 1,000 a second: %v", s.TimeToDrain)
		}
		away = true
		for range 120 { // ten rows a second
			time.Sleep(time.Second)
			for i := range 10 {
				mustAdd[item](t, w, newItem(int64(i), "x"))
			}
			_ = w.SyncStatus()
		}
		s := w.SyncStatus()
		want := time.Duration(10_000-s.Pending) * time.Second / 10
		if s.TimeToDrain >= 0 || s.TimeToFull < want*8/10 || s.TimeToFull > want*12/10 {
			t.Errorf("away: %v to drain, %v to full, want %v", s.TimeToDrain, s.TimeToFull, want)
		}
		away = false
		mustStop[item](t, w)
		if s := w.SyncStatus(); s.TimeToDrain != 0 {
			t.Errorf("stopped: %v", s.TimeToDrain)
		}
	})
}

func TestLimitsInForce(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		w := open(&script{}, Config{MaxBytes: 1 << 20, SyncWorkers: 2})
		want := Limits{MaxRows: defaultMaxRows, MaxBytes: 1 << 20, MaxFailedRows: defaultMaxFailed, BatchRows: defaultBatchSize, BatchBytes: maxBatchBytes, Workers: 2}
		if got := w.Stats().Limits; got != want {
			t.Errorf("%+v", got)
		}
		mustStop(t, w)
	})
}

// Each field has a key of its own, with its value: a figure that is added later,
// too.
func TestStatsAsJSON(t *testing.T) {
	var s Stats
	n := fillFigures(reflect.ValueOf(&s).Elem(), 0)
	var got map[string]any
	text, err := json.Marshal(map[string]any{"stats": s, "pointer": &s})
	if err == nil {
		var both map[string]map[string]any
		err = json.Unmarshal(text, &both)
		got = both["stats"]
		if !reflect.DeepEqual(got, both["pointer"]) {
			t.Error("a pointer is another object")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for key, value := range got {
		seen[fmt.Sprint(value)] = true
		if value == nil {
			t.Errorf("%s is null", key)
		}
	}
	if want := reflect.TypeFor[Stats]().NumField() - 1 + reflect.TypeFor[SyncStatus]().NumField(); len(got) != want || n < want {
		t.Errorf("%d keys of %d fields", len(got), want)
	}
	for key, want := range map[string]any{
		"last_error": "error of LastError", "disk_error": "error of DiskError", "state": "text of State", "syncing": true,
		"oldest_pending_seconds": float64(s.OldestPending.Seconds()), "last_panic": "error of LastPanic",
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	status, err := json.Marshal(s.SyncStatus)
	var of map[string]any
	if err = errors.Join(err, json.Unmarshal(status, &of)); err != nil || len(of) != reflect.TypeFor[SyncStatus]().NumField() {
		t.Errorf("%d keys, %v", len(of), err)
	}
	for key := range of {
		if !reflect.DeepEqual(of[key], got[key]) {
			t.Errorf("%s differs", key)
		}
	}
	empty, err := json.Marshal(Stats{SyncStatus: SyncStatus{TimeToDrain: -1}})
	var none map[string]any
	if err = errors.Join(err, json.Unmarshal(empty, &none)); err != nil || none["last_error"] != nil || none["last_sync"] != nil || none["time_to_drain_seconds"] != nil {
		t.Errorf("%s, %v", empty, err)
	}
}

// fillFigures gives each field a value of its own, and returns how many there are.
func fillFigures(v reflect.Value, n int) int {
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		n++
		switch field.Interface().(type) {
		case int64, time.Duration:
			field.SetInt(int64(n) * 1e9)
		case float64:
			field.SetFloat(float64(n) / 7)
		case bool:
			field.SetBool(true)
		case State, string:
			field.SetString("text of " + name)
		case time.Time:
			field.Set(reflect.ValueOf(time.Unix(int64(n), 0)))
		case map[Reason]int64:
			field.Set(reflect.ValueOf(map[Reason]int64{"a": int64(n)}))
		case map[string]int64:
			field.Set(reflect.ValueOf(map[string]int64{"b": int64(n)}))
		case map[Reason]time.Duration:
			field.Set(reflect.ValueOf(map[Reason]time.Duration{"c": time.Duration(n)}))
		case nil:
			field.Set(reflect.ValueOf(errors.New("error of " + name)))
		default:
			n = fillFigures(field, n)
		}
	}
	return n
}
