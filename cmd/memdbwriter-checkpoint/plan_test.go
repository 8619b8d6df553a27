package main

import (
	"context"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// A file, or a flag, that names a table of the database itself is refused before
// anything is looked at there, and no advice names it.
func TestTheDatabasesOwnTablesAreRefused(t *testing.T) {
	for _, table := range []dest.Table{
		{Schema: "pg_catalog", Name: "pg_authid"},
		{Schema: "PG_CATALOG", Name: "x"},
		{Schema: "pg_toast", Name: "pg_toast_1"},
		{Name: "pg_authid"},
		{Schema: "information_schema", Name: "sql_features"},
		{Name: "sqlite_sequence"},
		{Name: "SQLite_master"},
		{Schema: "main", Name: "sqlite_stat1"},
		{Schema: "dbe_perf", Name: "x"},
		{Name: "gs_global_config"},
	} {
		s := new(source)
		s.table.Schema, s.table.Name = table.Schema, table.Name
		_, err := (&options{}).plan(context.Background(), s, nil)
		if err == nil || !strings.Contains(err.Error(), "belongs to the database itself") {
			t.Errorf("%v: %v", &table, err)
		}
		s.table.Schema, s.table.Name = "", "items"
		if _, err := (&options{table: table.String()}).plan(context.Background(), s, nil); err == nil || !strings.Contains(err.Error(), "belongs to") {
			t.Errorf("-table %v: %v", &table, err)
		}
	}
	for _, table := range []dest.Table{{Schema: "public", Name: "pg_like"}, {Schema: "system", Name: "pages"}, {Name: "gsm"}, {Name: "pages"}} {
		if ofSystem(&table) {
			t.Errorf("%v was refused", &table)
		}
	}
}
