package journal

// Backlog is how many control records wait to become durable.
func (w *Writer) Backlog() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.backlog)
}
