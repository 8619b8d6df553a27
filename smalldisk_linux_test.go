package memdbwriter

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// smallDisk is a directory on a file system of a few megabytes, and functions
// that fill it and make room again. Who must not mount one gets a directory
// whose writes fail in the same way.
func smallDisk(t *testing.T) (cfg Config, fill, free func()) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=700"); err != nil {
		t.Logf("the full disk is a pretended one: %v", err)
		return pretendedDisk(dir)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	fill = func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
	}
	free = func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
	return Config{CheckpointDir: dir}, fill, free
}

// readOnly is a directory in which nobody can write.
func readOnly(t *testing.T) string {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, ""); err == nil {
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	return readOnlyByMode(t, dir)
}
