package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"
)

// A writer that keeps nothing on disk has what another one left there stored
// before it begins, or does not begin.
func TestAWriterWithoutADiskAndWhatAnotherLeft(t *testing.T) {
	for _, level := range levels {
		for kind, open := range map[string]func(context.Context, *script, Config) (Writer[item], error){
			"level none": func(ctx context.Context, sink *script, cfg Config) (Writer[item], error) {
				cfg.Durability = DurabilityNone
				return New(ctx, itemTable(t), &Destination{scripted{sink}}, cfg)
			},
			"compatibility": func(ctx context.Context, sink *script, cfg Config) (Writer[item], error) {
				cfg.DisableMemoryDB = true
				return Open(ctx, itemTable(t), &Destination{scripted{sink}}, cfg)
			},
		} {
			t.Run(string(level)+"/"+kind, func(t *testing.T) {
				cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
				w := scriptedWriter(t, &script{}, cfg)
				mustAdd[item](t, w, newItem(1, "old"), newItem(2, "bad"))
				if err := w.Persist(patient(t)); err != nil {
					t.Fatal(err)
				}
				_, err := open(patient(t), &script{}, cfg)
				wantError(t, err, ErrLocked)
				crash(t, w, &cfg)

				away := &script{write: func(context.Context, []string) error { return errors.New("away") }}
				away.check = func() error { return errors.New("away") }
				_, err = open(patient(t), away, cfg)
				wantError(t, err, ErrRecovery, cfg.CheckpointDir, "away")

				sink := refusing("bad")
				_, err = open(patient(t), sink, cfg)
				wantError(t, err, ErrRecovery, "1 failed rows", "DiscardSyncErrors")
				w = scriptedWriter(t, sink, cfg)
				if n, err := w.DiscardSyncErrors(patient(t)); n != 1 || err != nil {
					t.Errorf("%d failed rows are given up: %v", n, err)
				}
				mustStop[item](t, w)
				for range 2 { // nothing is delivered twice
					next, err := open(patient(t), sink, cfg)
					if err != nil {
						t.Fatal(err)
					}
					mustAdd(t, next, newItem(1, "new"))
					mustStop(t, next)
				}
				if names := fmt.Sprint(sink.names()); names != "[old new new]" {
					t.Errorf("sent: %s", names)
				}
			})
		}
	}
}

// Nothing keeps a writer without a disk from beginning when nothing is left.
func TestAWriterWithoutADiskAndNothingLeft(t *testing.T) {
	cfg := Config{CheckpointDir: t.TempDir(), SyncInterval: time.Hour}
	w := scriptedWriter(t, &script{}, cfg)
	mustAdd[item](t, w, newItem(1, "one"))
	if _, err := w.Checkpoint(patient(t)); err != nil {
		t.Fatal(err)
	}
	mustStop[item](t, w)
	cfg.Durability = DurabilityNone
	away := &script{check: func() error { return errors.New("away") }}
	w = scriptedWriter(t, away, cfg)
	mustStop[item](t, w)
}

// Files that another name of the destination hides are told of.
func TestFilesUnderAnotherNameOfTheDestination(t *testing.T) {
	p, other := sqlitePlace(t), sqlitePlace(t)
	p.createItems(t)
	other.createItems(t)
	cfg := Config{CheckpointDir: t.TempDir(), SyncInterval: time.Hour}
	w := openDurable(t, p, cfg)
	mustAdd[item](t, w, newItem(1, "one"))
	if err := w.Persist(patient(t)); err != nil {
		t.Fatal(err)
	}
	log := &logbook{}
	cfg.Logger = slog.New(log)
	mustStop[item](t, openDurable(t, other, cfg))
	log.want(t, 1, "INFO the directory has files of other writers", "journal_items-")
	mustStop[item](t, w)
	mustStop[item](t, openDurable(t, p, cfg))
	log.want(t, 1, "INFO the directory has files of other writers")
}
