package pgdest

import (
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A migration replaces a type while the writer runs, whichever kind of type it is
// and wherever it stands: nothing that a resting session holds refuses it, and rows
// go on as the table then is.
func TestTypesAreReplacedWhileRowsGoOn(t *testing.T) {
	for name, tc := range map[string]struct{ create, replace, drop, before, after string }{
		"domain": {
			"CREATE DOMAIN short AS text CHECK (length(VALUE) < 3)",
			"ALTER TABLE keyed ALTER {} TYPE text", "DROP DOMAIN short", "ab", "abcd",
		},
		"domain over an enum": {
			"CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN short AS mood",
			"ALTER TABLE keyed ALTER {} TYPE text", "DROP DOMAIN short; DROP TYPE mood", "sad", "glad",
		},
		"enum of the same name": {
			"CREATE TYPE short AS ENUM ('sad')",
			"ALTER TYPE short RENAME TO old; CREATE TYPE short AS ENUM ('sad', 'glad'); ALTER TABLE keyed ALTER {} TYPE short USING {}::text::short",
			"DROP TYPE old", "sad", "glad",
		},
		"extension": {
			"CREATE EXTENSION citext; CREATE DOMAIN short AS citext",
			"ALTER TABLE keyed ALTER {} TYPE text", "DROP DOMAIN short; DROP EXTENSION citext", "sad", "glad",
		},
		"array of it": {
			"CREATE TYPE one AS ENUM ('sad'); CREATE DOMAIN short AS one[]",
			"ALTER TABLE keyed ALTER {} TYPE text[] USING {}::one[]::text[]", "DROP DOMAIN short; DROP TYPE one", "{sad}", "{glad}",
		},
	} {
		for _, column := range []string{"k", "v"} {
			t.Run(name+"/"+column, func(t *testing.T) {
				db := pgtest.Open(t)
				types := map[string]string{"k": "text", "v": "text"}
				types[column] = "short"
				db.Exec(t, tc.create+"; CREATE TABLE keyed (k "+types["k"]+" PRIMARY KEY, v "+types["v"]+", n int)")
				s := open(t, db.URL, &dest.Table{Name: "keyed", Keys: 1, Columns: []dest.Column{col("k", tuple.Text), col("v", tuple.Text), col("n", tuple.Int4)}})
				for n := range int32(3) { // directly, and through a temporary table that stays
					write(t, s, row{tc.before, tc.before, n})
				}
				for _, sql := range []string{tc.replace, tc.drop} {
					db.Exec(t, strings.ReplaceAll(sql, "{}", column))
				}
				for n := range int32(2) {
					insist(t, s, batch(row{tc.before, tc.before, n}, row{tc.after, tc.before, n}))
				}
				insist(t, s, batch(row{tc.after, tc.before, int32(9)}))
				equal(t, db.Rows(t, "SELECT k, v, n FROM keyed ORDER BY n"), tc.before+"|"+tc.before+"|1", tc.after+"|"+tc.before+"|9")
			})
		}
	}
}
