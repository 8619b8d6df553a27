package pgdest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// token is a receipt as other processes get it: JSON.
type token struct {
	System int64
	Life   string
	XID    uint64
	PID    int64
}

// token returns the receipt as bytes for a disk.
func (r receipt) token() ([]byte, error) {
	return json.Marshal(token{r.server.system, r.server.life, r.xid, r.pid})
}

// parseToken reads what receipt.token wrote, and nothing else.
func parseToken(data []byte) (receipt, error) {
	var t token
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return receipt{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return receipt{}, errors.New("it goes on after its end")
	}
	if t == (token{}) { // of a server that could not tell
		return receipt{}, nil
	}
	if t.XID == 0 || t.XID > math.MaxInt64 || t.PID <= 0 {
		return receipt{}, fmt.Errorf("transaction %d of process %d cannot be", t.XID, t.PID)
	}
	return receipt{server: server{t.System, t.Life}, xid: t.XID, pid: t.PID}, nil
}

// read takes the numbers of transaction and process from an answer to beginSQL.
func (r *receipt) read(f []string) (err error) {
	if r.xid, err = strconv.ParseUint(f[0], 10, 63); err == nil {
		r.pid, err = strconv.ParseInt(f[1], 10, 64)
	}
	if err == nil && (r.xid == 0 || r.pid <= 0) {
		err = fmt.Errorf("%q", f)
	}
	if err != nil {
		return fmt.Errorf("the server gave unexpected numbers of transaction and process: %w", err)
	}
	return nil
}

// readServer takes the identity of a server from an answer to
// transactions.server.
func readServer(f []string) (server, error) {
	system, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return server{}, fmt.Errorf("the server gave an unexpected system identifier: %w", err)
	}
	return server{system: system, life: f[1]}, nil
}
