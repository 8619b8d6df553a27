// Package sqltext holds SQL that no text from outside can become part of.
//
// A SQL value is made of constants of the program's source, quoted
// identifiers, quoted literals and integers, and of nothing else: its field is
// unexported, and the parameters that take SQL as such have a type that no
// other package can name, so that only an untyped constant can be passed. A
// name, a value or a number from a file or a server goes through Ident,
// Literal or Int. The one way around it is Program, for statements that the
// program itself was given by its author.
//
// Names that the statement resolves by itself (operators, functions, types)
// are the constants' business: they are written with their schema, because a
// search path may begin with a schema that anybody may create in.
package sqltext

import (
	"strconv"
	"strings"
)

// SQL is a piece of a statement, or several statements. The zero value is
// empty. Values can be compared.
type SQL struct{ text string }

// constant is the type of a constant in the source: nobody else can name it,
// so no variable has it.
type constant string

// String returns the text, for the connection and for people.
func (s SQL) String() string { return s.text }

// Empty reports whether s holds nothing.
func (s SQL) Empty() bool { return s.text == "" }

// Const returns SQL that stands in the source as a constant.
func Const(text constant) SQL { return SQL{string(text)} }

// Format puts args, in order, in the places that {} marks in a constant. It
// panics unless there are as many of the one as of the other, which is a
// mistake in the source and not in what args hold.
func Format(text constant, args ...SQL) SQL {
	parts := strings.Split(string(text), "{}")
	if len(parts) != len(args)+1 {
		panic("sqltext: " + strconv.Itoa(len(args)) + " arguments for " + strconv.Quote(string(text)))
	}
	var b strings.Builder
	for i, part := range parts {
		b.WriteString(part)
		if i < len(args) {
			b.WriteString(args[i].text)
		}
	}
	return SQL{b.String()}
}

// Join puts separator between parts.
func Join(separator constant, parts ...SQL) SQL {
	texts := make([]string, len(parts))
	for i := range parts {
		texts[i] = parts[i].text
	}
	return SQL{strings.Join(texts, string(separator))}
}

// Statements joins those of the parts that are not empty by semicolons.
func Statements(parts ...SQL) SQL {
	var some []SQL
	for _, part := range parts {
		if !part.Empty() {
			some = append(some, part)
		}
	}
	return Join(";\n", some...)
}

// Ident returns name as a quoted identifier.
func Ident(name string) SQL { return SQL{`"` + strings.ReplaceAll(name, `"`, `""`) + `"`} }

// Name returns the name of a thing in a schema, or without one if schema is
// empty, as quoted identifiers.
func Name(schema, name string) SQL {
	if schema == "" {
		return Ident(name)
	}
	return Format("{}.{}", Ident(schema), Ident(name))
}

// Idents returns quoted identifiers as a list.
func Idents(names ...string) SQL {
	parts := make([]SQL, len(names))
	for i, name := range names {
		parts[i] = Ident(name)
	}
	return Join(", ", parts...)
}

// Literal returns text as a string constant, for servers with either setting
// of standard_conforming_strings.
func Literal(text string) SQL {
	text = strings.ReplaceAll(text, "'", "''")
	if strings.Contains(text, `\`) {
		return SQL{" E'" + strings.ReplaceAll(text, `\`, `\\`) + "'"}
	}
	return SQL{"'" + text + "'"}
}

// Int returns a number.
func Int[T int | int16 | int32 | int64 | uint32 | uint64](n T) SQL {
	if n < 0 {
		return SQL{"(" + strconv.FormatInt(int64(n), 10) + ")"}
	}
	return SQL{strconv.FormatUint(uint64(n), 10)}
}

// Ints returns numbers as a list.
func Ints[T int | int16 | int32 | int64 | uint32 | uint64](numbers ...T) SQL {
	parts := make([]SQL, len(numbers))
	for i, n := range numbers {
		parts[i] = Int(n)
	}
	return Join(", ", parts...)
}

// Operator returns the operator of a schema as it stands between its operands.
// A name that cannot be an operator's leaves the statement without one, which
// the server refuses.
func Operator(schema, name string) SQL {
	if name == "" || strings.Trim(name, "+-*/<>=~!@#%^&|`?") != "" || strings.Contains(name, "--") || strings.Contains(name, "/*") {
		return Const(" OPERATOR() ")
	}
	return Format(" OPERATOR({}.{}) ", Ident(schema), SQL{name})
}

// Program returns a statement that the author of the program gave: the DDL of
// a table that is to be created. Nothing from a file or a server may be passed;
// a test lists the callers.
func Program(statement string) SQL { return SQL{statement} }
