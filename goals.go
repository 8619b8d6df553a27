package memdbwriter

import "context"

// ask registers a goal and wakes the syncer.
func (s *syncer) ask(g *goal) {
	s.mu.Lock()
	s.goals = append(s.goals, g)
	s.mu.Unlock()
	signal(s.asked)
}

// await asks for everything up to a row to be out of the memory and waits for
// it, for the syncer to give up on it, or for ctx.
func (s *syncer) await(ctx context.Context, reason Reason, upTo int64) error {
	g := &goal{upTo: upTo, reason: reason, done: make(chan error, 1)}
	s.ask(g)
	select {
	case err := <-g.done:
		return err
	case <-ctx.Done():
		s.forget(g)
		return context.Cause(ctx)
	}
}

// forget removes a goal that nobody waits for any more.
func (s *syncer) forget(g *goal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.goals {
		if s.goals[i] == g {
			s.goals = append(s.goals[:i], s.goals[i+1:]...)
			return
		}
	}
}

// highestGoal is the row up to which somebody waits, 0 if nobody does.
func (s *syncer) highestGoal() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var highest int64
	for _, g := range s.goals {
		highest = max(highest, g.upTo)
	}
	return highest
}

// goalReason is the reason of a run that the goals start.
func (s *syncer) goalReason() Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.goals {
		if g.reason == ReasonStop {
			return ReasonStop
		}
	}
	return ReasonForce
}

// answerReached tells those whose rows are all settled.
func (s *syncer) answerReached() { s.release(s.settled, nil) }

// answer tells everybody who waits how it ended.
func (s *syncer) answer(err error) { s.release(int64(^uint64(0)>>1), err) }

func (s *syncer) release(upTo int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.goals[:0]
	for _, g := range s.goals {
		if g.upTo > upTo {
			kept = append(kept, g)
			continue
		}
		g.done <- err
	}
	clear(s.goals[len(kept):])
	s.goals = kept
}
