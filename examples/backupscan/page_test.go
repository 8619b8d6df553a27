package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The page of the buffer is there while the scan takes, for its own host only,
// and gone after it.
func TestPageWhileScanning(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"-quiet", "-create", "-db", "sqlite:" + filepath.Join(t.TempDir(), "c.db"), "-http", address, dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	o.entry = func(string) {
		for _, host := range []string{address, "rebound.example"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/status.json", nil)
			if err != nil {
				t.Error(err)
				return
			}
			r.Host = host
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			text, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Error(err)
			}
			answer.Body.Close()
			seen = append(seen, answer.Status+" "+string(text))
		}
	}
	if code, err := o.scan(t.Context(), io.Discard, io.Discard); code != exitOK {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if len(seen) < 2 || !strings.Contains(seen[0], "backupscan, set 1") || !strings.HasPrefix(seen[1], "421") {
		t.Errorf("seen while scanning: %q", seen)
	}
	if _, err := http.Get("http://" + address + "/"); err == nil {
		t.Error("the page is there after the scan")
	}
}
