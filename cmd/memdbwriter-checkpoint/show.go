package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// show prints the rows that a replay would write, or those that were refused.
func show(ctx context.Context, c *console, args []string) (err error) {
	f := c.flags("show [flags] FILE...", "Prints the rows that a replay would write, a line for each, with their arrival numbers.")
	limit := f.Int64("limit", 0, "print this `number` of rows at most; 0 is all")
	failed := f.Bool("failed", false, "print the rows that the destination refused, and why")
	force := forceRead(f)
	if args, err = parse(f, args); err != nil {
		return err
	}
	if *limit < 0 {
		return usageError{fmt.Errorf("-limit %d: must be 0 or more", *limit)}
	}
	files, err := find(args)
	if err != nil {
		return err
	}
	if err := files.readable(*force); err != nil {
		return err
	}
	sources, err := files.sources(ctx)
	if err != nil {
		return err
	}
	files.warn(c)
	good := true
	p := printer{out: c.stdout, failed: *failed, left: *limit, endless: *limit == 0}
	for _, s := range sources {
		good = s.warn(c) && good
		p.columns = s.table.Columns
		if err := s.print(ctx, &p); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "-- %s of %s: %d rows that wait, %d refused ones (-failed shows them)\n",
			s, tableName(&s.table), s.rows, s.failed)
	}
	if !good {
		return errReported
	}
	return nil
}

func (s *source) print(ctx context.Context, p *printer) error {
	_, err := s.each(ctx, p.rows, p.refused)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// errEnough ends the reading.
var errEnough = errors.New("enough rows were shown")

type printer struct {
	out     io.Writer
	columns []tuple.Column
	failed  bool
	left    int64
	endless bool
}

// take reports whether another row may be printed.
func (p *printer) take() error {
	if p.left == 0 && !p.endless {
		return errEnough
	}
	p.left--
	return nil
}

func (p *printer) rows(b *tuple.Batch) error {
	if p.failed {
		return nil
	}
	for i := range b.Rows {
		if err := p.take(); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(p.out, "%d  %s\n", b.Rows[i].Seq, rowText(p.columns, b.Tuple(i))); err != nil {
			return err
		}
	}
	return nil
}

func (p *printer) refused(f dump.Failed) error {
	if !p.failed {
		return nil
	}
	if err := p.take(); err != nil {
		return err
	}
	text := fmt.Sprintf("%d  %s\n    refused %d times, last %s: %q", f.Seq, rowText(p.columns, f.Tuple),
		f.Attempts, f.Last.Format("2006-01-02 15:04:05Z"), f.Message)
	if f.Column != "" {
		text += fmt.Sprintf(", column %q", f.Column)
	}
	if f.SQLState != "" {
		text += fmt.Sprintf(", SQLSTATE %q", f.SQLState)
	}
	_, err := fmt.Fprintln(p.out, text)
	return err
}

// rowText is a row for people, in one line and without anything that a terminal
// would act upon.
func rowText(columns []tuple.Column, t []byte) string {
	var text []byte
	rest := tuple.Fields(t)
	for i, c := range columns {
		var field []byte
		var null bool
		absent := tuple.Absent(rest)
		field, null, rest = tuple.Next(rest)
		if i > 0 {
			text = append(text, ' ')
		}
		text = append(append(text, printableName(c.Name)...), '=')
		if absent {
			text = append(text, "(left out)"...)
			continue
		}
		if null {
			text = append(text, "NULL"...)
			continue
		}
		switch v, err := tuple.Value(c.Type, field); v := v.(type) {
		case string:
			text = strconv.AppendQuote(text, v)
		case []byte:
			text = fmt.Appendf(text, "x'%x'", v)
		default:
			if err != nil {
				v = "(unreadable)"
			}
			text = fmt.Append(text, v)
		}
	}
	return string(text)
}

// printableName quotes a name if it has to be.
func printableName(name string) string {
	if q := strconv.Quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}
