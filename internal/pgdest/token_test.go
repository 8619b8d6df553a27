package pgdest

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

func TestTokenKeepsTheReceipt(t *testing.T) {
	for _, r := range []receipt{{}, {server: server{-7, "00000001 x"}, xid: 1<<63 - 1, pid: 140123456789012}} {
		data, err := r.token()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseToken(data); err != nil || got != r {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
}

// What somebody put into a file is not taken for a receipt, nor for SQL.
func TestForgedTokenIsRefused(t *testing.T) {
	for _, forged := range []string{
		`{"System":1,"Life":"a","XID":5,"PID":"1); DROP TABLE log; --"}`,
		`{"System":1,"Life":"a","XID":"5; DROP TABLE log","PID":1}`,
		`{"System":"1","Life":"a","XID":5,"PID":1}`,
		`{"System":1,"Life":"a","XID":0,"PID":1}`,
		`{"System":1,"Life":"a","XID":-5,"PID":1}`,
		`{"System":1,"Life":"a","XID":5,"PID":0}`,
		`{"System":1,"Life":"a","XID":5,"PID":-1}`,
		`{"System":1,"Life":"a","XID":9223372036854775808,"PID":1}`,
		`{"System":1,"Life":"a","XID":1e3,"PID":1}`,
		`{"System":1,"Life":"a","XID":5,"PID":1,"More":1}`,
		`{"System":1,"Life":"a","XID":5,"PID":1} {}`,
		`[]`, `{`, ``, `7`,
	} {
		if r, err := parseToken([]byte(forged)); err == nil {
			t.Errorf("%s: taken for %+v", forged, r)
		}
	}

	db := pgtest.Open(t)
	db.Exec(t, linesDDL+"; CREATE TABLE precious (); ")
	s := open(t, db.URL, lines())
	log := &bytes.Buffer{}
	s.log = slog.New(slog.NewTextHandler(log, nil))
	s.Record([]dest.Receipt{{First: 1, Last: 9, Token: []byte(`{"System":1,"Life":"a","XID":5,"PID":"1); DROP TABLE precious; --"}`)}}, nil)
	if _, err := s.Write(context.Background(), numbered(1, 9)); err != nil {
		t.Fatal(err)
	}
	equal(t, db.Rows(t, "SELECT count(*) FROM log, (SELECT 1 FROM pg_class WHERE oid = 'precious'::regclass) p"), "9")
	if !strings.Contains(log.String(), "a commit token on the disk is damaged or forged") || strings.Contains(log.String(), "condition") {
		t.Errorf("log: %s", log)
	}
}

// A server cannot make the client send SQL of its choice by the numbers that it
// gives.
func TestNumbersOfTheServerAreNumbers(t *testing.T) {
	for _, f := range []record{{"0", "1"}, {"5", "0"}, {"5", "-1"}, {"9223372036854775808", "1"}, {"", ""}} {
		if err := new(receipt).read(f); err == nil {
			t.Errorf("%q: no error", f)
		}
	}
	for kinds, row := range map[string][][]byte{
		"xi":  {[]byte("5"), []byte("1); DROP TABLE log; --")},
		"xx":  {[]byte("5; --"), []byte("1")},
		"iss": {[]byte("x"), []byte("life"), nil},
		"b":   {[]byte("yes")},
		"o":   {[]byte("4294967296")},
		"is":  {[]byte("1")},
		"s":   {},
	} {
		if r, err := readRecord(row, kinds); err == nil {
			t.Errorf("%q as %s: %q", row, kinds, r)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add([]byte(`{"System":1,"Life":"a","XID":5,"PID":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseToken(data)
		if err != nil {
			return
		}
		again, err := r.token()
		if err != nil {
			t.Fatal(err)
		}
		if second, err := parseToken(again); err != nil || second != r {
			t.Errorf("%q: %+v, then %+v, %v", data, r, second, err)
		}
	})
}
