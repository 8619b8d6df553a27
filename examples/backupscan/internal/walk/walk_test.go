package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree makes files with their name as content, directories (a trailing slash)
// and links ("name -> target") below dir.
func tree(t testing.TB, dir string, names ...string) string {
	t.Helper()
	for _, name := range names {
		link, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, filepath.FromSlash(link))
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case isLink:
			check(t, os.Symlink(target, path))
		case strings.HasSuffix(name, "/"):
			check(t, os.MkdirAll(path, 0o755))
		default:
			check(t, os.WriteFile(path, []byte(name), 0o644))
		}
	}
	return dir
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// realDir is a temporary directory whose path holds no links.
func realDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	return dir
}

// seen collects what a walk emits; the last entry of a path counts.
type seen struct {
	mu      sync.Mutex
	entries map[string]*Entry
	calls   int
}

func (s *seen) emit(_ context.Context, e *Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = make(map[string]*Entry)
	}
	s.entries[e.Path] = e
	s.calls++
	return nil
}

// below are the paths met, relative to dir, sorted, with slashes.
func (s *seen) below(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	for path := range maps.Keys(s.entries) {
		rel, err := filepath.Rel(dir, path)
		check(t, err)
		names = append(names, filepath.ToSlash(rel))
	}
	slices.Sort(names)
	return names
}

// walk walks the named roots and fails the test on any error.
func walk(t testing.TB, w *Walker, names ...string) (*seen, Result) {
	t.Helper()
	roots, err := Roots(names)
	check(t, err)
	var s seen
	res, err := w.Walk(t.Context(), roots, s.emit)
	check(t, err)
	return &s, res
}

func wantNames(t testing.TB, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("met\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestEveryEntryIsMetOnceTheRootIncluded(t *testing.T) {
	dir := tree(t, realDir(t), "a.txt", "sub/b.txt", "sub/deep/er/c.txt", "empty/")
	var w Walker
	s, res := walk(t, &w, dir)
	wantNames(t, s.below(t, dir), ".", "a.txt", "sub", "sub/b.txt", "sub/deep", "sub/deep/er", "sub/deep/er/c.txt", "empty")
	if s.calls != 8 || w.Counts.Entries() != 8 || w.Counts.Files.Load() != 3 || w.Counts.Directories.Load() != 5 {
		t.Errorf("%d calls, counted %d files and %d directories", s.calls, w.Counts.Files.Load(), w.Counts.Directories.Load())
	}
	if want := int64(len("a.txt" + "sub/b.txt" + "sub/deep/er/c.txt")); w.Counts.Bytes.Load() != want {
		t.Errorf("%d bytes, want %d", w.Counts.Bytes.Load(), want)
	}
	if len(res.Unread)+len(res.Skipped) != 0 {
		t.Errorf("result %+v of a readable tree", res)
	}
}

func TestManyFilesInManyDirectories(t *testing.T) {
	dir := realDir(t)
	want := 1
	for d := range 40 {
		sub := filepath.Join(dir, fmt.Sprint(d))
		check(t, os.Mkdir(sub, 0o755))
		want++
		for f := range 50 {
			check(t, os.WriteFile(filepath.Join(sub, fmt.Sprint(f)), nil, 0o600))
			want++
		}
	}
	var w Walker
	s, _ := walk(t, &w, dir)
	if len(s.entries) != want || s.calls != want || w.Counts.Entries() != int64(want) {
		t.Errorf("met %d in %d calls, counted %d, want %d", len(s.entries), s.calls, w.Counts.Entries(), want)
	}
}

func TestMetadataIsWhatTheSystemSays(t *testing.T) {
	dir := tree(t, realDir(t), "file")
	path := filepath.Join(dir, "file")
	check(t, os.Chmod(path, 0o640))
	mtime := time.Date(2001, 2, 3, 4, 5, 6, 789000000, time.FixedZone("", 8*3600))
	atime := mtime.Add(time.Hour)
	check(t, os.Chtimes(path, atime, mtime))

	before := time.Now().Add(-time.Hour)
	s, _ := walk(t, &Walker{}, path)
	e := s.entries[path]
	if e.Type != File || e.Stat.Size != 4 || e.Err != nil {
		t.Errorf("got %+v", e)
	}
	if !e.Stat.Modified.Equal(mtime) || e.Stat.Modified.Location() != time.UTC {
		t.Errorf("modified %v, want the same moment as %v, in UTC", e.Stat.Modified, mtime)
	}
	switch runtime.GOOS {
	case "linux", "darwin":
		if e.Stat.Perm != 0o640 {
			t.Errorf("permissions %o", e.Stat.Perm)
		}
		if !e.Stat.Accessed.Equal(atime) {
			t.Errorf("accessed %v, want %v", e.Stat.Accessed, atime)
		}
		if e.Stat.Created.Before(before) || e.Stat.Created.After(time.Now()) {
			t.Errorf("created %v, and not just now", e.Stat.Created)
		}
		owner, err := userName(fmt.Sprint(os.Getuid()))
		if err != nil {
			owner = fmt.Sprint(os.Getuid())
		}
		if e.Owner != owner || e.Group == "" {
			t.Errorf("owner %s, want %s", e.Owner, owner)
		}
	}
}

// The point of the walk: one directory on a slow file system is looked at by
// many goroutines at a time.
func TestManyFilesOfOneDirectoryAreLookedAtAtOnce(t *testing.T) {
	const stats = 16
	dir := realDir(t)
	for i := range 4 * stats {
		tree(t, dir, fmt.Sprint(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var inFlight atomic.Int64
	all := make(chan struct{})
	w := Walker{Stats: stats, Fault: func(op, _ string) error {
		if op == "lstat" {
			if inFlight.Add(1) == stats {
				close(all)
			}
			select {
			case <-all: // the first ones wait for each other
			case <-ctx.Done():
			}
		}
		return nil
	}}
	var s seen
	if _, err := w.Walk(ctx, []string{dir}, s.emit); err != nil || len(s.entries) != 4*stats+1 {
		t.Errorf("%d entries, %v: fewer than %d calls were in flight", len(s.entries), err, stats)
	}
}

func TestAnUnknownOwnerIsANumber(t *testing.T) {
	n := newNames(func(string) (string, error) { return "", errors.New("no such user") })
	if got := n.of(4294967294); got != "4294967294" {
		t.Errorf("got %q", got)
	}
}

func TestOwnersAreLookedUpOnce(t *testing.T) {
	var calls int
	n := newNames(func(id string) (string, error) { calls++; return "name-" + id, nil })
	for range 3 {
		if got := n.of(7); got != "name-7" || calls != 1 {
			t.Errorf("got %q after %d look-ups", got, calls)
		}
	}
}

func TestLinksAreListedAndNotFollowed(t *testing.T) {
	dir := tree(t, realDir(t), "real/file", "loop -> .", "up/there -> ../..", "dangling -> nowhere", "tofile -> real/file", "todir -> real")
	var w Walker
	s, _ := walk(t, &w, dir)
	wantNames(t, s.below(t, dir), ".", "real", "real/file", "loop", "up", "up/there", "dangling", "tofile", "todir")
	for _, name := range []string{"loop", "up/there", "dangling", "tofile", "todir"} {
		if e := s.entries[filepath.Join(dir, name)]; e.Type != Symlink || e.Err != nil {
			t.Errorf("%s is %v, %v", name, e.Type, e.Err)
		}
	}
	if w.Counts.Symlinks.Load() != 5 {
		t.Errorf("%d links counted", w.Counts.Symlinks.Load())
	}
}

func TestNamesMayBeAnyBytes(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // elsewhere the file system refuses such names
	}
	dir := realDir(t)
	names := []string{"latin-\xe9", "gbk-\xd6\xd0", "new\nline", "tab\t", "back\\slash", "\xff\xfe.d/in\xffside", "中文", " "}
	tree(t, dir, names...)
	s, _ := walk(t, &Walker{}, dir)
	wantNames(t, s.below(t, dir), append(names, ".", "\xff\xfe.d")...)
}

func TestSpecialFilesAreCountedOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // has none
	}
	dir := tree(t, realDir(t), "file")
	mkfifo(t, filepath.Join(dir, "pipe"))
	var w Walker
	s, _ := walk(t, &w, dir)
	wantNames(t, s.below(t, dir), ".", "file")
	if w.Counts.Special.Load() != 1 {
		t.Errorf("%d special files counted", w.Counts.Special.Load())
	}
}

func TestOverlappingRootsAreWalkedOnce(t *testing.T) {
	dir := tree(t, realDir(t), "a/x", "a/b/y", "ab/z", "link -> a")
	s, _ := walk(t, &Walker{}, dir+"/a/b", dir+"/a", dir+"/a/", dir+"/a/../a", dir+"/ab", dir+"/a/b/y", dir+"/link")
	wantNames(t, s.below(t, dir), "a", "a/x", "a/b", "a/b/y", "ab", "ab/z")
	if s.calls != 6 {
		t.Errorf("%d calls", s.calls)
	}
}

func TestARootMayBeAFile(t *testing.T) {
	dir := tree(t, realDir(t), "a/x", "a/y")
	s, _ := walk(t, &Walker{}, dir+"/a/x")
	wantNames(t, s.below(t, dir), "a/x")
}

func TestARelativeRootBecomesAbsolute(t *testing.T) {
	dir := tree(t, realDir(t), "sub/x")
	t.Chdir(dir)
	s, _ := walk(t, &Walker{}, "sub")
	wantNames(t, s.below(t, dir), "sub", "sub/x")
}

func TestEveryMissingRootIsNamed(t *testing.T) {
	dir := tree(t, realDir(t), "here/")
	_, err := Roots([]string{dir + "/here", dir + "/gone", dir + "/lost"})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/gone") || !strings.Contains(err.Error(), "/lost") || strings.Contains(err.Error(), "/here") {
		t.Errorf("got %v", err)
	}
}

func TestAnEmptyDirectoryIsMarked(t *testing.T) {
	dir := tree(t, realDir(t), "mnt/", "disk/lost+found/", "data/x", "data/sub/")
	x, err := NewExclude([]string{"*/x"})
	check(t, err)
	s, _ := walk(t, &Walker{Exclude: x}, dir)
	for name, want := range map[string]bool{"": false, "mnt": true, "disk": true, "disk/lost+found": true, "data": false, "data/sub": true} {
		if e := s.entries[filepath.Join(dir, name)]; e.Empty != want {
			t.Errorf("%q is empty: %v", name, e.Empty)
		}
	}
}

func TestWhatVanishesIsCountedAndNotListed(t *testing.T) {
	dir := tree(t, realDir(t), "stays", "goes", "dir/file")
	w := Walker{Fault: func(op, path string) error {
		switch op + " " + filepath.Base(path) {
		case "lstat goes":
			check(t, os.RemoveAll(path))
		case "open dir":
			check(t, os.RemoveAll(path))
		}
		return nil
	}}
	s, res := walk(t, &w, dir)
	wantNames(t, s.below(t, dir), ".", "stays")
	if w.Counts.Vanished.Load() != 2 || w.Counts.Unreadable.Load() != 0 || len(res.Unread) != 0 {
		t.Errorf("%d vanished, %d unreadable", w.Counts.Vanished.Load(), w.Counts.Unreadable.Load())
	}
}

func TestAnEntryWithoutMetadataIsListedWithItsError(t *testing.T) {
	dir := tree(t, realDir(t), "good", "bad", "badlink -> good", "baddir/hidden")
	w := Walker{Fault: func(op, path string) error {
		if strings.HasPrefix(filepath.Base(path), "bad") {
			return &fs.PathError{Op: op, Path: path, Err: syscall.EIO}
		}
		return nil
	}}
	s, res := walk(t, &w, dir)
	wantNames(t, s.below(t, dir), ".", "good", "bad", "badlink", "baddir")
	for name, typ := range map[string]Type{"bad": File, "badlink": Symlink, "baddir": Directory} {
		e := s.entries[filepath.Join(dir, name)]
		if e.Type != typ || !errors.Is(e.Err, syscall.EIO) || e.Owner != "" || e.Stat.Size != 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	slices.Sort(res.Unread)
	if w.Counts.Unreadable.Load() != 3 || !slices.Equal(res.Unread, []string{dir + "/bad", dir + "/baddir", dir + "/badlink"}) {
		t.Errorf("%d unreadable, %v", w.Counts.Unreadable.Load(), res.Unread)
	}
}

func TestADirectoryThatBecameALinkIsNotEntered(t *testing.T) {
	dir := tree(t, realDir(t), "other/secret", "root/dir/file")
	w := Walker{Fault: func(op, path string) error {
		if op == "open" && filepath.Base(path) == "dir" {
			check(t, os.RemoveAll(path))
			check(t, os.Symlink(filepath.Join(dir, "other"), path))
		}
		return nil
	}}
	s, _ := walk(t, &w, dir+"/root")
	wantNames(t, s.below(t, dir), "root", "root/dir")
	if e := s.entries[filepath.Join(dir, "root", "dir")]; e.Type != Symlink {
		t.Errorf("listed as %s", e.Type)
	}
}

func TestCancellationEndsEveryGoroutine(t *testing.T) {
	dir := realDir(t)
	for i := range 500 {
		tree(t, dir, fmt.Sprintf("%d/%d", i%20, i))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	var once sync.Once
	_, err := (&Walker{Stats: 4}).Walk(ctx, []string{dir}, func(ctx context.Context, _ *Entry) error {
		once.Do(func() { cancel(stop) })
		<-ctx.Done() // a full buffer: every emit is stuck until the context ends
		return context.Cause(ctx)
	})
	if !errors.Is(err, stop) {
		t.Errorf("got %v, want the cause of the cancellation", err)
	}
}

func TestAnErrorOfEmitEndsTheWalk(t *testing.T) {
	dir := realDir(t)
	for i := range 300 {
		tree(t, dir, fmt.Sprintf("%d/%d", i%20, i))
	}
	full := errors.New("no room")
	_, err := (&Walker{}).Walk(t.Context(), []string{dir}, func(_ context.Context, e *Entry) error {
		if e.Type == File {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

func TestAFinishedContextWalksNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var s seen
	_, err := (&Walker{}).Walk(ctx, []string{realDir(t)}, s.emit)
	if !errors.Is(err, context.Canceled) || s.calls != 0 {
		t.Errorf("%v after %d calls", err, s.calls)
	}
}
