package ogtest

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"
)

// UnknownStatement is the SQLSTATE of an error that openGauss would not raise:
// the stand-in met something of which it does not know how openGauss treats it.
const UnknownStatement = "OGT00"

// fault is an error to tell the client.
type fault struct {
	severity string // ERROR unless set
	code     string
	message  string
	detail   string
	hint     string
	where    string
	raised   bool // by PostgreSQL, which knows of it
}

func (f *fault) Error() string { return f.message + " (SQLSTATE " + f.code + ")" }

func newFault(code, format string, args ...any) *fault {
	return &fault{code: code, message: fmt.Sprintf(format, args...)}
}

func fatal(code, format string, args ...any) *fault {
	f := newFault(code, format, args...)
	f.severity = "FATAL"
	return f
}

// unknown is the refusal of something that the stand-in does not know.
func unknown(what string, args ...any) *fault {
	f := newFault(UnknownStatement, "the openGauss stand-in does not know "+what, args...)
	f.hint = "Teach it to package ogtest, if openGauss has it."
	return f
}

// response has the fields that openGauss sends: no V, s, t and n, an internal
// number in c and the module in d (opengauss.md 7).
func (f *fault) response() *pgproto3.ErrorResponse {
	severity := f.severity
	if severity == "" {
		severity = "ERROR"
	}
	return &pgproto3.ErrorResponse{
		Severity: severity, Code: f.code, Message: f.message, Detail: f.detail, Hint: f.hint, Where: f.where,
		ColumnName: "0", DataTypeName: "BACKEND",
	}
}

// notice is the fault as a message that interrupts nothing.
func (f *fault) notice() *pgproto3.NoticeResponse { return (*pgproto3.NoticeResponse)(f.response()) }
