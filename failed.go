package memdbwriter

import (
	"context"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Failed rows are kept until they are stored after all, or until a newer row
// of their key is stored, which supersedes them. So at any time the kept ones
// are those whose values the destination lacks, and trying them again never
// overwrites anything newer: what is newer is still waiting behind them.

// failedKeys knows the keys of the failed rows, each with their arrival
// numbers. It is empty for tables without a key.
type failedKeys map[string][]int64

// judge splits what a flush could not store, and what failed before, into the
// failures to keep and the numbers of the earlier ones that a stored row of the
// flush supersedes.
func (k failedKeys) judge(f *flush, keys int) (kept []stage.Failure, superseded []int64) {
	kept = f.failures()
	if keys == 0 || len(kept) == 0 && len(k) == 0 {
		return kept, nil
	}
	newest := k.newestStored(f, kept, keys)
	for key, seqs := range k {
		for _, seq := range seqs {
			if seq < newest[key] {
				superseded = append(superseded, seq)
			}
		}
	}
	kept = slices.DeleteFunc(kept, func(f stage.Failure) bool {
		return f.Seq < newest[string(tuple.Key(f.Tuple, keys))]
	})
	return kept, superseded
}

// newestStored returns, for each key of a failed row, the number of the newest
// row of that key that the flush has stored, 0 if it has stored none.
func (k failedKeys) newestStored(f *flush, failed []stage.Failure, keys int) map[string]int64 {
	newest := make(map[string]int64, len(k)+len(failed))
	for key := range k {
		newest[key] = 0
	}
	for i := range failed {
		newest[string(tuple.Key(failed[i].Tuple, keys))] = 0
	}
	for _, part := range f.stored {
		for i := range part.Rows {
			key := tuple.Key(part.Tuple(i), keys)
			if seq, ok := newest[string(key)]; ok {
				newest[string(key)] = max(seq, part.Rows[i].Seq)
			}
		}
	}
	return newest
}

// rowsOf returns those rows of a batch whose keys failed rows have.
func (k failedKeys) rowsOf(b *tuple.Batch, keys int) *tuple.Batch {
	some := &tuple.Batch{Data: b.Data}
	if len(k) == 0 {
		return some
	}
	for i := range b.Rows {
		if _, ok := k[string(tuple.Key(b.Tuple(i), keys))]; ok {
			some.Rows = append(some.Rows, b.Rows[i])
		}
	}
	return some
}

// update notes rows that have failed, and forgets rows that are gone.
func (k failedKeys) update(failed []stage.Failure, gone []int64, keys int) {
	if keys == 0 {
		return
	}
	for i := range failed {
		key := string(tuple.Key(failed[i].Tuple, keys))
		k[key] = append(k[key], failed[i].Seq)
	}
	if len(gone) == 0 {
		return
	}
	forget := make(map[int64]bool, len(gone))
	for _, seq := range gone {
		forget[seq] = true
	}
	for key, seqs := range k {
		if k[key] = slices.DeleteFunc(seqs, func(seq int64) bool { return forget[seq] }); len(k[key]) == 0 {
			delete(k, key)
		}
	}
}

// retried is what came of trying failed rows again.
type retried struct {
	gone  []int64         // stored now, or superseded by one that is
	again []stage.Failure // failed once more, with their history
	settlement
}

// retry writes failed rows again. The result holds also when there is an
// error, which says why it is not complete.
func (c *core) retry(ctx context.Context, r *reducer, k failedKeys, page []stage.Failure) (retried, error) {
	b := &batch{}
	history := make(map[int64]*stage.Failure, len(page))
	for i := range page {
		b.Append(page[i].Seq, page[i].Tuple)
		history[page[i].Seq] = &page[i]
	}
	b.prepare(c, r)
	err := b.flush.run(ctx)

	var res retried
	res.again, res.gone = k.judge(b.flush, c.table.ReplaceKeys())
	for i := range res.again {
		f := &res.again[i]
		f.Attempts += history[f.Seq].Attempts
		f.First = history[f.Seq].First
	}
	for _, part := range b.flush.stored {
		for _, row := range part.Rows {
			res.gone = append(res.gone, row.Seq)
		}
	}
	res.settlement = b.flush.settlement(0, 0, 0, len(res.gone))
	c.logFailed(b.flush.failed)
	return res, err
}

// retryFailed tries every failed row once. What is under way is finished
// first, since newer rows among it may be stored already.
func (s *syncer) retryFailed(ctx context.Context) (stored int64, err error) {
	nothing := func(int64) bool { return false }
	if err := s.move(ctx, &SyncEvent{}, nothing); err != nil {
		return 0, err
	}
	for after := int64(0); ; {
		page, err := s.store.Failures(after, s.cfg.SyncBatchSize)
		if err != nil || len(page) == 0 {
			return stored, err
		}
		after = page[len(page)-1].Seq
		res, err := s.retry(ctx, s.reduce, s.failed, page)
		if amendErr := s.amend(res.gone, res.again); amendErr != nil {
			return stored, amendErr
		}
		s.failed.update(nil, res.gone, s.table.ReplaceKeys())
		s.front.settle(res.settlement)
		stored += res.synced
		if err != nil {
			return stored, err
		}
	}
}

// amend notes what became of failed rows.
func (s *syncer) amend(gone []int64, again []stage.Failure) error {
	return s.disk.note(func() error {
		err := s.store.Amend(gone, again)
		if err == nil {
			s.disk.amend(gone, again)
		}
		return err
	})
}

// discardFailed forgets every failed row.
func (s *syncer) discardFailed() (discarded int64, err error) {
	for {
		page, err := s.store.Failures(0, s.cfg.SyncBatchSize)
		if err != nil || len(page) == 0 {
			return discarded, err
		}
		gone := make([]int64, len(page))
		for i := range page {
			gone[i] = page[i].Seq
		}
		if err := s.amend(gone, nil); err != nil {
			return discarded, err
		}
		s.failed.update(nil, gone, s.table.ReplaceKeys())
		n := int64(len(gone))
		s.front.settle(settlement{discarded: n, resolved: n})
		discarded += n
	}
}
