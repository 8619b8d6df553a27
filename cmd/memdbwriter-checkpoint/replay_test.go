package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter"
)

// A replay brings the destination to where the writer would have: every row
// that waited, the newest value of each key, nothing of what was stored since.
func TestReplayDoesWhatARecoveryWouldDo(t *testing.T) {
	for _, level := range []memdbwriter.Durability{memdbwriter.DurabilityJournal, memdbwriter.DurabilityFsync} {
		t.Run(string(level), func(t *testing.T) {
			onBoth(t, func(t *testing.T, p place) {
				p.exec(t, itemsDDL)
				dir := t.TempDir()
				l := live(t, p, dir, level).add(named(1, "old"), named(2, "two"), named(9, "bad"))
				l.checkpoint()
				l.sync()                                      // the rows of the checkpoint are stored, one is refused
				l.add(named(1, "new")).sync()                 // and one of them is stored again
				l.add(named(3, "a"), named(4, "b")).persist() // these wait
				l.add(named(3, "c")).persist()
				left := l.die(dir)
				unchanged(t, left)
				p.want(t, "SELECT id, name FROM items ORDER BY id", "1|new", "2|two")

				tool(t, "replay", "-n", "-db", p.url, left).
					says(exitOK, "3 rows; 1 refused ones", "update what is there, by the key (id)", "2 keys are new, 0 are there already, 1 rows are of a key")
				p.want(t, "SELECT id, name FROM items ORDER BY id", "1|new", "2|two")
				tool(t, "replay", "-db", p.url, left).says(exitOK, "written: 2 rows; replaced by a newer row of their key: 1; refused: 0")
				p.want(t, "SELECT id, name FROM items ORDER BY id", "1|new", "2|two", "3|c", "4|b")

				tool(t, "replay", "-n", "-db", p.url, left).says(exitOK, "0 keys are new, 2 are there already")
				tool(t, "replay", "-db", p.url, left).says(exitOK)
				tool(t, "replay", "-failed", "-db", p.url, left).says(exitFailed, "refused: 1", "(id)=(9)")
				p.want(t, "SELECT count(*) FROM items", "4")
			})
		})
	}
}

// A checkpoint that was carried away cannot know what was stored since.
func TestACheckpointAloneIsReplayedWithAWarning(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		p.exec(t, itemsDDL)
		dir := t.TempDir()
		l := live(t, p, dir, memdbwriter.DurabilityJournal).add(named(1, "old"), named(2, "two"))
		alone := filepath.Join(t.TempDir(), filepath.Base(l.checkpoint()))
		text, err := os.ReadFile(glob(t, dir, "checkpoint_*.sql")[0])
		check(t, err)
		check(t, os.WriteFile(alone, text, 0o600))
		l.add(named(1, "new")).sync().die(dir)
		p.exec(t, "DELETE FROM items WHERE id = 2")

		tool(t, "replay", "-db", p.url, "-policy", "ignore", alone).says(exitOK, "-policy ignore leaves rows alone", "leave alone what is there")
		p.want(t, "SELECT id, name FROM items ORDER BY id", "1|new", "2|two")
		tool(t, "replay", "-db", p.url, alone).says(exitOK, "older values may replace newer ones")
		p.want(t, "SELECT id, name FROM items ORDER BY id", "1|old", "2|two")
	})
}

func TestReplayIntoAnotherTableAndDatabase(t *testing.T) {
	from := sqlitePlace(t)
	from.exec(t, itemsDDL)
	dir := t.TempDir()
	note := "it's\r\n\x1b[2J ü"
	l := live(t, from, dir, memdbwriter.DurabilityJournal).add(item{ID: 7, Name: "seven", Note: &note, Seen: seen})
	left := l.persist().die(dir)
	onBoth(t, func(t *testing.T, p place) {
		p.exec(t, `CREATE TABLE other (seen timestamptz, note text, name text NOT NULL, id bigint, extra text, UNIQUE (name), UNIQUE (seen, name))`)
		tool(t, "replay", "-db", p.url, "-table", "other", left).
			says(exitFailed, "no unique index of table other", "-key")
		tool(t, "replay", "-db", p.url, "-table", "other", "-key", "nom", left).says(exitUsage, `no column "nom"`, "id, name, note, seen")
		tool(t, "replay", "-db", p.url, "-table", "other", "-key", "name", left).
			says(exitOK, "bound for another destination", "written: 1 rows")
		tool(t, "replay", "-n", "-db", p.url, "-table", "other", "-key", "seen,name", left).says(exitOK, "1 are there already")
		p.want(t, "SELECT id, name, note FROM other", "7|seven|"+note)
	})
}

// Columns and rows that other programs own are left alone, also when a batch
// has several rows of a key.
func TestReplayLeavesAloneWhatItIsTold(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		p.exec(t, strings.Replace(itemsDDL, "seen", "done boolean DEFAULT false, seen", 1))
		p.exec(t, "INSERT INTO items (id, name, note, seen, done) VALUES (1, 'stored', 'theirs', '2020-01-01', false), (2, 'stored', 'theirs', '2020-01-01', true)")
		dir := t.TempDir()
		mine, newer := "mine", "newer"
		left := live(t, p, dir, memdbwriter.DurabilityJournal).
			add(named(1, "x"), named(2, "x"), item{3, "first", &mine, seen}, item{3, "second", &newer, seen}).persist().die(dir)
		tool(t, "replay", "-db", p.url, "-insertonly", "note", "-guard", "done", left).says(exitOK, "keep note", "in which done is true")
		p.want(t, "SELECT id, name, note FROM items ORDER BY id", "1|x|theirs", "2|stored|theirs", "3|second|mine")
	})
}

// The catalogue of the backup scanner has rules that a checkpoint does not
// tell: rows that are on tape are not touched.
func TestTheCatalogueIsReplayedByItsRules(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := t.TempDir()
		d, err := memdbwriter.OpenDestination(t.Context(), p.url)
		check(t, err)
		w, err := memdbwriter.New(t.Context(), memdbwriter.BackupFiles(7, memdbwriter.CreateTable()), d,
			memdbwriter.Config{CheckpointDir: dir, CheckpointInterval: -1})
		check(t, err)
		for i := range 3 {
			check(t, w.Add(t.Context(), memdbwriter.FileInfo{Path: fmt.Sprint("/data/", i), Size: 1}))
		}
		check(t, w.ForceSync(t.Context()))
		p.exec(t, "UPDATE backup_files SET is_copy_success = true WHERE file_path = '/data/1'")
		p.exec(t, "UPDATE backup_files SET tape_block_start = 17 WHERE file_path = '/data/2'")
		for i := range 3 {
			check(t, w.Add(t.Context(), memdbwriter.FileInfo{Path: fmt.Sprint("/data/", i), Size: 2}))
		}
		check(t, w.Persist(t.Context()))
		left := t.TempDir()
		check(t, os.CopyFS(left, os.DirFS(dir)))
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = w.Stop(ended)
		check(t, d.Close())

		tool(t, "replay", "-db", p.url, left).says(exitOK, "by the key (backup_set_id, file_path)", "is_copy_success is true")
		p.want(t, "SELECT file_path, file_size, coalesce(tape_block_start, 0) FROM backup_files ORDER BY file_path",
			"/data/0|2|0", "/data/1|1|0", "/data/2|2|17")
	})
}

// A refused row takes neither the others with it, nor the older one of its key.
func TestReplayIsolatesRefusedRows(t *testing.T) {
	from := sqlitePlace(t)
	from.exec(t, strings.Replace(itemsDDL, "CHECK (name <> 'bad')", "", 1))
	dir := t.TempDir()
	l := live(t, from, dir, memdbwriter.DurabilityJournal)
	for i := range int64(100) {
		l.add(named(i, "good"))
	}
	left := l.add(named(50, "bad"), named(100, "bad"), named(101, "good")).persist().die(dir)
	onBoth(t, func(t *testing.T, p place) {
		p.exec(t, itemsDDL)
		tool(t, "replay", "-db", p.url, left).says(exitFailed, "written: 101 rows", "refused: 2", "(id)=(50)", "(id)=(100)")
		p.want(t, "SELECT count(*), min(name) FROM items", "101|good")
	})
}

func TestInsertOnlyRowsAreAllInserted(t *testing.T) {
	from := sqlitePlace(t)
	from.exec(t, itemsDDL)
	dir := t.TempDir()
	left := live(t, from, dir, memdbwriter.DurabilityJournal).add(named(1, "a"), named(1, "b"), named(2, "c")).persist().die(dir)
	onBoth(t, func(t *testing.T, p place) {
		p.exec(t, "CREATE TABLE items (id bigint, name text, note text, seen timestamp)")
		tool(t, "replay", "-n", "-db", p.url, "-policy", "insert", left).says(exitOK, "insert all rows as new ones; a repetition inserts them again", "3 rows are to be inserted")
		tool(t, "replay", "-batch", "2", "-db", p.url, "-policy", "insert", left).says(exitOK, "written: 3 rows")
		p.want(t, "SELECT id, name FROM items ORDER BY name", "1|a", "1|b", "2|c")
	})
}

// Whatever is wrong with one of several tables, no row of another is written.
func TestReplayLooksAtEveryTableBeforeItWrites(t *testing.T) {
	from := sqlitePlace(t)
	from.exec(t, itemsDDL)
	dir := t.TempDir()
	l := live(t, from, dir, memdbwriter.DurabilityJournal).add(named(1, "a")).persist()
	liveOn(t, from, dir, memdbwriter.DurabilityJournal, "zeta").add(named(2, "b")).persist().die(dir)
	left := l.die(dir)
	onBoth(t, func(t *testing.T, p place) {
		p.exec(t, itemsDDL)
		p.exec(t, "CREATE TABLE zeta (id bigint, name text, note text, seen timestamp)")
		tool(t, "replay", "-db", p.url, left).says(exitFailed, "table zeta", "no unique index")
		p.want(t, "SELECT count(*) FROM items", "0")
		tool(t, "replay", "-db", p.url, "-table", "items", left).says(exitUsage, "journal_items", "journal_zeta", "are both for table items")
		p.want(t, "SELECT count(*) FROM items", "0")
		p.exec(t, "CREATE UNIQUE INDEX zeta_id ON zeta (id)")
		p.exec(t, "ALTER TABLE zeta RENAME COLUMN seen TO viewed")
		tool(t, "replay", "-db", p.url, left).says(exitFailed, "zeta", "seen")
		p.want(t, "SELECT count(*) FROM items", "0")
		p.exec(t, "ALTER TABLE zeta RENAME COLUMN viewed TO seen")
		tool(t, "replay", "-db", p.url, left).says(exitOK, "into items", "into zeta")
		p.want(t, "SELECT id, name FROM zeta", "2|b")
	})
}

func TestReplayRefusesAmbiguousKeys(t *testing.T) {
	from := sqlitePlace(t)
	from.exec(t, itemsDDL)
	dir := t.TempDir()
	left := live(t, from, dir, memdbwriter.DurabilityJournal).add(named(1, "a")).persist().die(dir)
	onBoth(t, func(t *testing.T, p place) {
		tool(t, "replay", "-n", "-db", p.url, left).says(exitFailed, "missing, or has no unique index", "-key, which also tells how to make a table")
		p.exec(t, "CREATE TABLE items (id bigint PRIMARY KEY, name text, note text, seen timestamp, UNIQUE (name, id))")
		tool(t, "replay", "-db", p.url, left).says(exitFailed, "the key may be any of (id), (id, name)")
		tool(t, "replay", "-db", p.url, "-key", "id", left).says(exitOK, "written: 1 rows")
	})
}

// A dry run leaves no trace, not even an empty database.
func TestADryRunMakesNothing(t *testing.T) {
	from := sqlitePlace(t)
	from.exec(t, itemsDDL)
	dir := t.TempDir()
	left := live(t, from, dir, memdbwriter.DurabilityJournal).add(named(1, "a")).persist().die(dir)
	p := sqlitePlace(t)
	tool(t, "replay", "-n", "-db", p.url, "-key", "id", left).says(exitOK, "1 keys are new")
	if files := glob(t, filepath.Dir(p.sqlite), "*"); len(files) > 0 {
		t.Errorf("made by a dry run: %q", files)
	}
	p.exec(t, itemsDDL)
	p.exec(t, "PRAGMA journal_mode = WAL")
	tool(t, "replay", "-n", "-db", p.url, left).says(exitOK, "1 keys are new")
	if files := glob(t, filepath.Dir(p.sqlite), "*"); len(files) != 1 {
		t.Errorf("left by a dry run: %q", files)
	}
	p.want(t, "SELECT count(*) FROM items", "0")
}

// every is a row whose key has every kind of type.
type every struct {
	B    bool      `db:"b,key"`
	Text string    `db:"text,key"`
	Data []byte    `db:"data,key"`
	F    float64   `db:"f,key"`
	F32  float32   `db:"f32,key"`
	I    int16     `db:"i,key"`
	At   time.Time `db:"at,key"`
	U    [16]byte  `db:"u,key"`
	N    int64     `db:"n"`
}

func TestADryRunFindsKeysOfEveryType(t *testing.T) {
	table, err := memdbwriter.TableOf[every]("every", memdbwriter.CreateTable())
	check(t, err)
	onBoth(t, func(t *testing.T, p place) {
		dir := t.TempDir()
		d, err := memdbwriter.OpenDestination(t.Context(), p.url)
		check(t, err)
		w, err := memdbwriter.New(t.Context(), table, d, memdbwriter.Config{CheckpointDir: dir, CheckpointInterval: -1})
		check(t, err)
		for i := range int64(3) {
			check(t, w.Add(t.Context(), every{
				i == 1, "it's\n\\ 日", []byte{0, 0xff, byte(i)}, 1 / (3 + float64(i)), 0.1, int16(-i), seen.Add(time.Duration(i)), [16]byte{byte(i)}, i,
			}))
		}
		check(t, w.Persist(t.Context()))
		left := t.TempDir()
		check(t, os.CopyFS(left, os.DirFS(dir)))
		tool(t, "replay", "-n", "-db", p.url, left).says(exitOK, "3 keys are new, 0 are there already")
		check(t, w.Stop(t.Context()))
		check(t, d.Close())
		tool(t, "replay", "-n", "-db", p.url, left).says(exitOK, "0 keys are new, 3 are there already").silentOn("not looked up")
		tool(t, "replay", "-db", p.url, left).says(exitOK, "written: 3 rows")
		p.want(t, "SELECT count(*) FROM every", "3")
	})
}

// A dry run fails where the replay would, and says what it would make.
func TestADryRunFindsWhatIsWrong(t *testing.T) {
	from := sqlitePlace(t)
	from.exec(t, itemsDDL)
	dir := t.TempDir()
	left := live(t, from, dir, memdbwriter.DurabilityJournal).add(named(1, "a")).persist().die(dir)
	onBoth(t, func(t *testing.T, p place) {
		p.exec(t, strings.Replace(itemsDDL, "seen", "viewed", 1))
		for _, dry := range []string{"-n=true", "-n=false"} {
			tool(t, "replay", dry, "-db", p.url, left).says(exitFailed, "seen")
			tool(t, "replay", dry, "-db", p.url, "-key", "name", "-table", "items", left).says(exitFailed, "seen")
		}
		p.exec(t, "ALTER TABLE items RENAME COLUMN viewed TO seen")
		for _, dry := range []string{"-n=true", "-n=false"} {
			tool(t, "replay", dry, "-db", p.url, "-key", "name", left).says(exitFailed, "unique", "name")
			tool(t, "replay", dry, "-db", p.url, "-guard", "done", left).says(exitFailed, "done")
		}
		p.want(t, "SELECT count(*) FROM items", "0")
	})
	capitals := sqlitePlace(t) // are the same to SQLite
	capitals.exec(t, strings.ToUpper(itemsDDL))
	tool(t, "replay", "-n", "-db", capitals.url, left).says(exitOK, "by the key (id)", "1 keys are new")
	tool(t, "replay", "-db", capitals.url, left).says(exitOK, "by the key (id)", "written: 1 rows")

	p := sqlitePlace(t)
	p.exec(t, "CREATE TABLE another (x)")
	made := "update what is there, by the key (id); the table is missing and is made"
	tool(t, "replay", "-n", "-db", p.url, "-key", "id", left).says(exitOK, made, "1 keys are new, 0 are there already")
	p.want(t, "SELECT count(*) FROM sqlite_schema WHERE type = 'table'", "1")
	tool(t, "replay", "-db", p.url, "-key", "id", left).says(exitOK, made, "written: 1 rows")
	tool(t, "replay", "-db", p.url, "-key", "id", left).says(exitOK, "written: 1 rows").silentOn("is made")

	check(t, os.WriteFile(p.sqlite, []byte("no database"), 0o600))
	tool(t, "replay", "-n", "-db", p.url, "-key", "id", left).says(exitFailed, p.sqlite, "not a database")
	tool(t, "replay", "-n", "-db", p.url+"/nowhere/test.db", "-key", "id", left).says(exitFailed, "nowhere")
	tool(t, "replay", "-n", "-db", "sqlite:"+filepath.Join(dir, "nowhere", "test.db"), "-key", "id", left).says(exitFailed, "nowhere", "no such file")
}

func TestReplayStopsWhenItIsInterrupted(t *testing.T) {
	p := sqlitePlace(t)
	p.exec(t, itemsDDL)
	dir := t.TempDir()
	left := live(t, p, dir, memdbwriter.DurabilityJournal).add(named(1, "a")).persist().die(dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	if code := run(ctx, []string{"replay", "-db", p.url, left}, &out, &out); code != exitInterrupted {
		t.Errorf("exit code %d\n%s", code, &out)
	}
	p.want(t, "SELECT count(*) FROM items", "0")
}

// reader is a user who reads the output and acts on a text in it.
type reader struct {
	out strings.Builder
	on  string
	do  func()
}

func (r *reader) Write(p []byte) (int, error) {
	if strings.Contains(string(p), r.on) {
		r.do()
	}
	return r.out.Write(p)
}

func TestAnInterruptedReplaySaysWhatIsWritten(t *testing.T) {
	from := sqlitePlace(t)
	from.exec(t, strings.Replace(itemsDDL, "CHECK (name <> 'bad')", "", 1))
	dir := t.TempDir()
	left := live(t, from, dir, memdbwriter.DurabilityJournal).add(named(1, "a"), named(2, "bad"), named(3, "c")).persist().die(dir)
	onBoth(t, func(t *testing.T, p place) {
		p.exec(t, itemsDDL)
		for _, policy := range []string{"update", "insert"} {
			ctx, cancel := context.WithCancel(t.Context())
			out := reader{on: "row 2 refused", do: cancel}
			code := run(ctx, []string{"replay", "-batch", "1", "-policy", policy, "-db", p.url, left}, &out, &out)
			r := result{t, code, out.out.String(), ""}.says(exitInterrupted, "written: 1 rows", "refused: 1", "memdbwriter-checkpoint: interrupted: ")
			p.want(t, "SELECT id, name FROM items", "1|a")
			if repeat := "look into table items before you repeat this"; policy == "insert" {
				r.says(exitInterrupted, repeat)
			} else {
				r.silentOn(repeat)
			}
			p.exec(t, "DELETE FROM items")
		}
	})
}

func TestADestinationThatIsAwayIsAnError(t *testing.T) {
	p := sqlitePlace(t)
	p.exec(t, itemsDDL)
	dir := t.TempDir()
	left := live(t, p, dir, memdbwriter.DurabilityJournal).add(named(1, "a")).persist().die(dir)
	for _, key := range []string{"-key=id", "-failed=false"} {
		r := tool(t, "replay", key, "-db", "postgres://joe:secret@127.0.0.1:1/db?sslmode=disable", left).says(exitFailed, "127.0.0.1")
		r.silentOn("secret")
		r.silentOn("name the key columns") // that would not help
	}
	tool(t, "replay", "-db", "mysql://x", left).says(exitUsage, "begins with none of")
	t.Chdir(t.TempDir())
	t.Setenv("DATABASE_URL", "")
	t.Setenv("MEMORY_DB_DATABASE_URL", "")
	tool(t, "replay", left).says(exitUsage, "no destination")
	for _, text := range []string{"A=1\nno line\nDATABASE_URL=postgres://joe:secret@h/db\n", "DATABASE_URL=\"postgres://joe:secret@h/db\n"} {
		check(t, os.WriteFile(".env", []byte(text), 0o600))
		tool(t, "replay", left).says(exitUsage, "file .env").silentOn("secret")
	}
	check(t, os.Remove(".env"))
	t.Setenv("DATABASE_URL", p.url)
	tool(t, "replay", left).says(exitOK, "written: 1 rows")
}

// Of several checkpoints of a writer the newest has what is left of the others.
func TestOfSeveralCheckpointsTheNewestIsReplayed(t *testing.T) {
	p := sqlitePlace(t)
	p.exec(t, itemsDDL)
	dir := t.TempDir()
	l := live(t, p, dir, memdbwriter.DurabilityJournal).add(named(1, "old"))
	l.checkpoint()
	l.add(named(1, "new"), named(2, "two")).checkpoint()
	left := l.die(dir)
	paths := glob(t, left, "checkpoint_*.sql")
	tool(t, "show", paths[0]).says(exitOK, "is not the newest checkpoint of its writer, which is "+paths[1], "*.seg has what is not stored", `name="old"`)
	tool(t, "replay", "-db", p.url, paths[1], paths[0]).says(exitOK, "written: 2 rows")
	p.want(t, "SELECT id, name FROM items ORDER BY id", "1|new", "2|two")
}
