// Package ogtest stands in for openGauss in tests.
//
// It is a server that speaks the protocol of openGauss in front of a private
// PostgreSQL, which stores the rows:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestStoresRows(t *testing.T) {
//		server := ogtest.Start(t, ogtest.Options{Mode: "A", Version: "5.0.5"})
//		... connect to server.URL with a client that knows openGauss's login
//		if n := server.Backend.Count(t, "files"); n != 3 { ... }
//	}
//
// It logs clients in as openGauss does, refuses the SQL that openGauss refuses
// with openGauss's errors, translates what openGauss has and PostgreSQL has
// not, changes silently what openGauss changes silently, and ends idle
// sessions. Where a behaviour comes from stands beside it: the numbers are
// those of the sections of the fact sheet opengauss.md.
//
// # Strictness
//
// A stand-in that lets pass what it does not know would prove nothing. It reads
// statements word by word and knows those that this module and its tests
// use; anything else (a statement, a function, a setting, a type, a catalogue)
// is an error with the SQLSTATE UnknownStatement, which no real server uses.
// Server.Refused lists them. What openGauss has should then be taught to the
// stand-in, and what it has not is an error that openGauss raises.
//
// # Limits
//
// Every user is a superuser of PostgreSQL: privileges are not checked, except
// that ordinary users cannot create tables in schema public. Execution plans,
// notices about implicit indexes, storage engines, standby servers and the
// types that PostgreSQL lacks are not imitated.
package ogtest
