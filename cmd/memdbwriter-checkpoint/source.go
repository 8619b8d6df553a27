package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// source is rows of one writer: those of its journal, as a recovery would bring
// them back, or those of a checkpoint.
type source struct {
	files      *writerFiles
	table      dump.Table
	checkpoint *dump.Info    // nil: the journal is read
	journal    *journalFiles // nil: the checkpoint is read

	// What survey found.
	rows, failed int64
	missing      int64          // rows of which only the numbers are left
	also         map[int64]bool // rows of the checkpoint that failed while it was made
	problems     []journal.Problem
}

// sources are the writers' rows that the arguments stand for, all read once, so
// that nothing is written of files that are damaged.
func (f *found) sources(ctx context.Context) ([]*source, error) {
	if err := f.nothing(); err != nil {
		return nil, err
	}
	if len(f.strange) > 0 {
		return nil, fmt.Errorf("%s: %w; to go on without it, name the files that are good", f.strange[0].path, f.strange[0].err)
	}
	var all []*source
	for _, w := range f.writers {
		s := &source{files: w}
		err := s.choose()
		if err == nil {
			err = s.survey(ctx)
		}
		if errors.Is(err, dump.ErrDamaged) {
			err = fmt.Errorf("%w; to go on without it, move it away, or name an older one", err)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// choose chooses the journal, if a file of it is named: it has all that waits. Else it
// is the newest of the checkpoints that are named.
func (s *source) choose() error {
	w := s.files
	if w.journal != nil && slices.ContainsFunc(w.journal.segments, w.isNamed) {
		s.journal = w.journal
		s.table.Columns = s.journal.config.Columns
		s.table.Name = s.journal.config.Table
		if schema, name, ok := strings.Cut(s.table.Name, "."); ok { // else there is no schema
			s.table.Schema, s.table.Name = schema, name
		}
		return nil
	}
	for i := range w.infos {
		if w.infos[i].Err != nil && w.isNamed(w.infos[i].Path) {
			return w.infos[i].Err
		}
	}
	s.checkpoint = w.newest(func(i *dump.Info) bool { return w.isNamed(i.Path) })
	s.table = s.checkpoint.Table
	return nil
}

// String names the files.
func (s *source) String() string {
	if s.journal != nil {
		return journalName(s.journal)
	}
	return s.checkpoint.Path
}

// survey reads everything once and counts.
func (s *source) survey(ctx context.Context) error {
	s.also = map[int64]bool{}
	if s.checkpoint != nil {
		err := s.read(ctx, noRows, func(f dump.Failed) error {
			s.also[f.Seq] = true
			return nil
		})
		if err != nil {
			return err
		}
	}
	rec, err := s.each(ctx,
		func(b *tuple.Batch) error { s.rows += int64(b.Len()); return nil },
		func(dump.Failed) error { s.failed++; return nil })
	if rec != nil {
		s.missing, s.problems = rec.Missing, rec.Problems
	}
	return err
}

func noRows(*tuple.Batch) error { return nil }

// read reads the checkpoint.
func (s *source) read(ctx context.Context, rows func(*tuple.Batch) error, failed func(dump.Failed) error) error {
	d := dump.Dir{Path: s.files.dir, Identity: s.files.identity, Trust: true}
	_, err := d.Read(s.checkpoint.Path, s.table,
		func(b *tuple.Batch) error { return errors.Join(context.Cause(ctx), rows(b)) }, failed)
	return err
}

// each hands out rows that wait, in the order of their arrival, and failed
// ones. The recovery is nil without a journal.
func (s *source) each(ctx context.Context, rows func(*tuple.Batch) error, failed func(dump.Failed) error) (rec *journal.Recovery, err error) {
	if s.journal == nil {
		return nil, s.read(ctx, func(b *tuple.Batch) error {
			left := &tuple.Batch{Data: b.Data}
			for _, row := range b.Rows {
				if !s.also[row.Seq] {
					left.Rows = append(left.Rows, row)
				}
			}
			return rows(left)
		}, failed)
	}
	if rec, err = s.journal.scan(); err != nil {
		return nil, err
	}
	return rec, rec.Replay(journal.Visitor{
		Rows:   func(b *tuple.Batch) error { return errors.Join(context.Cause(ctx), rows(b)) },
		Failed: func(f *journal.Failure) error { return failed(dump.Failed(*f)) },
	})
}

// warn tells what somebody should know before trusting the rows, and reports
// whether the files are good.
func (s *source) warn(c *console) (good bool) {
	good = len(s.problems) == 0
	for _, p := range s.problems {
		c.note("%s: %v; what comes before the damage is used", p.File, p.Err)
	}
	if s.missing > 0 {
		c.note("%d rows that arrived are in none of these files", s.missing)
	}
	if s.checkpoint == nil {
		return good
	}
	if newest := s.files.newest(func(*dump.Info) bool { return true }); newest != s.checkpoint {
		c.note("%s is not the newest checkpoint of its writer, which is %s", s.checkpoint.Path, newest.Path)
	}
	if j := s.files.journal; j != nil {
		c.note("%s has what is not stored yet; a checkpoint is as old as it is", journalName(j))
	}
	c.note("what was stored after %s was made, on %s, cannot be told, and older values may replace newer ones; -policy ignore leaves rows alone that are there",
		s.checkpoint.Path, s.checkpoint.Created.Format("2006-01-02 15:04:05 MST"))
	return good
}
