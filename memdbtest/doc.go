// Package memdbtest is a destination in memory for tests of programs that use
// memdbwriter. It keeps the conflict rules of the tables (keys, insertonly,
// passive and left-out columns, guards, policies), answers as a test says, and
// opens no socket and no file and starts no goroutine, so that tests fit into a
// bubble of testing/synctest.
//
//	db := memdbtest.New()
//	w, err := memdbwriter.New(ctx, table, db.Destination(), cfg)
//	...
//	memdbtest.RequireStored(t, db, table, wanted...)
//
// It is not a database: columns have the types of the Go fields, left-out
// columns of new rows keep no default but stay left out, JSON is compared as
// text, and there are no triggers and no foreign keys. Test what depends on
// these with "sqlite:" in a directory of the test, or with a real server; the
// page docs/testing.md compares the three.
package memdbtest
