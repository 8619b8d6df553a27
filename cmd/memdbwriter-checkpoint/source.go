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

// source is rows of one writer, as a recovery would bring them back.
type source struct {
	files      *writerFiles
	table      dump.Table
	checkpoint *dump.Info    // nil: none
	journal    *journalFiles // nil: none, or not to be used

	// What survey found.
	rows, failed int64
	settled      int64          // rows of the checkpoint that are stored by now
	missing      int64          // rows of which only the numbers are left
	also         map[int64]bool // rows of the checkpoint that failed while it was made
	problems     []journal.Problem
}

// sources are the writers' rows that the arguments stand for, all read once, so
// that nothing is written of files that are damaged. alone leaves the journals
// beside checkpoints alone.
func (f *found) sources(ctx context.Context, alone bool) ([]*source, error) {
	if err := f.nothing(); err != nil {
		return nil, err
	}
	if len(f.strange) > 0 {
		return nil, fmt.Errorf("%s: %w; to go on without it, name the files that are good", f.strange[0].path, f.strange[0].err)
	}
	var all []*source
	for _, w := range f.writers {
		s := &source{files: w, journal: w.journal}
		if alone {
			s.journal = nil
		}
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

// choose finds the checkpoint to begin with, and the columns. Of several ones
// that are named the newest has whatever of the others is not stored yet.
func (s *source) choose() error {
	w := s.files
	for i := range w.infos {
		if w.infos[i].Err != nil && w.isNamed(w.infos[i].Path) {
			return w.infos[i].Err
		}
	}
	s.checkpoint = w.newest(func(i *dump.Info) bool { return w.isNamed(i.Path) })
	if s.checkpoint == nil && s.journal != nil {
		s.checkpoint = w.newest(func(*dump.Info) bool { return true })
	}
	if s.checkpoint != nil {
		s.table = s.checkpoint.Table
		if s.journal != nil && !slices.Equal(s.journal.config.Columns, s.table.Columns) {
			return fmt.Errorf("%s and the journal beside it have different columns; -alone leaves the journal out", s.checkpoint.Path)
		}
		return nil
	}
	if s.journal == nil {
		return errors.New("-alone leaves out the journal, and no checkpoint is named")
	}
	s.table.Columns = s.journal.config.Columns
	s.table.Name = s.journal.config.Table
	if schema, name, ok := strings.Cut(s.table.Name, "."); ok { // else there is no schema
		s.table.Schema, s.table.Name = schema, name
	}
	return nil
}

// String names the files.
func (s *source) String() string {
	var names []string
	if s.checkpoint != nil {
		names = append(names, s.checkpoint.Path)
	}
	if s.journal != nil {
		names = append(names, journalName(s.journal))
	}
	return strings.Join(names, " and ")
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
	known := func(int64, bool) bool { return false }
	if s.journal != nil {
		if rec, err = s.journal.scan(); err != nil {
			return nil, err
		}
		known = rec.Supersedes
	}
	var after int64
	if s.checkpoint != nil {
		after = s.checkpoint.LastSeq
		s.settled = 0
		err := s.read(ctx,
			func(b *tuple.Batch) error {
				left := &tuple.Batch{Data: b.Data}
				for _, row := range b.Rows {
					switch {
					case s.also[row.Seq]:
					case known(row.Seq, false):
						s.settled++
					default:
						left.Rows = append(left.Rows, row)
					}
				}
				return rows(left)
			},
			func(f dump.Failed) error {
				if known(f.Seq, true) {
					return nil
				}
				return failed(f)
			})
		if err != nil {
			return nil, err
		}
	}
	if rec == nil {
		return nil, nil
	}
	return rec, rec.Replay(after, journal.Visitor{
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
	for i := range s.files.infos {
		info := &s.files.infos[i]
		if info == s.checkpoint {
			break // the others are older
		}
		if info.Err != nil {
			good = good && s.checkpoint != nil && s.files.isNamed(s.checkpoint.Path) // so it is on purpose
			c.note("%v; it is left out", info.Err)
		}
	}
	if s.files.journal == nil {
		for _, u := range s.files.unknown {
			c.note("%s: %v; if it is of the same journal, what was stored by now cannot be told without it", u.path, u.err)
		}
	}
	if s.missing > 0 {
		c.note("%d rows that arrived are in none of these files", s.missing)
	}
	switch newest := s.files.newest(func(*dump.Info) bool { return true }); {
	case s.checkpoint == nil:
	case newest != s.checkpoint:
		c.note("%s is not the newest checkpoint of its writer: %s has what is not stored yet", s.checkpoint.Path, newest.Path)
	case s.journal == nil:
		c.note("no journal is used with %s: what was stored after %s cannot be told, and older values may replace newer ones; -policy ignore leaves rows alone that are there",
			s.checkpoint.Path, s.checkpoint.Created.Format("2006-01-02 15:04:05 MST"))
	}
	return good
}
