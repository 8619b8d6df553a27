package journal

// Backlog is how many control records wait to become durable.
func (w *Writer) Backlog() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.backlog)
}

// Roll begins another segment, unless nothing is in the current one yet.
func (w *Writer) Roll() error {
	w.mu.Lock()
	defer w.unlock()
	if w.current != nil && !w.current.started {
		return nil
	}
	w.current = nil
	return w.begin()
}
