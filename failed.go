package memdbwriter

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Failed rows are kept until they are stored after all, or until a newer row
// of their key is stored, which supersedes them. One that leaves out columns
// supersedes no more of them than it has: what is left of a failed row then
// stays failed. So at any time the kept ones are those whose values the
// destination lacks, and trying them again never overwrites anything newer: what
// is newer is still waiting behind them.

// failedKeys knows the keys of the failed rows, which are columns wide. For
// tables without a key, of which columns is 0, it stays empty. What a method
// costs depends on the rows that it is about, not on how many have failed.
type failedKeys struct {
	columns  int
	cols     []tuple.Column
	optional []bool             // by column: a row can leave it out
	worth    []bool             // by column: an update may write it
	seqs     map[string][]int64 // by key, ascending
	key      map[int64]string   // by sequence number
}

func newFailedKeys(t *dest.Table) *failedKeys {
	k := &failedKeys{columns: t.ReplaceKeys(), cols: tupleColumns(t), seqs: map[string][]int64{}, key: map[int64]string{}}
	for i, c := range t.Columns {
		k.optional = append(k.optional, c.Absent)
		k.worth = append(k.worth, i >= t.Keys && t.Policy == dest.Update && !c.InsertOnly && !c.Passive)
	}
	return k
}

// judged is what a flush means for failed rows.
type judged struct {
	kept []stage.Failure // rows of the flush that are failed now, or still
	gone []int64         // earlier ones that rows of the flush supersede
	left []stage.Failure // earlier ones that they supersede in part, with the rest
}

// judge says which failed rows a flush leaves. What it needs to know of the
// earlier ones it asks for by number.
func (k *failedKeys) judge(f *flush, earlier func(seq int64) (stage.Failure, error)) (judged, error) {
	j := judged{kept: f.failures()}
	if k.columns == 0 || len(j.kept) == 0 && len(k.key) == 0 {
		return j, nil
	}
	newer := k.storedBy(f, j.kept)
	if len(newer) == 0 {
		return j, nil
	}
	done := map[int64]bool{}
	kept := j.kept[:0]
	for _, f := range j.kept {
		done[f.Seq] = true
		if f.Tuple = k.leftover(f.Seq, f.Tuple, newer[string(tuple.Key(f.Tuple, k.columns))]); f.Tuple != nil {
			kept = append(kept, f)
		} else if _, before := k.key[f.Seq]; before {
			j.gone = append(j.gone, f.Seq)
		}
	}
	j.kept = kept
	for key, stored := range newer {
		for _, row := range stored {
			done[row.seq] = true
		}
		for _, seq := range k.seqs[key] {
			if done[seq] || seq > stored[len(stored)-1].seq {
				continue
			}
			if k.covers(seq, stored) {
				j.gone = append(j.gone, seq)
				continue
			}
			f, err := earlier(seq)
			if err != nil {
				return judged{}, err
			}
			if f.Tuple = k.leftover(seq, f.Tuple, stored); f.Tuple == nil {
				j.gone = append(j.gone, seq)
			} else {
				j.left = append(j.left, f)
			}
		}
	}
	return j, nil
}

// storedRow is a row that a flush has stored.
type storedRow struct {
	seq   int64
	tuple []byte
}

// storedBy returns the rows that the flush has stored, by their keys and in the
// order of arrival, of the keys of which a row has failed, earlier or in the
// flush.
func (k *failedKeys) storedBy(f *flush, failed []stage.Failure) map[string][]storedRow {
	inFlush := make(map[string]bool, len(failed))
	for i := range failed {
		inFlush[string(tuple.Key(failed[i].Tuple, k.columns))] = true
	}
	stored := map[string][]storedRow{}
	for _, part := range f.stored {
		for i := range part.Rows {
			key := tuple.Key(part.Tuple(i), k.columns)
			if _, earlier := k.seqs[string(key)]; earlier || inFlush[string(key)] {
				stored[string(key)] = append(stored[string(key)], storedRow{part.Rows[i].Seq, part.Tuple(i)})
			}
		}
	}
	for _, rows := range stored {
		slices.SortFunc(rows, func(a, b storedRow) int { return cmp.Compare(a.seq, b.seq) })
	}
	return stored
}

// covers tells whether a stored row that is newer than a failed one of its key
// has every column, so that nothing is left of that whatever it has.
func (k *failedKeys) covers(seq int64, stored []storedRow) bool {
	return slices.ContainsFunc(stored, func(row storedRow) bool { return row.seq > seq && tuple.Absences(row.tuple) == nil })
}

// leftover returns what the stored rows of its key leave of a failed row: all of
// it if none is newer, nil if no update would write any of it.
func (k *failedKeys) leftover(seq int64, failed []byte, stored []storedRow) []byte {
	for _, row := range stored {
		if row.seq < seq {
			continue
		}
		if !k.outlasts(failed, row.tuple) {
			return nil
		}
		failed = tuple.Leftover(failed, row.tuple, k.cols, k.optional)
	}
	return failed
}

// outlasts tells whether a failed row has a column that a newer one leaves out and
// that an update may write.
func (k *failedKeys) outlasts(failed, newer []byte) bool {
	x, y := tuple.Fields(failed), tuple.Fields(newer)
	for _, worth := range k.worth {
		if worth && tuple.Absent(y) && !tuple.Absent(x) {
			return true
		}
		_, _, x = tuple.Next(x)
		_, _, y = tuple.Next(y)
	}
	return false
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
	again []stage.Failure // rejected once more, with their history, or superseded in part; may have rows of other pages, too
	settlement
}

// retry writes failed rows again. The result holds also when there is an
// error, which says why it is not complete.
func (c *core) retry(ctx context.Context, r *reducer, k *failedKeys, page []stage.Failure, earlier func(int64) (stage.Failure, error)) (retried, error) {
	know := func(ctx context.Context) (dest.Result, error) { return dest.Result{}, dest.KnowKeys(ctx, c.sink) }
	if err := <-apart(func() error { _, err := c.newFlush().within(ctx, know); return err }); err != nil {
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
	err := <-apart(func() error { return c.writeBatch(ctx, b) })
	c.logFailed(b.flush.failed)

	j, judgeErr := k.judge(b.flush, earlier)
	if judgeErr != nil {
		return retried{}, judgeErr
	}
	res := retried{gone: b.flush.storedSeqs()}
	known := make(map[int64]bool, len(page))
	for _, seq := range res.gone {
		known[seq] = true
	}
	for _, f := range j.kept {
		before := history[f.Seq]
		f.Attempts += before.Attempts
		f.First = before.First
		if bytes.Equal(f.Tuple, before.Tuple) {
			f.Tuple = before.Tuple // not the batch's memory
		}
		res.again = append(res.again, f)
	}
	c.emitFailed(res.again)
	res.again = append(res.again, j.left...)
	for i := range res.again {
		known[res.again[i].Seq] = true
	}
	if err == nil {
		// Rows of the page that were not needed: another of their key decided.
		for i := range page {
			j.gone = append(j.gone, page[i].Seq)
		}
	}
	for _, seq := range j.gone {
		if !known[seq] {
			known[seq] = true
			res.gone = append(res.gone, seq)
		}
	}
	res.settlement = b.flush.settlement(0, 0, 0, len(res.gone))
	return res, err
}

// failure returns a failed row.
func (s *syncer) failure(seq int64) (stage.Failure, error) {
	page, err := s.store.Failures(seq-1, 1)
	if err == nil && (len(page) == 0 || page[0].Seq != seq) {
		err = fmt.Errorf("memdbwriter: the staging table lost the failed row %d", seq)
	}
	if err != nil {
		return stage.Failure{}, err
	}
	return page[0], nil
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
// first, since newer rows among it may be stored already. During a pause nothing
// is sent, and the page has ErrPaused.
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
	res, err := s.retry(ctx, s.reduce, s.failed, page, s.failure)
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
		if err := s.store.Amend(gone, nil); err != nil {
			return discarded, err
		}
		s.disk.discard(gone)
		s.failed.update(nil, gone)
		n := int64(len(gone))
		s.front.settle(settlement{discarded: n, resolved: n})
		discarded += n
	}
	return discarded, nil
}
