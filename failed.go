package memdbwriter

import (
	"context"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Failed rows are kept until they are stored after all, or until a newer row
// of their key is stored, which supersedes them. So at any time the kept ones
// are those whose values the destination lacks, and trying them again never
// overwrites anything newer: what is newer is still waiting behind them.

// failedKeys knows the keys of the failed rows, which are columns wide. For
// tables without a key, of which columns is 0, it stays empty. What a method
// costs depends on the rows that it is about, not on how many have failed.
type failedKeys struct {
	columns int
	seqs    map[string][]int64 // by key, ascending
	key     map[int64]string   // by sequence number
}

func newFailedKeys(columns int) *failedKeys {
	return &failedKeys{columns: columns, seqs: map[string][]int64{}, key: map[int64]string{}}
}

// judge splits what a flush could not store, and what failed before, into the
// failures to keep and the numbers of the earlier ones that a stored row of the
// flush supersedes. Those that are in the flush themselves are among these.
func (k *failedKeys) judge(f *flush) (kept []stage.Failure, superseded []int64) {
	kept = f.failures()
	if k.columns == 0 || len(kept) == 0 && len(k.key) == 0 {
		return kept, nil
	}
	newest := k.newestStored(f, kept)
	for key, stored := range newest {
		seqs := k.seqs[key]
		older, _ := slices.BinarySearch(seqs, stored)
		superseded = append(superseded, seqs[:older]...)
	}
	kept = slices.DeleteFunc(kept, func(f stage.Failure) bool {
		return f.Seq < newest[string(tuple.Key(f.Tuple, k.columns))]
	})
	return kept, superseded
}

// newestStored returns the number of the newest row that the flush has stored,
// for each key of which it has stored one and a row has failed, earlier or in
// the flush.
func (k *failedKeys) newestStored(f *flush, failed []stage.Failure) map[string]int64 {
	inFlush := make(map[string]bool, len(failed))
	for i := range failed {
		inFlush[string(tuple.Key(failed[i].Tuple, k.columns))] = true
	}
	newest := map[string]int64{}
	for _, part := range f.stored {
		for i := range part.Rows {
			key := tuple.Key(part.Tuple(i), k.columns)
			if _, earlier := k.seqs[string(key)]; earlier || inFlush[string(key)] {
				newest[string(key)] = max(newest[string(key)], part.Rows[i].Seq)
			}
		}
	}
	return newest
}

// update adds rows that have failed, and forgets rows that are failed ones no
// longer.
func (k *failedKeys) update(failed []stage.Failure, gone []int64) {
	if k.columns == 0 {
		return
	}
	for i := range failed {
		key := string(tuple.Key(failed[i].Tuple, k.columns))
		k.seqs[key] = append(k.seqs[key], failed[i].Seq)
		k.key[failed[i].Seq] = key
		if seqs := k.seqs[key]; !slices.IsSorted(seqs[max(0, len(seqs)-2):]) {
			slices.Sort(seqs)
		}
	}
	keys := map[string]bool{}
	for _, seq := range gone {
		if key, ok := k.key[seq]; ok {
			keys[key] = true
			delete(k.key, seq)
		}
	}
	for key := range keys {
		left := slices.DeleteFunc(k.seqs[key], func(seq int64) bool { _, ok := k.key[seq]; return !ok })
		if k.seqs[key] = left; len(left) == 0 {
			delete(k.seqs, key)
		}
	}
}

// retried is what came of trying failed rows again. Each of them is in one of
// the two, or was not tried for the error.
type retried struct {
	gone  []int64         // stored, skipped or superseded now; may have rows of other pages
	again []stage.Failure // rejected once more, with their history
	settlement
}

// retry writes failed rows again. The result holds also when there is an
// error, which says why it is not complete.
func (c *core) retry(ctx context.Context, r *reducer, k *failedKeys, page []stage.Failure) (retried, error) {
	know := func(ctx context.Context) (dest.Result, error) { return dest.Result{}, dest.KnowKeys(ctx, c.sink) }
	if _, err := c.newFlush().within(ctx, know); err != nil {
		return retried{}, err
	}
	b := &batch{}
	history := make(map[int64]*stage.Failure, len(page))
	for i := range page {
		b.Append(page[i].Seq, page[i].Tuple)
		history[page[i].Seq] = &page[i]
	}
	b.prepare(c, r)
	b.reason = ReasonRetry
	if b.flush.inexact && b.flush.replaces {
		// Whether the destination has a newer row cannot be told by the bytes of
		// the keys. So these go in as new rows, the newest first, or not at all.
		b.flush.newestFirst()
	}
	err := c.writeBatch(ctx, b)
	c.logFailed(b.flush.failed)

	res := retried{gone: b.flush.storedSeqs()}
	again, superseded := k.judge(b.flush)
	res.again = again
	known := make(map[int64]bool, len(page))
	for _, seq := range res.gone {
		known[seq] = true
	}
	for i := range res.again {
		f := &res.again[i]
		known[f.Seq] = true
		f.Attempts += history[f.Seq].Attempts
		f.First = history[f.Seq].First
	}
	if err == nil {
		// Rows of the page that were not needed: another of their key decided.
		for i := range page {
			superseded = append(superseded, page[i].Seq)
		}
	}
	for _, seq := range superseded {
		if !known[seq] {
			known[seq] = true
			res.gone = append(res.gone, seq)
		}
	}
	c.emitFailed(res.again)
	res.settlement = b.flush.settlement(0, 0, 0, len(res.gone))
	return res, err
}

// retriedPage is a page of failed rows that are tried again, from the row after
// a number up to another one.
type retriedPage struct {
	after, upTo int64                     // upTo 0: every row that has failed so far
	due         func(*stage.Failure) bool // nil: all of them

	tried  bool  // some rows were
	last   int64 // the last row of the page
	more   bool  // there may be others behind it
	stored int64
	err    error // why some of the page, and those behind it, were not tried
}

// retryFailed tries the next failed rows once. What is under way is finished
// first, since newer rows among it may be stored already.
func (s *syncer) retryFailed(ctx context.Context, p *retriedPage) {
	if p.err = s.finish(ctx); p.err != nil {
		return
	}
	if p.upTo == 0 {
		p.upTo = s.settled
		if s.disk != nil {
			p.upTo = max(p.upTo, s.disk.known)
		}
	}
	page, err := s.store.Failures(p.after, s.cfg.SyncBatchSize)
	page = slices.DeleteFunc(page, func(f stage.Failure) bool { return f.Seq > p.upTo })
	if p.err = err; err != nil || len(page) == 0 {
		return
	}
	p.last, p.more = page[len(page)-1].Seq, true
	if p.due != nil {
		if page = slices.DeleteFunc(page, func(f stage.Failure) bool { return !p.due(&f) }); len(page) == 0 {
			return
		}
	}
	p.tried = true
	res, err := s.retry(ctx, s.reduce, s.failed, page)
	p.err = err
	if err := s.amend(res.gone, res.again); err != nil {
		p.err = err
		return
	}
	s.failed.update(nil, res.gone)
	s.front.settle(res.settlement)
	p.stored = res.synced
}

// amend notes what became of failed rows.
func (s *syncer) amend(gone []int64, again []stage.Failure) error {
	err := s.store.Amend(gone, again)
	if err == nil {
		s.disk.amend(gone, again)
	}
	return err
}

// discardFailed forgets failed rows.
func (s *syncer) discardFailed(which selection) (discarded int64, err error) {
	for after := which.before(); after < which.last(); {
		page, err := s.store.Failures(after, s.cfg.SyncBatchSize)
		if err != nil || len(page) == 0 {
			return discarded, err
		}
		after = page[len(page)-1].Seq
		var gone []int64
		for i := range page {
			if which.has(&page[i]) {
				gone = append(gone, page[i].Seq)
			}
		}
		if len(gone) == 0 {
			continue
		}
		if err := s.amend(gone, nil); err != nil {
			return discarded, err
		}
		s.failed.update(nil, gone)
		n := int64(len(gone))
		s.front.settle(settlement{discarded: n, resolved: n})
		discarded += n
	}
	return discarded, nil
}
