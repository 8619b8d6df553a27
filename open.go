package memdbwriter

import (
	"context"
	"iter"
)

// Writer is what both writers do, so that the choice between them is a
// setting and not code. The contracts are those of MemoryDBWriter.
type Writer[T any] interface {
	Add(ctx context.Context, row T) error
	TryAdd(row T) error
	AddBatch(ctx context.Context, rows []T) (n int, err error)
	ForceSync(ctx context.Context) error
	SyncErrors() iter.Seq2[FailedRow[T], error]
	RetrySyncErrors(ctx context.Context) (stored int64, err error)
	DiscardSyncErrors(ctx context.Context) (discarded int64, err error)
	RetryFailed(ctx context.Context, seqs []int64) (stored int64, err error)
	DiscardFailed(ctx context.Context, seqs []int64) (discarded int64, err error)
	SyncStatus() SyncStatus
	Stats() Stats
	Stop(ctx context.Context) error
}

// Open makes the writer that cfg asks for: a MemoryDBWriter, or with
// DisableMemoryDB (USE_MEMORY_DB=false) a BatchDBWriter. Errors are those of
// New.
func Open[T any](ctx context.Context, table Table[T], d *Destination, cfg Config) (Writer[T], error) {
	if cfg.DisableMemoryDB {
		w, err := NewBatch(ctx, table, d, cfg)
		if err != nil {
			return nil, err
		}
		return w, nil
	}
	w, err := New(ctx, table, d, cfg)
	if err != nil {
		return nil, err
	}
	return w, nil
}
