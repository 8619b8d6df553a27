package memdbtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgdest"
)

// Answer is what a DB does with a transaction. The zero value is OK.
type Answer struct {
	wait func(ctx context.Context) error
	err  *dest.Error
	lost bool
}

// OK is the answer of a database that works.
var OK Answer

// Refused is the answer of a database that refuses the transaction with an
// SQLSTATE: "40001", which a repetition gets over, "42501", which somebody must
// mend, and so on. The writer does with it what it does with a PostgreSQL
// server's. To have single rows refused, use Reject.
func Refused(sqlstate, message string) Answer { return Answer{err: refusal(sqlstate, message)} }

// Unreachable is the answer of a database that cannot be reached. Nothing is
// stored.
func Unreachable() Answer { return Answer{err: connectionLost("the database cannot be reached")} }

// Slow is OK after a while, or the end of the context.
func Slow(d time.Duration) Answer {
	return Answer{wait: func(ctx context.Context) error {
		t := time.NewTimer(d)
		defer t.Stop()
		return until(ctx, t.C)
	}}
}

// HangUntil is OK once the channel is closed. Until then the transaction hangs,
// to the end of its context (Config.SyncTimeout).
func HangUntil(released <-chan struct{}) Answer {
	return Answer{wait: func(ctx context.Context) error { return until(ctx, released) }}
}

// CommitLost is the answer of a database that commits the transaction and whose
// connection breaks before it says so. What is stored is not stored again.
func CommitLost() Answer { return Answer{lost: true} }

// give waits as long as the answer does, and returns its error, or whether that
// comes after COMMIT.
func (a Answer) give(ctx context.Context) (lost bool, err error) {
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	if a.wait != nil {
		if err := a.wait(ctx); err != nil {
			return false, err
		}
	}
	if a.err != nil {
		e := *a.err
		return false, &e
	}
	return a.lost, nil
}

func until[T any](ctx context.Context, c <-chan T) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refusal is an error that the database answers.
func refusal(sqlstate, message string) *dest.Error {
	return &dest.Error{
		Class: pgdest.ClassOf(sqlstate), Row: -1, SQLState: sqlstate,
		Answered: !strings.HasPrefix(sqlstate, "08") && !strings.HasPrefix(sqlstate, "57P"),
		Err:      fmt.Errorf("%s (SQLSTATE %s)", message, sqlstate),
	}
}

func connectionLost(what string) *dest.Error {
	return &dest.Error{Class: dest.ClassTransient, Row: -1, SQLState: "08006", Err: errors.New(what)}
}

// asRefusal returns the error of a row, nil if there is none.
func asRefusal(err error) *dest.Error {
	if err == nil {
		return nil
	}
	return dest.AsError(err)
}
