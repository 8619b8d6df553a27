package pgdest

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestStatementsAreSentInOnePlace: only send.go hands text to a connection, and
// the way around sqltext is taken for nothing but a program's own DDL.
func TestStatementsAreSentInOnePlace(t *testing.T) {
	sends := strings.Fields("Exec ExecParams ExecPrepared Prepare CopyFrom CopyTo SendQuery SendBatch")
	mayUse := map[string]string{
		"check.go Program":  "the DDL of a table that is to be created",
		"target.go Program": "the predicate of a conflict target, which is the program's option", "upsert.go Program": "the same",
		"sql.go Program": "the type of a column, as the program's tag or this package has it",
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") || f.Name() == "send.go" {
			continue
		}
		fset := gotoken.NewFileSet()
		file, err := parser.ParseFile(fset, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch use := f.Name() + " " + sel.Sel.Name; {
			case sel.Sel.Name == "Program":
				if used[use] = true; mayUse[use] == "" {
					t.Errorf("%s: makes SQL of a string", fset.Position(call.Pos()))
				}
			default:
				for _, name := range sends {
					if sel.Sel.Name == name {
						t.Errorf("%s: sends a statement; use what send.go has", fset.Position(call.Pos()))
					}
				}
			}
			return true
		})
	}
	for use := range mayUse {
		if !used[use] {
			t.Errorf("%s is not there any more", use)
		}
	}
}

// FuzzCatalogueAnswer: whatever a server answers about a table, the reader
// neither panics nor takes what is not there.
func FuzzCatalogueAnswer(f *testing.F) {
	const (
		relation = "1,public,files,r,t,t,db,me,t,t,f,f,"
		column   = "id,bigint,20,-1,f,pg_catalog,int8,t,f,,f,1,20,0,f,t,t,t,f,f,f,,"
		traits   = "1,,f,,f,f,"
		part     = "7,1,pg_catalog,=,pg_catalog,<,f,,,t"
	)
	whole := relation + "\n--\n" + column + "\n--\n1,1,t,t,files_pkey,7,t,t,f,\n--\n" + traits + "\n--\n" + part
	f.Add(whole)
	f.Add(strings.Replace(whole, "\n1,1,", "\n9,1 2,", 1))
	f.Add(strings.Replace(whole, "\n7,1,", "\n8,1,", 1))
	f.Add(relation + "\n--\nid,bigint\n--\n--\n" + traits + "\n--\n" + part)
	f.Add(",,,,,,,,,,,,\n--\n--\n--\n--\n")
	f.Fuzz(func(t *testing.T, answer string) {
		var results []*pgconn.Result
		for _, part := range strings.Split(answer, "--\n") {
			r := &pgconn.Result{CommandTag: pgconn.NewCommandTag("SELECT 0")}
			for line := range strings.Lines(part) {
				var row [][]byte
				for _, field := range strings.Split(strings.TrimSuffix(line, "\n"), ",") {
					if field == "" {
						row = append(row, nil)
					} else {
						row = append(row, []byte(field))
					}
				}
				r.Rows = append(r.Rows, row)
			}
			results = append(results, r)
		}
		answers, err := readResults(results, []string{relationKinds, columnKinds, keyKinds, traitKinds, partKinds})
		if answer == whole && err != nil {
			t.Fatalf("a whole answer is not read, so that nothing is tested: %v", err)
		}
		if err != nil {
			return
		}
		s, err := newShape(postgres, answers)
		if err == nil && (len(s.order) != len(answers[1]) || len(s.keys) != len(answers[2])) {
			t.Errorf("%d columns of %d, %d keys of %d", len(s.order), len(answers[1]), len(s.keys), len(answers[2]))
		}
	})
}
