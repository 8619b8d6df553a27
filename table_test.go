package memdbwriter

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTableNames(t *testing.T) {
	type row struct {
		ID int `db:"id,key"`
	}
	for name, want := range map[string]string{
		"items": "items", "public.items": "public.items", `"we.ird"`: "we.ird", `s."a""b"`: `s.a"b`, "Größe": "Größe",
	} {
		table, err := TableOf[row](name)
		if err != nil || table.String() != want {
			t.Errorf("TableOf(%s) is %s, %v", name, table, err)
		}
	}
	for _, name := range []string{"", ".", "a.", ".a", "a.b.c", `"a`, `"a"b`, `""`, `a"b`, "nul\x00"} {
		if table, err := TableOf[row](name); !errors.Is(err, ErrTable) {
			t.Errorf("TableOf(%q) is %q, %v", name, table, err)
		}
	}
}

func TestTableDefinitionsThatCannotWork(t *testing.T) {
	type noKey struct {
		A int `db:"a"`
	}
	type keyed struct {
		A int `db:"a,key"`
	}
	type unusable struct {
		A int      `db:"a,key"`
		C chan int `db:"c"`
	}
	type unknown struct {
		A int `db:"a,key,primary"`
	}
	check := func(err error, parts ...string) {
		t.Helper()
		if !errors.Is(err, ErrTable) {
			t.Errorf("got %v", err)
			return
		}
		for _, p := range parts {
			if !strings.Contains(err.Error(), p) {
				t.Errorf("the error does not say %q: %v", p, err)
			}
		}
	}
	_, err := TableOf[noKey]("t", OnConflict(ConflictUpdate))
	check(err, "key", "OnConflict(ConflictInsertOnly)")
	_, err = TableOf[unusable]("t")
	check(err, "C", "chan int")
	_, err = TableOf[unknown]("t")
	check(err, "primary")
	_, err = TableOf[int]("t")
	check(err, "int")
	_, err = TableOf[keyed]("t", OnConflict(ConflictIgnore), Guard("done"))
	check(err, "guard", "done")
	_, err = TableOf[ruled]("t", Guard("G"))
	check(err, "guard", `"G"`, `"g"`, "case")
	_, err = TableOf[ruled]("t", Guard("v"))
	check(err, "guard", `"v"`, "bool", "bigint")
	_, err = TableOf[passiveGuard]("t", Guard("done"))
	check(err, "guard", `"done"`, "passive")
	_, err = TableOf[keyed]("t", OnConflict(9))
	check(err, "9")
	_, err = TableOf[keyed]("t", OnConflict(ConflictInsertOnly), ConflictConstraint("c"))
	check(err, "ConflictConstraint", "ConflictInsertOnly")
	_, err = TableOf[keyed]("t", ConflictWhere("done"), OnConflict(ConflictInsertOnly))
	check(err, "ConflictWhere", "ConflictInsertOnly")
	_, err = TableOf[keyed]("t", ConflictConstraint("c"), ConflictWhere("done"))
	check(err, "ConflictConstraint", "ConflictWhere", "exclude")
	if ddl := backupFilesDDL("", "t", "opengauss")[0]; !strings.Contains(ddl, `file_path text COLLATE "C" NOT NULL`) {
		t.Errorf("the path may be compared without case: %s", ddl)
	}

	p := sqlitePlace(t)
	_, err = New(context.Background(), BackupFiles(0), p.Destination, Config{})
	check(err, "backup set id 0")
	_, err = New(context.Background(), BackupFiles(1, TableName("a.b.c")), p.Destination, Config{})
	check(err, "name")
	_, err = New(context.Background(), Table[keyed]{}, p.Destination, Config{})
	check(err, "TableOf")
	for option, opt := range map[string]TableOption{"ConflictConstraint": ConflictConstraint("c"), "ConflictWhere": ConflictWhere("done")} {
		_, err = New(context.Background(), mustTable[keyed](t, "t", opt), p.Destination, Config{})
		check(err, option)
	}
	good, err := TableOf[keyed]("t")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(context.Background(), good, nil, Config{}); !errors.Is(err, ErrConfig) {
		t.Errorf("a nil destination: %v", err)
	}
}

func TestBackupFilesFillsInWhatTheScannerLeavesOut(t *testing.T) {
	table := BackupFiles(7)
	complete := func(f FileInfo) (FileInfo, error) {
		b, err := table.encode(nil, &f)
		if err != nil {
			return f, err
		}
		var out FileInfo
		return out, table.codec.Decode(b, &out)
	}
	f, err := complete(FileInfo{Path: "/data/dir/file.txt", Size: 5})
	if err != nil {
		t.Fatal(err)
	}
	if f.BackupSetID != 7 || f.Name != "file.txt" || f.Directory != "/data/dir" || f.DisplayName != "file.txt" || f.Type != TypeFile || f.Version != 1 || time.Since(f.BackupTime) > time.Minute {
		t.Errorf("completed to %+v", f)
	}
	for path, dir := range map[string]string{"/": "", "/a": "/", "/a/b/": "/a", "a": "", "C:/x/y": "C:/x"} {
		if f, err := complete(FileInfo{Path: path}); err != nil || f.Directory != dir {
			t.Errorf("the directory of %q is %q, %v, want %q", path, f.Directory, err, dir)
		}
	}
	f, err = complete(FileInfo{Path: "/d\xff/n\xfe", FileMetadata: json.RawMessage(`{"a":1}`)})
	if err != nil || f.Path != `/d\xFF/n\xFE` || f.Name != `n\xFE` || f.Directory != `/d\xFF` || string(f.FileMetadata) != `{"a":1,"path_escaped":true}` {
		t.Errorf("a name that is not UTF-8: %+v, %s, %v", f, f.FileMetadata, err)
	}
	f, err = complete(FileInfo{Path: "/d", Owner: "J\xfcrgen", Group: "m\xe4nner"})
	if err != nil || f.Owner != `J\xFCrgen` || f.Group != `m\xE4nner` || string(f.FileMetadata) != `{"group_escaped":true,"owner_escaped":true}` {
		t.Errorf("an owner that is not UTF-8: %+v, %s, %v", f, f.FileMetadata, err)
	}
	for _, bad := range []FileInfo{{}, {Path: "/a", BackupSetID: 8}, {Path: "/a", Type: "pipe"}, {Path: "/\xff", FileMetadata: json.RawMessage(`[1]`)}, {Path: "/a", Tags: json.RawMessage(`{`)}} {
		var re *RowError
		if _, err := complete(bad); !errors.As(err, &re) {
			t.Errorf("%+v was taken, %v", bad, err)
		}
	}
}

// The catalogue has the 26 columns that its users know, and creates itself.
func TestBackupFilesTable(t *testing.T) {
	for where, place := range places {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			p := place(t)
			table := BackupFiles(7, CreateTable())
			if n := len(table.shape.Columns); n != 26 {
				t.Errorf("%d columns", n)
			}
			size, block, count, chunk := int64(9), int64(10), int32(11), int32(12)
			at := testTime
			full := FileInfo{
				Path: "/a/b", Name: "b", Directory: "/a", DisplayName: "B", Type: TypeSymlink, Size: 8, CompressedSize: &size,
				Permissions: "0777", Owner: "o", Group: "g", CreatedTime: at, ModifiedTime: at, AccessedTime: at,
				TapeBlockStart: &block, TapeBlockCount: &count, Compressed: true, Encrypted: true, Checksum: "c",
				CopyStatusAt: &at, BackupTime: at, ChunkNumber: &chunk, Version: 2,
				FileMetadata: json.RawMessage(`{"k":[1]}`), Tags: json.RawMessage(`{"status": "scanned"}`),
			}
			w := openWriter(t, table, p.Destination, Config{})
			mustAdd(t, w, full, FileInfo{Path: "/a/c"})
			mustSync(t, w)
			wantRows(t, p, `SELECT file_path, file_type, file_size, compressed_size, tape_block_start, tape_block_count, checksum, chunk_number, version FROM backup_files ORDER BY id`,
				"/a/b|symlink|8|9|10|11|c|12|2", "/a/c|file|0|NULL|NULL|NULL|NULL|NULL|1")
			// A later stage marks a row; the next scan leaves it alone.
			p.exec(t, "UPDATE backup_files SET is_copy_success = true, chunk_number = 99 WHERE file_path = '/a/b'")
			p.exec(t, "UPDATE backup_files SET chunk_number = 5, checksum = 'x' WHERE file_path = '/a/c'")
			mustAdd(t, w, FileInfo{Path: "/a/b", Size: 1000}, FileInfo{Path: "/a/c", Size: 1000})
			mustSync(t, w)
			wantRows(t, p, `SELECT file_path, file_size, chunk_number, checksum FROM backup_files ORDER BY id`,
				"/a/b|8|99|c", "/a/c|1000|5|x")
			// Another set has its own rows.
			other := openWriter(t, BackupFiles(8), p.Destination, Config{})
			mustAdd(t, other, FileInfo{Path: "/a/b"})
			mustSync(t, other)
			wantRows(t, p, "SELECT backup_set_id, count(*) FROM backup_files GROUP BY 1 ORDER BY 1", "7|2", "8|1")
		})
	}
}

// A path that is not UTF-8 together with the JSON null ended the process.
func TestANameThatIsNotUTF8WithMetadataThatIsNull(t *testing.T) {
	f := FileInfo{Path: "/d/\xff", FileMetadata: json.RawMessage("null")}
	if err := f.complete(1); err != nil || string(f.FileMetadata) != `{"path_escaped":true}` {
		t.Errorf("the metadata is %s: %v", f.FileMetadata, err)
	}
}

// A table is made with the statements that the program gives, where it gives some.
func TestCreateTableWithStatements(t *testing.T) {
	type row struct {
		ID int64 `db:"id,key"`
	}
	for where, place := range places {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			p := place(t)
			table, err := TableOf[row]("made", CreateTable("CREATE TABLE made (id integer PRIMARY KEY, extra text DEFAULT 'x')", "CREATE INDEX made_extra ON made (extra)"))
			if err != nil {
				t.Fatal(err)
			}
			w := openWriter(t, table, p.Destination, Config{})
			mustAdd(t, w, row{1})
			mustStop(t, w)
			wantRows(t, p, "SELECT id, extra FROM made", "1|x")
		})
	}
}
