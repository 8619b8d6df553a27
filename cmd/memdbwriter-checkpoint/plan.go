package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// plan makes the table that the rows go to: what the file says, completed by
// the flags, the rules of the catalogue, and the destination's unique index.
func (o *options) plan(ctx context.Context, s *source, d *destination) (*dest.Table, error) {
	t := &dest.Table{Schema: s.table.Schema, Name: s.table.Name, Policy: o.policy, Guard: o.guard}
	for _, c := range s.table.Columns {
		t.Columns = append(t.Columns, dest.Column{Column: c})
	}
	key := o.key
	if known := catalogue(); sameColumns(&known, t) {
		if key == nil {
			key = names(known.Columns[:known.Keys])
		}
		if t.Policy == dest.Update && o.insertOnly == nil && o.guard == "" {
			t.Columns, t.Guard = known.Columns, known.Guard
		}
	}
	if o.table != "" {
		if memdbwriter.TableName(o.table)(t); t.Name == "" {
			return nil, usageError{fmt.Errorf("-table %q: must be name or schema.name", o.table)}
		}
	}
	if ofSystem(t) {
		return nil, fmt.Errorf("table %.200q belongs to the database itself, and no writer has rows for it: name the right one with -table", t.String())
	}
	for _, name := range o.insertOnly {
		c, err := o.column(t, "-insertonly", name)
		if err != nil {
			return nil, err
		}
		c.InsertOnly = true
	}
	if t.Policy == dest.InsertOnly {
		return t, nil
	}
	if key == nil {
		var err error
		if key, err = findKey(ctx, t, d); err != nil {
			return nil, err
		}
	}
	return t, o.keyFirst(t, key)
}

// ofSystem reports whether the table is one of a database's own, by its schema or
// by the beginning of its name: a file says whatever somebody wrote there, and
// this tool may run as a superuser.
func ofSystem(t *dest.Table) bool {
	schema, name := strings.ToLower(t.Schema), strings.ToLower(t.Name)
	return schema == "information_schema" || strings.HasPrefix(schema, "pg_") || schema == "sys" || strings.HasPrefix(schema, "dbe_") ||
		schema == "" && strings.HasPrefix(name, "pg_") || strings.HasPrefix(name, "sqlite_") || strings.HasPrefix(name, "gs_") && schema == ""
}

// catalogue is the table of memdbwriter.BackupFiles.
func catalogue() (t dest.Table) {
	_ = memdbwriter.BackupFiles(1, func(of *dest.Table) { t = *of })
	return t
}

func sameColumns(a, b *dest.Table) bool {
	return slices.EqualFunc(a.Columns, b.Columns, func(x, y dest.Column) bool { return x.Column == y.Column })
}

func (o *options) column(t *dest.Table, flag, name string) (*dest.Column, error) {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i], nil
		}
	}
	return nil, usageError{fmt.Errorf("%s: there is no column %q in the file; it has %s", flag, name, strings.Join(names(t.Columns), ", "))}
}

// keyFirst moves the key columns to the front, where a Sink wants them.
func (o *options) keyFirst(t *dest.Table, key []string) error {
	var first, rest []dest.Column
	for i, name := range key {
		c, err := o.column(t, "-key", name)
		switch {
		case err != nil:
			return err
		case slices.Contains(key[:i], name):
			return usageError{fmt.Errorf("-key: column %q is named twice", name)}
		}
		first = append(first, *c)
	}
	for _, c := range t.Columns {
		if !slices.Contains(key, c.Name) {
			rest = append(rest, c)
		}
	}
	t.Columns, t.Keys = append(first, rest...), len(first)
	return nil
}

// findKey looks for the one unique index of the table on the first columns of
// the file: a writer puts the key there.
func findKey(ctx context.Context, t *dest.Table, d *destination) ([]string, error) {
	const advice = "name the key columns with -key, which also tells how to make a table that is missing, or use -policy insert for a table without a key"
	indexes, err := d.uniqueIndexes(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("cannot look for the key of table %s of %s: %w", t, d, err)
	}
	var fit [][]string
	for _, index := range indexes {
		first := names(t.Columns[:min(len(index), len(t.Columns))])
		if sameNames(first, index) && !slices.ContainsFunc(fit, func(f []string) bool { return sameNames(f, index) }) {
			fit = append(fit, first)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) == 0 && len(indexes) == 0:
		return nil, fmt.Errorf("table %s of %s is missing, or has no unique index; %s", t, d, advice)
	case len(fit) == 0:
		return nil, fmt.Errorf("no unique index of table %s of %s is on the first columns of the file, where a writer puts the key; %s", t, d, advice)
	}
	var texts []string
	for _, index := range fit {
		texts = append(texts, "("+strings.Join(index, ", ")+")")
	}
	return nil, errors.New("the key may be any of " + strings.Join(texts, ", ") + "; name it with -key")
}

// permutation returns for each column of the table its place in the file.
func permutation(file []tuple.Column, t *dest.Table) []int {
	order := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		order[i] = slices.IndexFunc(file, func(f tuple.Column) bool { return f.Name == c.Name })
	}
	return order
}
