// Package memdbwriter is an in-process write buffer for PostgreSQL, its
// relatives and SQLite. A program that discovers rows fast hands them over in
// about a microsecond each and goes on; a background goroutine moves them to
// the database in batches.
//
//	cfg, err := memdbwriter.LoadConfig()
//	dest, err := memdbwriter.OpenDestination(ctx, cfg.DatabaseURL())
//	defer dest.Close()
//	w, err := memdbwriter.New(ctx, memdbwriter.BackupFiles(7), dest, cfg)
//	err = w.Add(ctx, memdbwriter.FileInfo{Path: "/data/a.txt", Size: 42})
//	err = w.ForceSync(ctx) // everything added so far is stored, or why not
//	err = w.Stop(ctx)      // nil only if nothing is left behind
//
// # The path of a row
//
// Add encodes the row into a binary COPY tuple, which checks it, and appends
// it to the front buffer. The stager goroutine moves the front buffer into a
// private in-memory SQLite table every few milliseconds. The syncer goroutine
// takes batches from there, keeps the newest row of each key, sorts by key,
// and writes each batch in one transaction. A row leaves the memory when the
// database has committed it, or moves to the failed rows when the database
// refuses it; see [MemoryDBWriter.SyncErrors].
//
// At any moment
//
//	Total + Recovered = Pending + Synced + Superseded + Failed +
//		Skipped + Discarded + Lost + Deleted
//
// holds for the counts of [SyncStatus], with each row in exactly one place.
//
// # Concurrency and life cycle
//
// Every method of every type is safe for concurrent use unless it says
// otherwise. A writer runs two goroutines from New to the end of Stop, which
// must be called; after it every method answers [ErrStopped] or, for the
// counts, their last values. A [Destination] is opened and closed by the
// caller and outlives the writers that use it.
package memdbwriter
