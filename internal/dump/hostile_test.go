package dump

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"
	"regexp"
	"strings"
	"testing"
)

type smallRow struct {
	ID   int64    `db:"id,key"`
	Name *string  `db:"name"`
	Data []byte   `db:"data"`
	F    *float64 `db:"f"`
}

func smallFile(tb testing.TB, d Dir) (Table, []byte) {
	tb.Helper()
	name, f := "it's seven", 0.5
	table, batch := tableOf(tb, "files", smallRow{7, &name, []byte("\x07"), &f}, smallRow{8, nil, nil, nil})
	info := dumped(tb, d, meta(table), batch, Failed{Seq: 3, Tuple: batch.Tuple(0), Message: "wrong", Attempts: 1, First: created, Last: created})
	return table, contentOf(tb, info.Path)
}

// signed makes the checksum of a file right, as anybody can.
func signed(text []byte) []byte {
	if _, _, _, length, ok := parseTrailer(text); !ok || length > len(text) {
		return text
	}
	covered := text[: len(text)-sumDigits-1 : len(text)-sumDigits-1]
	return appendSum(covered, crc32.Checksum(covered, castagnoli))
}

func damaged(t *testing.T, d Dir, path string, table Table, what string) {
	t.Helper()
	if _, _, err := read(d, path, table); !errors.Is(err, ErrDamaged) {
		t.Errorf("%s: %v", what, err)
	}
}

func TestTruncatedFilesAreDamaged(t *testing.T) {
	d := dirOf(t)
	table, text := smallFile(t, d)
	path := put(t, d, nil)
	for n := range text {
		rewrite(t, path, text[:n])
		c, _, err := read(d, path, table)
		if !errors.Is(err, ErrDamaged) || c.batch.Len() != 0 {
			t.Errorf("%d of %d bytes: %v", n, len(text), err)
		}
	}
}

func TestFilesWithAFlippedBitAreDamaged(t *testing.T) {
	d := dirOf(t)
	table, text := smallFile(t, d)
	path := put(t, d, text)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set := func(i int, b byte) {
		if _, err := f.WriteAt([]byte{b}, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i, b := range text {
		for bit := range 8 {
			set(i, b^1<<bit)
			c, _, err := read(d, path, table)
			if !errors.Is(err, ErrDamaged) || c.batch.Len() != 0 {
				t.Errorf("bit %d of byte %d, %q after %q: %v", bit, i, b, text[max(0, i-20):i], err)
			}
		}
		set(i, b)
	}
	if _, _, err := read(d, path, table); err != nil {
		t.Errorf("with no bit flipped: %v", err)
	}
}

// Whoever can write into the directory can also write a right checksum.
func TestNothingButRowsGetsIn(t *testing.T) {
	d := dirOf(t)
	table, text := smallFile(t, d)
	const row = "(1,7,'it''s seven',x'07',0.5)"
	if !bytes.Contains(text, []byte(row)) {
		t.Fatalf("no %s in\n%s", row, text)
	}
	if _, _, err := read(d, put(t, d, signed(bytes.Clone(text))), table); err != nil {
		t.Fatalf("as it is: %v", err)
	}
	for _, statement := range []string{
		"ATTACH 'x.db' AS x;\n", "PRAGMA writable_schema = ON;\n", "SELECT load_extension('x');\n", ".shell id\n", ".read x\n",
		"CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM files; END;\n", "DROP TABLE files;\n", "VACUUM INTO 'x';\n",
		"CREATE VIRTUAL TABLE v USING fts5(x);\n", "INSERT INTO \"others\" VALUES\n(1,2,NULL,NULL,NULL);\n", "INSERT INTO files VALUES\n(1);\n",
		"INSERT OR REPLACE INTO \"files\" VALUES\n(1,2,NULL,NULL,NULL);\n", "INSERT INTO \"files\" SELECT 1,2,3,4,5;\n", "INSERT INTO \"files\" VALUES\n;\n",
		"-- a comment\n", "/* a comment */\n", " ", "\n", ";\n", "BEGIN;\n", "COMMIT;\nBEGIN;\n", "COMMIT;\n", "\x00", "\ufeff", "WITH x AS (SELECT 1) DELETE FROM files;\n",
	} {
		for _, before := range []string{"INSERT INTO \"files\" V", "INSERT INTO \"files_failed\" V", "COMMIT;\n", "CREATE TABLE \"files\"", "BEGIN;\n", "-- end: "} {
			hostile := strings.Replace(string(text), before, statement+before, 1)
			damaged(t, d, put(t, d, signed([]byte(hostile))), table, statement+before)
		}
		damaged(t, d, put(t, d, signed([]byte(statement+string(text)))), table, "at the start: "+statement)
	}
	for _, hostile := range []string{
		"", "()", "(1)", "(1,7,'x',x'07')", "(1,7,'x',x'07',0.5,NULL)", "(1,7,'x',x'07',0.5", "1,7,'x',x'07',0.5)",
		"(1,7,(SELECT 'x'),x'07',0.5)", "(1,7,load_extension('x'),x'07',0.5)", "(1,7,readfile('/etc/passwd'),x'07',0.5)", "(1,7,'a'||'b',x'07',0.5)",
		"(1,7,\"name\",x'07',0.5)", "(1,7,zeroblob(1000000000),x'07',0.5)", "(1,7,randomblob(9),x'07',0.5)", "(1,7,'x',x'07',1+1)", "(1,7,'x',x'07',-0.5-0.5)",
		"(1,7,'x',x'07'," + strings.Repeat("(", 100000) + "1" + strings.Repeat(")", 100000) + ")", "(1,7,'x',x'07'," + strings.Repeat("-", 100000) + "1)",
		"(1,7,'x',x'07'," + strings.Repeat("9", 100000) + ")", "(1,7,'x',x'07',1e999)", "(1,7,'x',x'07',nan)", "(1,7,'x',x'07','Inf')", "(1,7,'x',x'07',.)",
		"(7,9223372036854775808,'x',x'07',0.5)", "(7,1.5,'x',x'07',0.5)", "(7,'7','x',x'07',0.5)", "(7,x'07','x',x'07',0.5)", "(7,NULL,'x',x'07',0.5)", "(7,0x7,'x',x'07',0.5)",
		"(1,7,7,x'07',0.5)", "(1,7,x'07',x'07',0.5)", "(1,7,'a\x00b',x'07',0.5)", "(1,7,CAST(x'00' AS TEXT),x'07',0.5)", "(1,7,CAST(x'61' AS BLOB),x'07',0.5)", "(1,7,CAST(x'ff' AS TEXT),x'07',0.5)",
		"(1,7,'\xff',x'07',0.5)", "(1,7,'x','07',0.5)", "(1,7,'x',x'0',0.5)", "(1,7,'x',x'0g',0.5)", "(1,7,'x',X'07',0.5)", "(1,7,null,x'07',0.5)", "(1,7,'x,x'07',0.5)", "(1,7,'x'',x'07',0.5)",
		"(1, 7,'x',x'07',0.5)", "(1,7,'x',x'07',0.5)--", "(1,7,'x',x'07',0.5)/**/", "(1,7,'x',x'07',0.5)\r", "(?1,7,'x',x'07',0.5)", "(0,7,'x',x'07',0.5)", "(-7,7,'x',x'07',0.5)", "(9999999999999,7,'x',x'07',0.5)",
		"(NULL,7,'x',x'07',0.5)", "('1',7,'x',x'07',0.5)", "(2,7,'x',x'07',0.5)", row + ",\n" + row, row + ",\n(2,8,NULL,NULL,NULL)", "(1,7,'x',x'07',0.5);\nDROP TABLE files;\nINSERT INTO \"files\" VALUES\n(1,7,'x',x'07',0.5)",
	} {
		changed := strings.Replace(string(text), row, hostile, 1)
		damaged(t, d, put(t, d, signed([]byte(changed))), table, shortened(hostile))
	}
	damaged(t, d, put(t, d, signed(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")))), table, "CRLF")
	damaged(t, d, put(t, d, append(bytes.Clone(text), text...)), table, "two files in one")
	damaged(t, d, put(t, d, append(bytes.Clone(text), '\n')), table, "a line more")
}

func shortened(s string) string { return s[:min(len(s), 100)] }

func TestCountsOfTheTrailerMustBeRight(t *testing.T) {
	d := dirOf(t)
	table, text := smallFile(t, d)
	for _, counts := range []string{"3 rows, 1 failed", "1 rows, 1 failed", "2 rows, 0 failed", "02 rows, 1 failed", "-2 rows, 1 failed", "9999999999999999999 rows, 1 failed"} {
		damaged(t, d, put(t, d, signed(bytes.Replace(text, []byte("2 rows, 1 failed"), []byte(counts), 1))), table, counts)
	}
}

// A number beside what a sequence number, a count or a time can be is damage,
// wherever it stands, with all checksums right.
func TestNumbersHaveLimits(t *testing.T) {
	d := dirOf(t)
	table, text := smallFile(t, d)
	line := regexp.MustCompile(`-- sequence: 1 to \d+\n`).FindString(string(text))
	if line == "" || !bytes.Contains(text, []byte("\n(2,8,")) || !bytes.Contains(text, []byte("\n(3,7,")) {
		t.Fatalf("another layout:\n%s", text)
	}
	for _, n := range []string{"1152921504606846977", "9223372036854775787", "9223372036854775807", "-9223372036854775808", "-1", "0", "99999999999999999999"} {
		forged := strings.Replace(string(text), line, "-- sequence: 1 to "+n+"\n", 1)
		damaged(t, d, put(t, d, signed([]byte(forged))), table, "the head: "+n)
		damaged(t, d, put(t, d, signed([]byte(strings.Replace(forged, "\n(2,8,", "\n("+n+",8,", 1)))), table, "the head and a row: "+n)
		damaged(t, d, put(t, d, signed(bytes.Replace(text, []byte("\n(3,"), []byte("\n("+n+","), 1))), table, "a failed row: "+n)
	}
}

// The head has no line that could say another thing than the statements do.
func TestForgedHeads(t *testing.T) {
	d := dirOf(t)
	table, text := smallFile(t, d)
	for _, change := range [][2]string{
		{`CREATE TABLE "files"`, `CREATE TABLE "other"`},
		{`CREATE TABLE "files"`, `CREATE TEMP TABLE "files"`},
		{`"name" TEXT,`, `"name" TEXT DEFAULT (load_extension('x')),`},
		{`"name" TEXT,`, `"name" TEXT CHECK (0),`},
		{`-- column: "name" text`, `-- column: "name" bytea`},
		{`-- column: "name" text`, `-- column: "name" text null`},
		{`-- column: "name" text`, `-- column: name text`},
		{`-- column: "name" text`, `-- column: "na\u006de" text`},
		{`-- column: "name" text`, `-- column: "id" text`},
		{`-- column: "name" text`, `-- column: "" text`},
		{`-- column: "name" text` + "\n", ""},
		{`-- created: 2026-11-23 07`, `-- created: 2026-11-23T07`},
		{`-- sequence: 1 to`, `-- sequence: 01 to`},
		{`-- library: "`, `-- library: "` + "\n.shell id\n"},
		{"BEGIN;\n", ""},
		{"BEGIN;\n", strings.Repeat(`-- column: "x" text`+"\n", 2000) + "BEGIN;\n"},
		{"BEGIN;\n", strings.Repeat("-- filler\n", 1<<20) + "BEGIN;\n"},
	} {
		changed := strings.Replace(string(text), change[0], change[1], 1)
		if changed == string(text) {
			t.Fatalf("no %s in\n%s", change[0], text)
		}
		damaged(t, d, put(t, d, signed([]byte(changed))), table, shortened(change[1]))
	}
}

func TestUnknownVersionsAreNamed(t *testing.T) {
	d := dirOf(t)
	table, text := smallFile(t, d)
	future := bytes.Replace(text, []byte("format 1\n"), []byte("format 12\n"), 1)
	for what, file := range map[string][]byte{
		"a trailer of this version": signed(bytes.Clone(future)),
		"another trailer":           append(future[:100:100], "\nEND 12\n"...),
	} {
		path := put(t, d, file)
		_, _, err := read(d, path, table)
		if !errors.Is(err, ErrVersion) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), `format is "12", this library reads format 1`) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A version that is another because of a flipped bit is damage.
	damaged(t, d, put(t, d, bytes.Replace(text, []byte("format 1\n"), []byte("format 3\n"), 1)), table, "flipped")
}

func TestCheckpointOfAnotherWriterUnderOurName(t *testing.T) {
	theirs, ours := dirOf(t), dirOf(t)
	theirs.Identity = Identity("files", "somebody else")
	table, text := smallFile(t, theirs)
	path := put(t, ours, text)
	if _, _, err := read(ours, path, table); !errors.Is(err, ErrForeign) || errors.Is(err, ErrDamaged) {
		t.Errorf("read: %v", err)
	}
	if infos, err := ours.List(); err != nil || len(infos) != 1 || !errors.Is(infos[0].Err, ErrForeign) {
		t.Errorf("listed: %+v, %v", infos, err)
	}
}
