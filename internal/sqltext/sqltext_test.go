package sqltext_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// TestNoStringBecomesSQL: a plain string in the place of SQL does not compile.
func TestNoStringBecomesSQL(t *testing.T) {
	for use, fits := range map[string]bool{
		`sqltext.Const("SELECT 1")`:                          true,
		`sqltext.Format("SELECT {}", sqltext.Literal(text))`: true,
		`sqltext.Join(", ", sqltext.Ident(text))`:            true,
		`sqltext.Const("SELECT " + text)`:                    false,
		`sqltext.Const(text)`:                                false,
		`sqltext.Format(text)`:                               false,
		`sqltext.Format("SELECT {}", text)`:                  false,
		`sqltext.Join(text, sqltext.Ident(text))`:            false,
		`sqltext.SQL{text}`:                                  false,
		`sqltext.SQL(text)`:                                  false,
		`sqltext.Int(text)`:                                  false,
	} {
		err := compile("package p\nimport \"sqltext\"\nfunc f(text string) sqltext.SQL { return " + use + " }")
		if (err == nil) != fits {
			t.Errorf("%s: compiles %v, want %v: %v", use, err == nil, fits, err)
		}
	}
}

// packages are those that a file may import: sqltext, and empty ones.
type packages map[string]*types.Package

func (p packages) Import(path string) (*types.Package, error) {
	if p[path] == nil {
		p[path] = types.NewPackage(path, path)
		p[path].MarkComplete()
	}
	return p[path], nil
}

// compile tells what the compiler has against a file that imports sqltext.
func compile(source string) error {
	fset := token.NewFileSet()
	known := packages{}
	check := func(name string, source any, path string, config types.Config) (*types.Package, error) {
		file, err := parser.ParseFile(fset, name, source, 0)
		if err != nil {
			return nil, err
		}
		config.Importer = known
		return config.Check(path, fset, []*ast.File{file}, nil)
	}
	pkg, err := check("sqltext.go", nil, "sqltext", types.Config{IgnoreFuncBodies: true})
	if err != nil {
		return err
	}
	known["sqltext"] = pkg
	_, err = check("p.go", source, "p", types.Config{})
	return err
}

func TestQuoting(t *testing.T) {
	for want, got := range map[string]sqltext.SQL{
		`"a"`:                               sqltext.Ident("a"),
		`"a""; DROP TABLE x; --"`:           sqltext.Ident(`a"; DROP TABLE x; --`),
		`"s"."t"`:                           sqltext.Name("s", "t"),
		`"t"`:                               sqltext.Name("", "t"),
		`"a", "b"`:                          sqltext.Idents("a", "b"),
		`'it''s'`:                           sqltext.Literal("it's"),
		` E'\\'' OR 1=1'`:                   sqltext.Literal(`\' OR 1=1`),
		`(-1)`:                              sqltext.Int(-1),
		`18446744073709551615`:              sqltext.Int(uint64(1<<64 - 1)),
		`1, 2`:                              sqltext.Ints(1, 2),
		` OPERATOR("public".=) `:            sqltext.Operator("public", "="),
		` OPERATOR() `:                      sqltext.Operator("public", "=) 1; DROP TABLE x"),
		`SELECT 1 FROM "t"`:                 sqltext.Format("SELECT {} FROM {}", sqltext.Int(1), sqltext.Ident("t")),
		"BEGIN;\nCOMMIT":                    sqltext.Statements(sqltext.Const("BEGIN"), sqltext.SQL{}, sqltext.Const("COMMIT")),
		"CREATE TABLE t (a text default x)": sqltext.Program("CREATE TABLE t (a text default x)"),
	} {
		if got.String() != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, name := range []string{"", "--", "/*", "=--", "a", " ", "=)"} {
		if got := sqltext.Operator("s", name).String(); got != " OPERATOR() " {
			t.Errorf("operator %q: %s", name, got)
		}
	}
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "2 arguments") {
			t.Errorf("a format with too few places: %v", r)
		}
	}()
	sqltext.Format("{}", sqltext.Int(1), sqltext.Int(2))
}
