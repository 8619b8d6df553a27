package pgdest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
)

// A connection that is given up does not end its session on the server. When
// nobody tells the server, because the network fell silent, the session lives on
// with whatever it has: locks on the keys of its batch, which every further
// attempt would wait for; or even the batch itself, held up on its way, which
// would be written when it arrives, over newer rows. So before anything is
// written again such a session is ended, and its end is waited for.
//
// A session is told by its process, user, database and application name. Should
// the number of the process have passed to another session of ours meanwhile,
// that one is ended in vain, and its work repeated. A transaction-pooling proxy
// shows numbers of its own; then nothing is found, and the proxy's rules hold.

// ghosts are the processes of sessions that may live on.
type ghosts struct {
	mu   sync.Mutex
	pids []uint32
}

// fear notes the session of a connection that died with err, unless the server
// has ended it itself.
func (g *ghosts) fear(pg *pgconn.PgConn, err error) {
	pe := new(pgconn.PgError)
	if err == nil || !dialectOf(pg).tellsPID || errors.As(err, &pe) && endsSession(pe) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pids = append(g.pids, pg.PID())
}

// lay ends the feared sessions, through a connection that works.
func (g *ghosts) lay(ctx context.Context, pg *pgconn.PgConn) error {
	g.mu.Lock()
	pids := slices.Clone(g.pids)
	g.mu.Unlock()
	for _, pid := range pids {
		if err := end(ctx, pg, pid); err != nil {
			return err
		}
		g.mu.Lock()
		g.pids = slices.DeleteFunc(g.pids, func(p uint32) bool { return p == pid })
		g.mu.Unlock()
	}
	return nil
}

// end ends a session and waits until it is gone, for two seconds at the most.
func end(ctx context.Context, pg *pgconn.PgConn, pid uint32) error {
	for range 40 {
		results, err := pg.Exec(ctx, endSQL(pid)).ReadAll()
		if err != nil {
			return classify(fmt.Errorf("ending the session of a lost connection: %w", err))
		}
		if !slices.ContainsFunc(results, func(r *pgconn.Result) bool { return len(r.Rows) > 0 }) {
			return nil
		}
	}
	return classify(fmt.Errorf("the session of a lost connection, server process %d, has not ended yet", pid))
}
