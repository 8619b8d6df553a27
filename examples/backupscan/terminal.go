package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// printable is text of a file or a database in a form that a terminal does not
// act upon: everything that is no printable character is written as Go's
// escapes, and so is a lie by characters that change the direction of writing.
func printable(text string) string {
	if strings.IndexFunc(text, func(c rune) bool { return c == utf8.RuneError || c != '\n' && !unicode.IsPrint(c) }) < 0 && !strings.Contains(text, "\n") {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		c, size := utf8.DecodeRuneInString(text)
		if c == utf8.RuneError && size == 1 || !unicode.IsPrint(c) {
			quoted := strconv.Quote(text[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(c)
		}
		text = text[size:]
	}
	return b.String()
}

// terminal returns how to measure the width of the terminal that w is; nil if
// it is none.
func terminal(w io.Writer) func() int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func() int {
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 {
			return 80
		}
		return width
	}
}

// notice is the level of what a user should know and need not act upon.
const notice = slog.LevelWarn - 1

// logHandler leaves out what is no trouble of a scan: that the walk is faster
// than the database, and waits for it, is what the buffer is for.
type logHandler struct {
	slog.Handler
	all bool
}

func newLogHandler(out io.Writer, verbose bool) slog.Handler {
	level := notice
	if verbose {
		level = slog.LevelInfo
	}
	return logHandler{slog.NewTextHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: nameNotice}), verbose}
}

func nameNotice(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.LevelKey && a.Value.Any() == notice {
		return slog.String(slog.LevelKey, "NOTICE")
	}
	return a
}

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.all && strings.HasPrefix(r.Message, "buffer full") {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}
