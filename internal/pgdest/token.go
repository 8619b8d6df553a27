package pgdest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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
func (r *receipt) read(f record) error {
	r.xid, r.pid = f.uint(0), f.int(1)
	if r.xid == 0 || r.xid > math.MaxInt64 || r.pid <= 0 {
		return fmt.Errorf("%w: numbers of transaction and process %q", errAnswer, f)
	}
	return nil
}
