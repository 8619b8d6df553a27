package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/joho/godotenv"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// options are the flags of replay.
type options struct {
	url        string
	table      string // empty: the one in the file
	policy     dest.Policy
	key        []string // nil: to be found
	insertOnly []string
	guard      string
	failed     bool
	dry        bool
	batch      int

	paths []string
}

func (c *console) replayOptions(args []string) (o options, err error) {
	f := c.flags("replay [flags] FILE...", "Writes the rows of checkpoints and journals into a database. For tables with a key it is safe to repeat;\nwith -policy insert a repetition inserts the rows again.")
	f.StringVar(&o.url, "db", "", "destination `URL`: postgres://user@host/database, opengauss://... or sqlite:file.db. Others see it\n"+
		"in the list of processes: give a password by MEMORY_DB_DATABASE_URL, which is the default, else DATABASE_URL")
	f.StringVar(&o.table, "table", "", "`name` or schema.name of the table (default: the one in the file)")
	f.Func("policy", "`what` to do with a row whose key is there: update (default) or ignore; or insert, which writes all rows as new ones", func(s string) error {
		var ok bool
		if o.policy, ok = policies[s]; !ok {
			return errors.New("must be update, ignore or insert")
		}
		return nil
	})
	list := func(name string, into *[]string, about string) {
		f.Func(name, about, func(s string) error { *into = strings.Split(s, ","); return nil })
	}
	list("key", &o.key, "`columns` of the key, with commas between them (default: those of the table's only unique index that fits)")
	list("insertonly", &o.insertOnly, "`columns` that are never overwritten in a row that is there")
	f.StringVar(&o.guard, "guard", "", "boolean `column`: rows in which it is true are left alone")
	f.BoolVar(&o.failed, "failed", false, "try the rows that the destination refused, too")
	f.BoolVar(&o.dry, "n", false, "dry run: say what would be done, and do not write")
	f.IntVar(&o.batch, "batch", 5000, "`rows` in a transaction")
	if o.paths, err = parse(f, args); err != nil {
		return o, err
	}
	return o, o.check(f)
}

var policies = map[string]dest.Policy{"update": dest.Update, "ignore": dest.Ignore, "insert": dest.InsertOnly}

func (o *options) check(f *flag.FlagSet) error {
	switch {
	case o.batch < 1 || o.batch > 1_000_000:
		return usageError{fmt.Errorf("-batch %d: must be from 1 to 1000000", o.batch)}
	case o.policy == dest.InsertOnly && o.key != nil:
		return usageError{errors.New("-policy insert takes no -key: every row is a new one")}
	case o.policy != dest.Update && (o.insertOnly != nil || o.guard != ""):
		return usageError{errors.New("-insertonly and -guard have a meaning with -policy update only")}
	}
	if o.url != "" {
		return nil
	}
	values, err := godotenv.Read(".env")
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
	case errors.As(err, new(*fs.PathError)):
		return err
	default: // it quotes the file, in which there may be a password
		return usageError{errors.New("the file .env has a line that is not NAME=value; mend it, or use -db URL")}
	}
	cfg, err := memdbwriter.LoadConfig(values)
	if err != nil {
		return usageError{err}
	}
	if o.url = cfg.DatabaseURL(); o.url == "" {
		return usageError{errors.New("no destination: use -db URL or set MEMORY_DB_DATABASE_URL")}
	}
	return nil
}

// replay writes rows into a database.
func replay(ctx context.Context, c *console, args []string) (err error) {
	o, err := c.replayOptions(args)
	if err != nil {
		return err
	}
	files, err := find(o.paths)
	if err != nil {
		return err
	}
	for _, w := range files.writers {
		release, lockErr := w.lock()
		if lockErr != nil {
			return lockErr
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	sources, err := files.sources(ctx)
	if err != nil {
		return err
	}
	files.warn(c)
	d, err := openDestination(o.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	tasks, err := o.tasks(ctx, sources, d)
	defer func() {
		for _, t := range tasks {
			err = errors.Join(err, t.sink.Close())
		}
	}()
	if err != nil {
		return err
	}
	good := true
	for _, t := range tasks {
		good = t.warn(c) && good
		t.describe(c, &o, d)
		if err := t.run(ctx, c, &o, d); err != nil {
			return fmt.Errorf("%s: %w", t.source, err)
		}
		good = good && t.refused == 0
	}
	if !good {
		return errReported
	}
	return nil
}

// task is a source and the table that its rows go to.
type task struct {
	*source
	table   *dest.Table
	sink    dest.Sink
	made    bool // the table was missing
	refused int64
}

// tasks finds whatever can be wrong with any of the tables before the first row
// is written. It returns those that are to be closed in any case.
func (o *options) tasks(ctx context.Context, sources []*source, d *destination) (tasks []*task, err error) {
	sourceOf := map[string]*source{}
	for _, s := range sources {
		t := &task{source: s}
		if t.table, err = o.plan(ctx, s, d); err == nil {
			t.sink, err = d.Bind(t.table, nil)
		}
		if err != nil {
			return tasks, fmt.Errorf("%s: %w", s, err)
		}
		tasks = append(tasks, t)
		name := t.table.String()
		if other := sourceOf[name]; other != nil {
			return tasks, usageError{fmt.Errorf("%s, and %s, are both for table %s, and which rows are newer cannot be told: replay one after the other", other, s, name)}
		}
		sourceOf[name] = s
	}
	for _, t := range tasks {
		if err := t.check(ctx, o.dry, d); err != nil {
			return tasks, fmt.Errorf("%s: %w", t.source, err)
		}
	}
	return tasks, nil
}

// check finds out whether the table can take the rows. A dry run makes nothing,
// where Check makes an SQLite table that is missing.
func (s *task) check(ctx context.Context, dry bool, d *destination) (err error) {
	if s.made, err = d.missing(ctx, s.table); err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	switch {
	case !dry || d.postgres:
		return s.sink.Check(ctx)
	case s.made:
		return nil
	}
	return d.inspect(ctx, s.table)
}

// run writes the rows.
func (s *task) run(ctx context.Context, c *console, o *options, d *destination) error {
	all := s.rows
	if o.failed {
		all += s.failed
	}
	r := &replayer{table: s.table, columns: tupleColumns(s.table), order: permutation(s.source.table.Columns, s.table), size: o.batch, progress: newProgress(c, all), note: c.note}
	r.write = (&pen{replayer: r, sink: s.sink}).write
	if o.dry {
		r.write = (&census{replayer: r, d: d, empty: s.made}).count
	}
	err := s.feed(ctx, r, o.failed)
	r.report(c, o.dry)
	if err != nil && !o.dry && s.table.Policy == dest.InsertOnly {
		c.note("look into table %s before you repeat this: what it has of these rows would be inserted again", s.table)
	}
	s.refused = r.refused
	return err
}

// feed hands the rows to r: those that were refused once, which are the older
// ones, and then those that wait.
func (s *source) feed(ctx context.Context, r *replayer, failed bool) error {
	if failed {
		var again []dump.Failed
		_, err := s.each(ctx, noRows, func(f dump.Failed) error {
			f.Tuple = slices.Clone(f.Tuple)
			again = append(again, f)
			return nil
		})
		if err != nil {
			return err
		}
		slices.SortFunc(again, func(a, b dump.Failed) int { return int(max(-1, min(1, a.Seq-b.Seq))) })
		for _, f := range again {
			if err := r.add(ctx, f.Seq, f.Tuple); err != nil {
				return err
			}
		}
	}
	_, err := s.each(ctx, func(b *tuple.Batch) error {
		for i := range b.Rows {
			if err := r.add(ctx, b.Rows[i].Seq, b.Tuple(i)); err != nil {
				return err
			}
		}
		return nil
	}, func(dump.Failed) error { return nil })
	if err != nil {
		return err
	}
	return r.flush(ctx)
}

// describe says what is about to happen.
func (s *task) describe(c *console, o *options, d *destination) {
	t := s.table
	failed := "left out; -failed tries them"
	if o.failed {
		failed = "tried again"
	}
	fmt.Fprintf(c.stdout, "%s: %d rows; %d refused ones (%s)\n", s, s.rows, s.failed, failed)
	what := map[dest.Policy]string{dest.Update: "update", dest.Ignore: "leave alone", dest.InsertOnly: "insert all rows as new ones; a repetition inserts them again"}[t.Policy]
	if t.Policy != dest.InsertOnly {
		what += " what is there, by the key (" + strings.Join(names(t.Columns[:t.Keys]), ", ") + ")"
	}
	if keep := slices.DeleteFunc(slices.Clone(t.Columns), func(c dest.Column) bool { return !c.InsertOnly }); len(keep) > 0 && t.Policy == dest.Update {
		what += "; keep " + strings.Join(names(keep), ", ")
	}
	if t.Guard != "" && t.Policy == dest.Update {
		what += "; leave rows alone in which " + t.Guard + " is true"
	}
	if s.made {
		what += "; the table is missing and is made"
	}
	fmt.Fprintf(c.stdout, "into %s of %s: %s\n", t, d, what)
	if dump.Identity(tableName(&s.source.table), d.String()) != s.files.identity {
		c.note("the rows were bound for another destination than %s", d)
	}
}

func names(columns []dest.Column) (out []string) {
	for _, c := range columns {
		out = append(out, c.Name)
	}
	return out
}

// tupleColumns are the columns as tuples have them.
func tupleColumns(t *dest.Table) []tuple.Column {
	columns := make([]tuple.Column, len(t.Columns))
	for i := range columns {
		columns[i] = t.Columns[i].Column
	}
	return columns
}
