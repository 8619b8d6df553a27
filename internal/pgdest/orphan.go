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
// written again such an orphaned backend is terminated, and its end is waited for.
//
// A session is told by its process, user, database and application name. Should
// the number of the process have passed to another session of ours meanwhile,
// that one is ended in vain, and its work repeated. A transaction-pooling proxy
// shows numbers of its own; then nothing is found, and the proxy's rules hold.

// orphans are the backends of lost connections that may live on.
type orphans struct {
	mu   sync.Mutex
	pids []int64
}

// add notes the session of a connection that died with err, unless the server
// has ended it itself.
func (o *orphans) add(pg *pgconn.PgConn, err error) {
	pe := new(pgconn.PgError)
	pid := backendPID(pg)
	if err == nil || pid == 0 || errors.As(err, &pe) && endsSession(pe) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pids = append(o.pids, pid)
}

// terminate ends the noted sessions, through a connection that works.
func (o *orphans) terminate(ctx context.Context, pg *pgconn.PgConn) error {
	o.mu.Lock()
	pids := slices.Clone(o.pids)
	o.mu.Unlock()
	for _, pid := range pids {
		if err := terminate(ctx, pg, pid); err != nil {
			return err
		}
		o.mu.Lock()
		o.pids = slices.DeleteFunc(o.pids, func(p int64) bool { return p == pid })
		o.mu.Unlock()
	}
	return nil
}

// terminate ends a session and waits until it is gone, for two seconds at the most.
func terminate(ctx context.Context, pg *pgconn.PgConn, pid int64) error {
	for range 40 {
		answers, err := query(ctx, pg, terminateSQL(pid), "--")
		if err != nil {
			return classify(fmt.Errorf("ending the session of a lost connection: %w", err))
		}
		if len(answers[0]) == 0 {
			return nil
		}
	}
	return classify(fmt.Errorf("the session of a lost connection, server process %d, has not ended yet", pid))
}
