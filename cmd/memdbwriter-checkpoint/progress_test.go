package main

import (
	"bytes"
	"testing"
	"time"
)

// A long replay says how far it is, a short one and a finished one say nothing.
func TestProgress(t *testing.T) {
	var said bytes.Buffer
	p := newProgress(&console{stderr: &said}, 1000)
	now := p.begun
	p.now = func() time.Time { return now }
	for range 10 {
		now = now.Add(time.Second)
		p.add(100)
	}
	want := "memdbwriter-checkpoint: 500 of 1000 rows, 100 rows/s, about 5s left\n"
	if said.String() != want {
		t.Errorf("%q\nwant %q", said.String(), want)
	}
}
