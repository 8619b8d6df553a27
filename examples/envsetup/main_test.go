package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// call runs the command in a directory of its own.
type call struct {
	t   *testing.T
	dir string
}

func newCall(t *testing.T) *call {
	for _, name := range settings {
		t.Setenv(name, "") // restored afterwards
		os.Unsetenv(name)
	}
	return &call{t, t.TempDir()}
}

func (c *call) path(name string) string { return filepath.Join(c.dir, name) }

func (c *call) write(name, text string) {
	c.t.Helper()
	if err := os.WriteFile(c.path(name), []byte(text), 0o640); err != nil {
		c.t.Fatal(err)
	}
}

func (c *call) read(name string) string {
	c.t.Helper()
	data, err := os.ReadFile(c.path(name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

func (c *call) run(want int, args ...string) string {
	c.t.Helper()
	var out bytes.Buffer
	if code := run(append([]string{"-file", c.path(".env")}, args...), &out, &out); code != want {
		c.t.Fatalf("exit code %d, want %d: %s", code, want, out.String())
	}
	return out.String()
}

// What is in a file beside the settings stays byte for byte.
func TestFilesByteForByte(t *testing.T) {
	const interval = "MEMORY_DB_SYNC_INTERVAL"
	for name, c := range map[string]struct{ before, set, after string }{
		"empty":                 {"", interval + "=60", interval + "=60\n"},
		"replaced":              {interval + "=30\n", interval + "=60", interval + "=60\n"},
		"no line break":         {"A=1", interval + "=60", "A=1\n" + interval + "=60\n"},
		"last line":             {interval + "=30", interval + "=60", interval + "=60"},
		"comments":              {"# top\n\n" + interval + "=30 # why\n# end\n", interval + "=60", "# top\n\n" + interval + "=60 # why\n# end\n"},
		"commented out":         {"# " + interval + "=30\n", interval + "=60", "# " + interval + "=30\n" + interval + "=60\n"},
		"export":                {"export " + interval + "=30\nexport B=2\n", interval + "=60", "export " + interval + "=60\nexport B=2\n"},
		"blanks":                {"  " + interval + "  =  30  \nB = 2\n", interval + "=60", "  " + interval + "  =  60  \nB = 2\n"},
		"yaml":                  {interval + ": 30\n", interval + "=60", interval + ": 60\n"},
		"CRLF":                  {"A=1\r\n" + interval + "=30\r\nB=2\r\n", interval + "=60", "A=1\r\n" + interval + "=60\r\nB=2\r\n"},
		"CRLF added":            {"A=1\r\nB=2", interval + "=60", "A=1\r\nB=2\r\n" + interval + "=60\r\n"},
		"double quotes":         {interval + `="30"` + "\n", interval + "=60", interval + `="60"` + "\n"},
		"single quotes":         {interval + `='30' # s` + "\n", interval + "=60", interval + `='60' # s` + "\n"},
		"other quotes":          {`A="x \" y"` + "\nB='#'\n" + interval + "=1\n", interval + "=60", `A="x \" y"` + "\nB='#'\n" + interval + "=60\n"},
		"within a value":        {"KEY=\"-----\n" + interval + "=1\n-----\"\n", interval + "=60", "KEY=\"-----\n" + interval + "=1\n-----\"\n" + interval + "=60\n"},
		"twice":                 {interval + "=1\nA=2\n" + interval + "=3\n", interval + "=60", interval + "=1\nA=2\n" + interval + "=60\n"},
		"prefix of a key":       {interval + "_PORT=1\nX_" + interval + "=2\n", interval + "=60", interval + "_PORT=1\nX_" + interval + "=2\n" + interval + "=60\n"},
		"byte order mark":       {"\ufeff" + interval + "=30\nA=1\n", interval + "=60", "\ufeff" + interval + "=60\nA=1\n"},
		"no value":              {interval + "=\nA=1\n", interval + "=60", interval + "=60\nA=1\n"},
		"expansion":             {"A=1\nB=${A}x\n" + interval + "=30\n", interval + "=60", "A=1\nB=${A}x\n" + interval + "=60\n"},
		"needs quotes":          {"MEMORY_DB_CHECKPOINT_DIR=/a\n", "MEMORY_DB_CHECKPOINT_DIR=/var/my app #1", "MEMORY_DB_CHECKPOINT_DIR='/var/my app #1'\n"},
		"needs the other":       {"MEMORY_DB_CHECKPOINT_DIR='/a'\n", "MEMORY_DB_CHECKPOINT_DIR=/it's $HOME", `MEMORY_DB_CHECKPOINT_DIR="/it's \$HOME"` + "\n"},
		"line break in a value": {"A=1\n", "MEMORY_DB_CHECKPOINT_DIR=/a\nB=1", `A=1` + "\n" + `MEMORY_DB_CHECKPOINT_DIR="/a\nB=1"` + "\n"},
		"not UTF-8":             {"# K\xe4se\n" + interval + "=30\n", interval + "=60", "# K\xe4se\n" + interval + "=60\n"},
		"same otherwise":        {interval + `="60"` + "\n", interval + "=60", interval + `="60"` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c1 := newCall(t)
			c1.write(".env", c.before)
			c1.run(0, "-n", c.set)
			if got := c1.read(".env"); got != c.before {
				t.Errorf("a dry run made of it %q", got)
			}
			c1.run(0, c.set)
			if got := c1.read(".env"); got != c.after {
				t.Errorf("got  %q\nwant %q", got, c.after)
			}
			if said := c1.run(0, c.set); !strings.Contains(said, "nothing to change") || c1.read(".env") != c.after {
				t.Errorf("the second run said %q and made %q", said, c1.read(".env"))
			}
			if info, err := os.Stat(c1.path(".env")); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		})
	}
}

// A missing file is made, from a sample if one is named, for its owner only.
func TestMissingFile(t *testing.T) {
	c := newCall(t)
	c.run(0, "-profile", "fast", "MEMORY_DB_SYNC_INTERVAL=90s")
	want := "USE_MEMORY_DB=true\nMEMORY_DB_SYNC_BATCH_SIZE=10000\nMEMORY_DB_SYNC_INTERVAL=90s\nMEMORY_DB_MAX_FILES=500000\n"
	if got := c.read(".env"); got != want {
		t.Errorf("%q", got)
	}
	if info, _ := os.Stat(c.path(".env")); info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}

	c = newCall(t)
	c.write("sample", "# ours\nAPP=1\nUSE_MEMORY_DB=false\n")
	c.run(0, "-sample", c.path("sample"), "USE_MEMORY_DB=true")
	if got := c.read(".env"); got != "# ours\nAPP=1\nUSE_MEMORY_DB=true\n" {
		t.Errorf("%q", got)
	}
	c.run(1, "-file", c.path("none"), "-sample", c.path("nowhere"), "USE_MEMORY_DB=true")
}

// Nothing is printed of other variables, and no password of ours.
func TestSecretsAreNotPrinted(t *testing.T) {
	c := newCall(t)
	c.write(".env", "TOKEN=other-secret\nMEMORY_DB_DATABASE_URL=postgres://u:old-secret@h/d\n")
	said := c.run(0, "MEMORY_DB_DATABASE_URL=postgres://u:new-secret@h/d?sslpassword=key-secret")
	if strings.Contains(said, "secret") || !strings.Contains(said, "postgres://u:…@h/d") {
		t.Error(said)
	}
	for _, broken := range []string{"A='broken-secret\n", "broken secret\n"} {
		c.write(".env", broken)
		if said := c.run(1, "USE_MEMORY_DB=true"); strings.Contains(said, "secret") {
			t.Error(said)
		}
	}
}

// What is wrong is said before anything is written.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		code int
		args []string
		say  string
	}{
		"unknown":      {2, []string{"MEMORY_DB_SYNC_INTERVALL=1"}, "MEMORY_DB_SYNC_INTERVALL"},
		"out of range": {2, []string{"MEMORY_DB_SYNC_BATCH_SIZE=0"}, "MEMORY_DB_SYNC_BATCH_SIZE"},
		"no value":     {2, []string{"USE_MEMORY_DB"}, "NAME=VALUE"},
		"nothing":      {2, nil, "nothing to set"},
		"profile":      {2, []string{"-profile", "huge"}, "huge"},
		"flag":         {2, []string{"-x"}, "-x"},
		"help":         {0, []string{"-h"}, "usage"},
	} {
		t.Run(name, func(t *testing.T) {
			c1 := newCall(t)
			c1.write(".env", "A=1\n")
			if said := c1.run(c.code, c.args...); !strings.Contains(said, c.say) {
				t.Errorf("it said %q", said)
			}
			if c1.read(".env") != "A=1\n" {
				t.Error("the file was changed")
			}
		})
	}
}

// A link stays one and its target is changed; what is no file is not opened.
func TestKindsOfFiles(t *testing.T) {
	c := newCall(t)
	c.write("real", "A=1\n")
	if err := os.Symlink("real", c.path(".env")); err != nil {
		t.Fatal(err)
	}
	c.run(0, "USE_MEMORY_DB=true")
	if info, err := os.Lstat(c.path(".env")); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if got := c.read("real"); got != "A=1\nUSE_MEMORY_DB=true\n" {
		t.Errorf("%q", got)
	}
	if err := os.Mkdir(c.path("dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.run(1, "-file", c.path("dir"), "USE_MEMORY_DB=true")
	if names, _ := filepath.Glob(c.path(".envsetup-*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}
