package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
)

// seen is a set of paths in 16 bytes each, so that a scan of many millions of
// files can know at its end which rows have no file any more. It holds half of
// the SHA-256 of a path: two paths that share it are not to be expected, and
// the harm would be a row that stays until the next scan.
//
// Paths are added, concurrently, then sort is called, and then has.
type seen struct {
	mu      sync.Mutex
	digests []digest
}

type digest [2]uint64

func digestOf(path string) digest {
	sum := sha256.Sum256([]byte(path))
	return digest{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

func (d digest) compare(o digest) int {
	return cmp.Or(cmp.Compare(d[0], o[0]), cmp.Compare(d[1], o[1]))
}

func (s *seen) add(path string) {
	d := digestOf(path)
	s.mu.Lock()
	s.digests = append(s.digests, d)
	s.mu.Unlock()
}

func (s *seen) sort() { slices.SortFunc(s.digests, digest.compare) }

func (s *seen) has(path string) bool {
	_, found := slices.BinarySearchFunc(s.digests, digestOf(path), digest.compare)
	return found
}
