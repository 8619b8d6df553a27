// Package vtable moves rows between Go and SQLite without a statement, a
// bound parameter or an allocated value per row.
//
// SQLite calls into Go for every row of a virtual table. A Source is a virtual
// table whose rows are Go's, so that one statement takes any number of them:
//
//	INSERT INTO t SELECT c0, c1 FROM temp.source
//
// A Sink is a virtual table whose inserted rows are handed to a Go function:
//
//	INSERT INTO temp.sink SELECT a, b FROM t
//
// A Stream is a virtual table whose rows Go produces while SQLite reads them:
//
//	SELECT c0 FROM temp.stream
//
// All live in the temp schema of the connections of one DB and leave no trace
// in a database file. Everything is registered on a Driver value of this
// package's user: the process-wide driver "sqlite" of the host program is
// neither changed nor used.
package vtable

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"modernc.org/sqlite"
	"modernc.org/sqlite/vtab"
)

// Modules that the host program registers process-wide win over a driver's
// own, so these names must not be anybody else's.
const (
	sourceModule = "memdbwriter_source_v1"
	sinkModule   = "memdbwriter_sink_v1"
	streamModule = "memdbwriter_stream_v1"
)

// Driver is a private SQLite driver. The zero value is ready; one value per
// package is meant to live in a package variable and to serve all databases
// of that package, because SQLite's Go driver never forgets a function or
// module that was registered with it. It is safe for concurrent use.
type Driver struct {
	// Functions are the SQL functions that the driver's connections have.
	// They must not be changed after the first Open.
	Functions map[string]*sqlite.FunctionImpl

	driver   sqlite.Driver
	register func() error // once, before the first connection
	mu       sync.Mutex
	tables   map[string]Table // those of open databases, by handle
	handles  int
}

// Table is a *Source, a *Sink or a *Stream.
type Table interface {
	vtab.Table
	module() string
	name() string
}

// DB is a database handle with exactly one connection, which is opened by the
// first use and never closed for being idle or old.
type DB struct {
	*sql.DB
	driver  *Driver
	handles []string
}

// Open makes a handle of the database that dsn names; it does no I/O. A
// connection first runs the setup statements, in order, and then creates the
// tables. A table must be given to one Open only.
func (d *Driver) Open(dsn string, setup []string, tables ...Table) (*DB, error) {
	d.mu.Lock()
	if d.register == nil {
		d.register = sync.OnceValue(d.registerAll)
		d.tables = map[string]Table{}
	}
	d.mu.Unlock()
	if err := d.register(); err != nil {
		return nil, err
	}

	db := &DB{driver: d}
	c := &connector{driver: &d.driver, dsn: dsn, setup: setup[:len(setup):len(setup)]}
	for _, t := range tables {
		h := d.add(t)
		db.handles = append(db.handles, h)
		c.setup = append(c.setup, fmt.Sprintf(`CREATE VIRTUAL TABLE temp.%s USING %s(%s)`, t.name(), t.module(), h))
	}
	db.DB = sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	return db, nil
}

// Close closes the connection and lets go of the tables.
func (db *DB) Close() error {
	err := db.DB.Close()
	db.driver.mu.Lock()
	defer db.driver.mu.Unlock()
	for _, h := range db.handles {
		delete(db.driver.tables, h)
	}
	return err
}

func (d *Driver) registerAll() error {
	for name, impl := range d.Functions {
		if err := d.driver.RegisterFunction(name, impl); err != nil {
			return fmt.Errorf("register function %s: %w", name, err)
		}
	}
	for _, name := range []string{sourceModule, sinkModule, streamModule} {
		if err := d.driver.RegisterModule(name, (*module)(d)); err != nil {
			return fmt.Errorf("register module %s: %w", name, err)
		}
	}
	return nil
}

func (d *Driver) add(t Table) (handle string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handles++
	handle = strconv.Itoa(d.handles)
	d.tables[handle] = t
	return handle
}

// connector opens the physical connections.
type connector struct {
	driver *sqlite.Driver
	dsn    string
	setup  []string
}

func (c *connector) Driver() driver.Driver { return c.driver }

// Connect does not hand ctx to the setup statements: they are short, and a
// connection is either set up wholly or not there.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	for _, s := range c.setup {
		if _, err := conn.(driver.ExecerContext).ExecContext(context.Background(), s, nil); err != nil {
			conn.Close()
			return nil, fmt.Errorf("%s: %w", s, err)
		}
	}
	return conn, nil
}

// module finds the Go side of a virtual table by the handle that its CREATE
// statement gave as the only argument, after module, schema and table name.
type module Driver

func (m *module) Create(ctx vtab.Context, args []string) (vtab.Table, error) {
	if len(args) != 4 {
		return nil, fmt.Errorf("%d arguments, want 4", len(args))
	}
	m.mu.Lock()
	t := m.tables[args[3]]
	m.mu.Unlock()
	switch t := t.(type) {
	case *Source:
		return t, ctx.Declare(declaration(t.Columns))
	case *Sink:
		return t, ctx.Declare(declaration(t.Columns))
	case *Stream:
		return t, ctx.Declare(declaration(t.Columns))
	}
	return nil, fmt.Errorf("no virtual table has the handle %q", args[3])
}

// Connect is called instead of Create when SQLite reads the schema anew.
func (m *module) Connect(ctx vtab.Context, args []string) (vtab.Table, error) {
	return m.Create(ctx, args)
}

// VolatileArgs makes the driver hand over text and blobs where they are.
func (m *module) VolatileArgs() bool { return true }

// declaration is the shape of a virtual table with the columns c0, c1, ...
func declaration(columns int) string {
	names := make([]string, columns)
	for i := range names {
		names[i] = "c" + strconv.Itoa(i)
	}
	return "CREATE TABLE x(" + strings.Join(names, ",") + ")"
}
