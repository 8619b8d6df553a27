package stage

import "context"

// Settle is a stand-in until the chunked store is in.
func (s *Store) Settle(upTo int64, failed []Failure) error { return s.settleRange(-1<<62, upTo, failed) }

// Amend is a stand-in until the chunked store is in.
func (s *Store) Amend(gone []int64, again []Failure) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	ctx := context.Background()
	for _, seq := range gone {
		var n int64
		if err := s.conn.QueryRowContext(ctx, "SELECT count(*) FROM main.failed WHERE seq = ?", seq).Scan(&n); err != nil {
			return err
		}
		if _, err := s.conn.ExecContext(ctx, "DELETE FROM main.failed WHERE seq = ?", seq); err != nil {
			return err
		}
		s.count(0, 0, -n, 0)
	}
	for _, f := range again {
		if _, err := s.conn.ExecContext(ctx, "UPDATE main.failed SET attempts = ?, first = ?, last = ?, message = ? WHERE seq = ?", f.Attempts, f.First.UnixMicro(), f.Last.UnixMicro(), f.Message, f.Seq); err != nil {
			return err
		}
	}
	return nil
}
