package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter"
)

// remains is a directory as a killed writer leaves it: a checkpoint, a journal,
// a row that was refused.
func remains(t *testing.T) (dir, checkpoint, segment string) {
	t.Helper()
	p := sqlitePlace(t)
	p.exec(t, itemsDDL)
	dir = t.TempDir()
	l := live(t, p, dir, memdbwriter.DurabilityJournal).add(named(1, "bad"), named(2, "two")).sync()
	l.add(named(3, "three"), named(4, "four")).checkpoint()
	left := l.add(named(5, "five\x1b[31m")).persist().die(dir)
	segments := glob(t, left, "journal_*.seg")
	return left, glob(t, left, "checkpoint_*.sql")[0], segments[len(segments)-1]
}

func TestListTellsWhatIsThere(t *testing.T) {
	dir, checkpoint, _ := remains(t)
	unchanged(t, dir)
	check(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
	t.Cleanup(func() { os.Remove(filepath.Join(dir, "notes.txt")) })
	r := tool(t, "list", dir).says(exitOK, checkpoint, "items", "complete", "*.seg")
	r.silentOn("notes.txt")
	lines := strings.Split(r.out, "\n")
	if f := strings.Fields(lines[1]); len(f) < 4 || f[2] != "2" || f[3] != "1" {
		t.Errorf("the line of the checkpoint: %q", lines[1])
	}
	empty := t.TempDir()
	tool(t, "list", empty).says(exitOK, "FILE", "neither a checkpoint nor a journal in "+empty)
}

func TestVerifyReadsEverything(t *testing.T) {
	dir, checkpoint, segment := remains(t)
	unchanged(t, dir)
	tool(t, "verify", dir).says(exitOK, "ok  "+checkpoint+": 2 rows of items, 1 refused ones", "rows of items that wait")
	tool(t, "verify", checkpoint, segment).says(exitOK)
	empty := t.TempDir()
	tool(t, "verify", empty).says(exitFailed, "neither a checkpoint nor a journal in "+empty)
}

func TestFilesThatArePassedOverAreNamed(t *testing.T) {
	dir, checkpoint, _ := remains(t)
	for suffix, why := range map[string]string{".damaged": "set aside as damaged", ".tmp": "never finished"} {
		check(t, os.WriteFile(checkpoint+suffix, nil, 0o600))
		for _, args := range [][]string{{"list", dir}, {"verify", dir}, {"show", dir}, {"replay", "-n", "-key", "id", "-db", "sqlite:none.db", dir}} {
			tool(t, args...).says(exitOK, checkpoint+suffix, why)
		}
		tool(t, "show", checkpoint+suffix).says(exitFailed, "neither a checkpoint nor a journal in "+checkpoint+suffix)
	}
}

// Whoever names an old checkpoint learns what is newer.
func TestAnOlderCheckpointIsSaidToBeOne(t *testing.T) {
	p := sqlitePlace(t)
	p.exec(t, itemsDDL)
	dir := t.TempDir()
	l := live(t, p, dir, memdbwriter.DurabilityJournal).add(named(1, "one"))
	l.checkpoint()
	l.add(named(2, "two")).checkpoint()
	left := l.die(dir)
	paths, segment := glob(t, left, "checkpoint_*.sql"), glob(t, left, "journal_*.seg")[0]
	tool(t, "show", paths[0]).says(exitOK, "is not the newest", segment[:len(segment)-20], "has what is not stored yet", `name="one"`).silentOn("two")
	check(t, os.WriteFile(paths[1], nil, 0o600))
	tool(t, "replay", "-db", p.url, paths[0]).says(exitOK, "written: 1 rows")
	tool(t, "show", paths[1], paths[0]).says(exitFailed, paths[1], "to go on without it, move it away, or name an older one")
	check(t, os.WriteFile(segment, []byte("not what it was and of some length"), 0o600))
	tool(t, "show", paths[0]).says(exitOK, `name="one"`)
	tool(t, "show", left).says(exitFailed, segment, "to go on without it, name the files that are good")
}

func TestADamagedJournalIsSaidByTheExitCode(t *testing.T) {
	p := sqlitePlace(t)
	p.exec(t, itemsDDL)
	dir := t.TempDir()
	left := live(t, p, dir, memdbwriter.DurabilityFsync).add(named(1, "one")).persist().
		add(named(2, "two")).persist().add(named(3, "three")).persist().die(dir)
	segment := glob(t, left, "journal_*.seg")[0]
	text, err := os.ReadFile(segment)
	check(t, err)
	check(t, os.WriteFile(segment, bytes.Replace(text, []byte("two"), []byte("2wo"), 1), 0o600))
	for _, args := range [][]string{{"list", left}, {"verify", left}, {"show", left}, {"replay", "-n", "-db", p.url, left}} {
		tool(t, args...).says(exitFailed, "damage")
	}
	tool(t, "replay", "-db", p.url, left).says(exitFailed, "what comes before the damage is used", "written: 1 rows")
}

func TestShowPrintsRowsAndReasons(t *testing.T) {
	dir, checkpoint, _ := remains(t)
	unchanged(t, dir)
	r := tool(t, "show", dir).says(exitOK, `3  id=3 name="three" note=NULL seen="2026-05-06 07:08:09.123456+00:00"`, `name="five\x1b[31m"`, "3 rows that wait, 1 refused")
	r.silentOn("\x1b")
	r.silentOn(`"bad"`)
	tool(t, "show", "-failed", dir).says(exitOK, `1  id=1 name="bad"`, "refused 1 times", "SQLSTATE")
	if r := tool(t, "show", "-limit", "1", dir).says(exitOK); strings.Count(r.out, "name=") != 1 {
		t.Errorf("-limit 1:\n%s", r.out)
	}
	other, _, _ := remains(t)
	if r := tool(t, "show", "-limit", "1", dir, other).says(exitOK); strings.Count(r.out, "name=") != 1 || strings.Count(r.out, "rows that wait") != 2 {
		t.Errorf("-limit 1 of two writers:\n%s", r.out)
	}
	tool(t, "show", checkpoint).says(exitOK, "a checkpoint is as old as it is", "2 rows that wait")
}

func TestShowPrintsEveryCharacterWhole(t *testing.T) {
	p := sqlitePlace(t)
	p.exec(t, itemsDDL)
	dir := t.TempDir()
	l := live(t, p, dir, memdbwriter.DurabilityJournal)
	name := strings.Repeat("日", 1000)
	for i := range int64(20) {
		l.add(named(i, name))
	}
	r := tool(t, "show", l.persist().die(dir)).says(exitOK)
	if n := strings.Count(r.out, name); n != 20 {
		t.Errorf("%d rows of 20 are whole", n)
	}
}

// full is a disk that takes nothing more.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestAnAnswerThatCannotBePrintedIsAnError(t *testing.T) {
	dir, _, _ := remains(t)
	for _, args := range [][]string{{"list", dir}, {"verify", dir}, {"show", dir}, {"show", "-failed", dir}} {
		var stderr strings.Builder
		if code := run(t.Context(), args, full{}, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%q: exit code %d, %s", args, code, &stderr)
		}
	}
}

func TestADamagedCheckpointIsReportedAndNeverReplayed(t *testing.T) {
	damages := map[string]func([]byte) []byte{
		"cut off":           func(b []byte) []byte { return b[:len(b)-40] },
		"changed":           func(b []byte) []byte { return bytes.Replace(b, []byte("'three'"), []byte("'threw'"), 1) },
		"empty":             func([]byte) []byte { return nil },
		"a stranger's":      func([]byte) []byte { return []byte("DROP TABLE items;\n") },
		"a longer one":      func(b []byte) []byte { return append(b, "DROP TABLE items;\n"...) },
		"of a later format": func(b []byte) []byte { return bytes.Replace(b, []byte("format 1"), []byte("format 2"), 1) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir, checkpoint, _ := remains(t)
			text, err := os.ReadFile(checkpoint)
			check(t, err)
			check(t, os.WriteFile(checkpoint, damage(text), 0o600))
			unchanged(t, dir)
			tool(t, "verify", dir).says(exitFailed, "BAD", checkpoint)
			p := sqlitePlace(t)
			p.exec(t, itemsDDL)
			tool(t, "replay", "-db", p.url, checkpoint).says(exitFailed, checkpoint)
			tool(t, "show", checkpoint).says(exitFailed, checkpoint)
			p.want(t, "SELECT count(*) FROM items", "0")
		})
	}
}

func TestADamagedJournalIsUsedUpToTheDamage(t *testing.T) {
	dir, _, segment := remains(t)
	text, err := os.ReadFile(segment)
	check(t, err)
	t.Run("torn", func(t *testing.T) {
		check(t, os.WriteFile(segment, text[:len(text)-3], 0o600))
		unchanged(t, dir)
		tool(t, "list", dir).says(exitOK, "not a whole record")
		tool(t, "verify", dir).says(exitOK, "not a whole record, as a crash leaves it")
		tool(t, "show", dir).says(exitOK, "2 rows that wait").silentOn("five")
	})
	t.Run("hardly begun", func(t *testing.T) {
		for _, begun := range [][]byte{nil, text[:10], text[:60], make([]byte, 100_000)} {
			check(t, os.WriteFile(segment, text, 0o600))
			next := segment[:len(segment)-len("0.seg")] + "f.seg"
			check(t, os.WriteFile(next, begun, 0o600))
			tool(t, "list", dir).says(exitOK, next, "nothing was written to it yet")
			tool(t, "verify", dir).says(exitOK, next+": passed over: nothing was written to it yet")
			tool(t, "show", dir).says(exitOK, "3 rows that wait")
			check(t, os.Remove(next))
		}
	})
	t.Run("without a header", func(t *testing.T) {
		check(t, os.WriteFile(segment, append([]byte("XXXX"), text[4:]...), 0o600))
		unchanged(t, dir)
		tool(t, "list", dir).says(exitFailed, "no readable header")
		tool(t, "verify", dir).says(exitFailed, "BAD", "no readable header")
		tool(t, "replay", "-db", "sqlite:none.db", dir).says(exitFailed, "no readable header")
	})
	t.Run("with a wrong length", func(t *testing.T) {
		longer := bytes.Clone(text)
		longer[13] = 0xf0
		check(t, os.WriteFile(segment, longer, 0o600))
		tool(t, "verify", dir).says(exitFailed, "BAD", "no readable header")
	})
	t.Run("of a later format", func(t *testing.T) {
		later := bytes.Clone(text)
		later[11] = 2
		check(t, os.WriteFile(segment, later, 0o600))
		tool(t, "verify", dir).says(exitFailed, "version 2")
	})
}

func TestFilesOfALivingWriterAreLeftAlone(t *testing.T) {
	p := sqlitePlace(t)
	p.exec(t, itemsDDL)
	dir := t.TempDir()
	l := live(t, p, dir, memdbwriter.DurabilityJournal).add(named(1, "a"))
	path := l.checkpoint()
	for _, command := range []string{"list", "verify", "show"} {
		tool(t, command, dir).says(exitFailed, "in use", "process", "-force-read")
		tool(t, command, "-force-read", path).says(exitOK, "items")
	}
	tool(t, "replay", "-db", p.url, dir).says(exitFailed, "in use")
	tool(t, "replay", "-force-read", "-db", p.url, dir).says(exitUsage, "-force-read")
	p.want(t, "SELECT count(*) FROM items", "0")
	l.die(dir)
	tool(t, "list", dir).says(exitOK)
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	stranger := filepath.Join(dir, "notes.txt")
	check(t, os.WriteFile(stranger, nil, 0o600))
	checkpoint := filepath.Join(dir, "checkpoint_x.sql")
	check(t, os.WriteFile(checkpoint, nil, 0o600))
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "usage: memdbwriter-checkpoint COMMAND"},
		{[]string{"help"}, exitOK, "usage: memdbwriter-checkpoint COMMAND"},
		{[]string{"drop"}, exitUsage, `no command "drop"`},
		{[]string{"list"}, exitUsage, "no file or directory"},
		{[]string{"list", "-h"}, exitOK, "usage: memdbwriter-checkpoint list"},
		{[]string{"show", "-limit", "-1", dir}, exitUsage, "-limit -1"},
		{[]string{"show", "-what", dir}, exitUsage, "not defined: -what"},
		{[]string{"verify", filepath.Join(dir, "missing")}, exitFailed, "no such file"},
		{[]string{"replay", dir, "-n"}, exitUsage, "-n: flags come before the first file"},
		{[]string{"verify", stranger}, exitFailed, "neither a checkpoint"},
		{[]string{"verify", checkpoint}, exitFailed, "name is not one that a writer makes"},
		{[]string{"show", t.TempDir()}, exitFailed, "neither a checkpoint nor a journal"},
		{[]string{"replay", "-policy", "merge", dir}, exitUsage, "must be update, ignore or insert"},
		{[]string{"replay", "-batch", "0", dir}, exitUsage, "-batch 0"},
		{[]string{"replay", "-policy", "insert", "-key", "id", dir}, exitUsage, "takes no -key"},
		{[]string{"replay", "-policy", "ignore", "-guard", "x", dir}, exitUsage, "-policy update only"},
	} {
		tool(t, c.args...).says(c.code, c.want)
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add([]byte("MDBWJRNL\x00\x00\x00\x01\x00\x00\x00\x38"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "journal_x.seg")
		check(t, os.WriteFile(path, b, 0o600))
		_, _ = readHeader(path) // it must end, whatever the file is
	})
}
