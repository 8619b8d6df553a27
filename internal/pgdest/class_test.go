package pgdest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// Every error code of the manual's appendix, and those that openGauss adds.
var allStates = map[dest.Class]string{
	dest.ClassTransient: `
		08000 08003 08006 08001 08004 08007 08P01
		25000 25001 25002 25008 25003 25004 25005 25006 25007 25P01 25P02 25P03 25P04 25009
		26000 26010 29P06 2D000 3B000 3B001
		40000 40002 40001 40003 40P01
		53000 53100 53200 53300 53400
		55000 55006 55P02 55P03 55P04
		57000 57014 57015 57P01 57P02 57P03 57P04 57P05
		58000 58030 58P01 58P02 58P03 72000
		HV000 HV005 HV002 HV010 HV021 HV024 HV007 HV008 HV004 HV006 HV091 HV00B HV00C HV00D HV090
		HV00A HV009 HV014 HV001 HV00P HV00J HV00K HV00Q HV00R HV00L HV00M HV00N
		XX000 XX001 XX002 XX003 XX009
		YY001 YY002 YY003 YY004 YY005 YY006 YY007 YY008 YY009 YY010 YY011 YY012 YY013 YY014 YY015
		ZZ999 MY001 bad`,
	dest.ClassRow: `
		09000 20000 21000 27000
		22000 2202E 22021 22008 22012 22005 2200B 22022 22015 2201E 22014 22016 2201F 2201G 22018 22007
		22019 2200D 22025 22P06 22010 22023 22013 2201B 2201W 2201X 2202H 2202G 22009 2200C 2200G 22004
		22002 22003 2200H 22026 22001 22011 22027 22024 2200F 22P01 22P02 22P03 22P04 22P05 2200L 2200M
		2200N 2200S 2200T 22030 22031 22032 22033 22034 22035 22036 22037 22038 22039 2203A 2203B 2203C
		2203D 2203E 2203F 2203G 22020 2200E
		23000 23001 23502 23503 23505 23514 23P01
		2F000 2F005 2F002 2F003 2F004 38000 38001 38002 38003 38004 39000 39001 39004 39P01 39P02 39P03
		44000 45000 54000 54001 P0000 P0001 P0002 P0003 P0004`,
	dest.ClassTable: `
		03000 0A000 0B000 0F000 0F001 0L000 0LP01 0P000 0Z000 0Z002 10608 24000
		28000 28P01 2B000 2BP01 34000 34001 3D000 3F000 3F001
		42000 42601 42501 42846 42803 42P20 42P19 42830 42602 42622 42939 42804 42P18 42P21 42P22 42809
		428C9 42703 42883 42P01 42P02 42704 42701 42P03 42P04 42723 42P05 42P06 42P07 42712 42710 42702
		42725 42P08 42P09 42P10 42611 42P11 42P12 42P13 42P14 42P15 42P16 42P17 42P38
		54011 54023 F0000 F0001`,
}

func TestClassOfEveryErrorCode(t *testing.T) {
	for class, states := range allStates {
		for state := range strings.FieldsSeq(states) {
			pe := &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: state, Detail: "the detail", Hint: "the advice"}
			for _, e := range []*dest.Error{classifyCopy(pe, "files", 10, nil), classify(pe)} {
				if text := e.Error(); !strings.Contains(text, "detail: the detail") || !strings.Contains(text, "hint of the server: the advice") {
					t.Errorf("%s: DETAIL and HINT are lost: %s", state, text)
				}
			}
			e := classifyCopy(fmt.Errorf("wrapped: %w", pe), "files", 10, nil)
			if e.Class != class || e.Row != -1 || e.SQLState != state {
				t.Errorf("%s: class %v row %d, want %v", state, e.Class, e.Row, class)
			}
			if e := classify(pe); e.Class == dest.ClassRow {
				t.Errorf("%s: without a batch it is the fault of a row", state)
			}
			pe.Severity, pe.SeverityUnlocalized = "FATAL", "" // as openGauss has it
			if e := classifyCopy(pe, "files", 10, nil); e.Class == dest.ClassRow {
				t.Errorf("%s: an error that ends the session is the fault of a row", state)
			}
		}
	}
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, context.Canceled, context.DeadlineExceeded, errors.New("?")} {
		if e := classify(err); e.Class != dest.ClassTransient || !errors.Is(e, err) {
			t.Errorf("%v: class %v", err, e.Class)
		}
	}
}

func TestClassThatTheCodeAloneDoesNotTell(t *testing.T) {
	for _, c := range []struct {
		err   pgconn.PgError
		class dest.Class
		says  string
	}{
		{pgconn.PgError{Code: "57P03", Message: "the database system is starting up"}, dest.ClassTransient, ""},
		{pgconn.PgError{Code: "57P03", Message: "the local listen ip and port is not for the gsql client"}, dest.ClassTable, "one less"},
		{pgconn.PgError{Code: "57P03", Message: "SSL connection is required by the database system"}, dest.ClassTable, "sslmode=require"},
		{pgconn.PgError{Code: "28000", Message: "The account has been locked."}, dest.ClassTable, "ACCOUNT UNLOCK"},
		{pgconn.PgError{Code: "28000", Message: "no pg_hba.conf entry"}, dest.ClassTable, ""},
		{pgconn.PgError{Code: "XX001", Message: "invalid page in block 7"}, dest.ClassTransient, "DAMAGED DATA"},
		{pgconn.PgError{Code: "XX000", Message: "cache lookup failed"}, dest.ClassTransient, "internal error"},
		{pgconn.PgError{Code: "MY001", Routine: "exec_stmt_raise"}, dest.ClassRow, ""},
		{pgconn.PgError{Code: "40001", Routine: "exec_stmt_raise"}, dest.ClassTransient, ""},
	} {
		e := classifyCopy(&c.err, "files", 10, nil)
		if e.Class != c.class || (c.says == "") != (e.Hint == "") || !strings.Contains(e.Hint, c.says) {
			t.Errorf("%s %s: class %v, hint %q", c.err.Code, c.err.Message, e.Class, e.Hint)
		}
	}
}
