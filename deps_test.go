package memdbwriter

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// Whoever imports the library builds these modules, and no others.
func TestTheRootPackageBuildsOnlyWhatItNeeds(t *testing.T) {
	allowed := map[string]bool{
		"github.com/memdbwriter/memdbwriter":   true,
		"github.com/kelseyhightower/envconfig": true,
		"github.com/jackc/pgx/v5":              true, // and what it needs:
		"github.com/jackc/pgpassfile":          true,
		"github.com/jackc/pgservicefile":       true,
		"github.com/jackc/puddle/v2":           true,
		"golang.org/x/sync":                    true,
		"golang.org/x/text":                    true,
		"modernc.org/sqlite":                   true, // and what it needs:
		"modernc.org/libc":                     true,
		"modernc.org/mathutil":                 true,
		"modernc.org/memory":                   true,
		"github.com/dustin/go-humanize":        true,
		"github.com/google/uuid":               true,
		"github.com/mattn/go-isatty":           true,
		"github.com/ncruces/go-strftime":       true,
		"github.com/remyoudompheng/bigfft":     true,
		"golang.org/x/sys":                     true,
	}
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Module", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p struct {
			ImportPath string
			Standard   bool
			Module     *struct{ Path string }
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !p.Standard && !allowed[p.Module.Path] {
			t.Errorf("the root package builds %s of module %s", p.ImportPath, p.Module.Path)
		}
	}
	if seen < 100 {
		t.Errorf("go list named %d packages", seen)
	}
}
