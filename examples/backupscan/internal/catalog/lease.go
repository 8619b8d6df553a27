package catalog

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A scan has its set in hand while its token is in backup_scans and it gives a
// sign of life. It takes a set over whose scan gave none for a Lease, or whose
// process, on this machine, is gone.
const (
	Lease = 90 * time.Second
	beat  = 10 * time.Second
)

// ErrLost is wrapped when another scan has the set by now.
var ErrLost = errors.New("another scan has taken the set over")

// BusyError says that a set is being scanned.
type BusyError struct {
	Set   int64
	Owner Owner
	Quiet time.Duration // since its last sign of life
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("backup set %d is being scanned by process %d on %s since %s (last sign of life %s ago): wait for it with -wait, or stop it",
		e.Set, e.Owner.PID, e.Owner.Host, e.Owner.Since.Format(time.RFC3339), e.Quiet)
}

// Owner is a scan.
type Owner struct {
	Host    string    `json:"host"`
	Space   string    `json:"space,omitempty"` // in which PID counts
	PID     int       `json:"pid"`
	Process string    `json:"process,omitempty"` // tells it from a later one of that PID
	Since   time.Time `json:"since"`
}

// Acquire takes a set in hand, waiting up to the given time for another scan of
// it. The error is a *BusyError if that one is still there. It returns what the
// last scan saved with Save.
func (c *Catalog) Acquire(ctx context.Context, set int64, wait time.Duration) (saved string, err error) {
	deadline := time.Now().Add(wait)
	for {
		saved, err = c.tryAcquire(ctx, set)
		busy := new(BusyError)
		if !errors.As(err, &busy) {
			break
		}
		if time.Now().After(deadline) {
			return "", busy
		}
		select {
		case <-time.After(min(time.Second, time.Until(deadline)+time.Millisecond)):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	if err != nil {
		return "", fmt.Errorf("catalogue: take backup set %d in hand: %w", set, err)
	}
	return saved, nil
}

func (c *Catalog) tryAcquire(ctx context.Context, set int64) (saved string, err error) {
	me := thisProcess()
	owner, err := json.Marshal(me)
	if err != nil {
		return "", err
	}
	token := rand.Text()
	err = c.do(ctx, "lock", func(tx *sql.Tx) error {
		var held, by string
		var quiet int64
		err := tx.QueryRowContext(ctx, c.sql(selectScan), set).Scan(&held, &by, &quiet, &saved)
		if errors.Is(err, sql.ErrNoRows) {
			saved = "{}"
			_, err = tx.ExecContext(ctx, c.sql(insertScan), set, token, string(owner))
			return err
		}
		if err != nil {
			return err
		}
		var other Owner
		_ = json.Unmarshal([]byte(by), &other) // what cannot be read is nobody's
		silence := time.Duration(quiet) * time.Second
		if held != "" && silence < Lease && !other.gone(me) {
			return &BusyError{set, other, silence}
		}
		_, err = tx.ExecContext(ctx, c.sql(takeScan), set, token, string(owner))
		return err
	})
	if err == nil {
		c.token = token
	}
	return saved, err
}

// gone reports whether the process is known to have ended.
func (o Owner) gone(me Owner) bool {
	if o.Host != me.Host || o.Space != me.Space || me.Space == "" {
		return false
	}
	return processOf(o.PID) != o.Process
}

// Release gives a set back whose scan did not begin.
func (c *Catalog) Release(ctx context.Context, set int64) error {
	return c.do(ctx, "release", func(tx *sql.Tx) error {
		if err := c.hold(ctx, tx, set); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, c.sql(releaseSet), set)
		return err
	})
}

// Save keeps a text for the next scan of the set.
func (c *Catalog) Save(ctx context.Context, set int64, text string) error {
	return c.own(ctx, "save", set, saveScan, set, c.token, text)
}

// own runs a statement that changes the row of a set in hand.
func (c *Catalog) own(ctx context.Context, what string, set int64, statement string, args ...any) error {
	err := c.do(ctx, what, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, c.sql(statement), args...)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n != 1 {
			return errors.Join(ErrLost, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("catalogue: %s of backup set %d: %w", what, set, err)
	}
	return nil
}

// hold fails unless the set is still in hand. It keeps others from taking it
// until the transaction ends.
func (c *Catalog) hold(ctx context.Context, tx *sql.Tx, set int64) error {
	result, err := tx.ExecContext(ctx, c.sql(beatScan), set, c.token)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errors.Join(ErrLost, err)
	}
	return nil
}

// Keep returns what gives signs of life of the set that is in hand now, until ctx
// ends, or the set is lost: then it returns why. That may run beside all other
// methods.
func (c *Catalog) Keep(set int64) func(ctx context.Context) error {
	token := c.token
	return func(ctx context.Context) error {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if err := c.own(ctx, "sign of life", set, beatScan, set, token); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}
