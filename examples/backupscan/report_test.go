package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVerifyNamesEveryDifference(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "same", "grows", "goes/x", "sub/y", "caf\xe9", "zero", "tenth")
		check(t, os.Chtimes(dir+"/zero", time.Unix(1e9, 0), time.Unix(1e9, 0)))
		check(t, os.Chtimes(dir+"/tenth", time.Unix(1e9, 1e8), time.Unix(1e9, 100_000_999)))
		scanned(t, p, dir).want(t, exitOK)
		verify := func(code int) result {
			return program(t.Context(), "verify", "-db", p.url, dir).want(t, code)
		}
		if r := verify(exitOK); r.out != "" || r.errout != "" {
			t.Errorf("%s%s", r.out, r.errout)
		}
		before := p.versions(t)
		check(t, os.WriteFile(dir+"/grows", []byte("more than before"), 0o644))
		check(t, os.RemoveAll(dir+"/goes"))
		tree(t, dir, "comes\x1b[31m")
		r := verify(exitErrors)
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		slices.Sort(lines)
		wantEqual(t, "differences", lines, []string{
			"changed    " + dir, "changed    " + dir + "/grows", "gone       " + dir + "/goes", "gone       " + dir + "/goes/x",
			"missing    " + dir + `/comes\x1b[31m`,
		})
		wantEqual(t, "rows", p.versions(t), before)
	})
}

func TestListAndDu(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a/one", "a/b/two", "c")
		check(t, os.Link(dir+"/a/one", dir+"/c2"))
		scanned(t, p, dir).want(t, exitOK)
		run := func(args ...string) string {
			return program(context.Background(), append([]string{args[0], "-db", p.url}, args[1:]...)...).want(t, exitOK).out
		}
		var paths []string
		for line := range strings.Lines(run("list", "-format", "json", dir+"/a")) {
			var l listed
			check(t, json.Unmarshal([]byte(line), &l))
			paths = append(paths, l.Path)
		}
		slices.Sort(paths)
		wantEqual(t, "list", paths, []string{dir + "/a", dir + "/a/b", dir + "/a/b/two", dir + "/a/one"})
		records, err := csv.NewReader(strings.NewReader(run("list", "-format", "csv"))).ReadAll()
		if err != nil || len(records) != 1+7 || records[0][0] != "path" {
			t.Errorf("%v, %v", records, err)
		}
		if out := run("list"); !strings.Contains(out, "directory 0755 ") || !strings.Contains(out, dir+"/a/b/two\n") {
			t.Error(out)
		}
		depth := strings.Count(dir, "/")
		out := run("du", "-format", "csv", "-depth", string(rune('0'+depth+1)))
		for _, want := range []string{dir + ",4,13\n", dir + "/a,2,"} { // bytes of the two names count once
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
	})
}
