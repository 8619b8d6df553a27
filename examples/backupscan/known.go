package main

import (
	"encoding/json"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
)

// known are the rows that the set had when the scan began, in 25 bytes each: so
// a row that has not changed is recognised without the database, and a complete
// walk leaves unmarked what is gone.
//
// Paths and values are hashed with keys of this process. Two paths with the same
// 128 bits are not to be expected; the harm would be a row that stays. Two values
// with the same 64 bits neither; the harm would be a change that is not seen.
//
// Rows are added, then sort is called, and then the others, concurrently.
type known struct {
	rows    []knownRow
	starts  []uint32 // of the rows whose digest begins with the same bits
	shift   int
	met     []atomic.Uint64 // a bit for each row
	files   int64
	meaning map[string]string // of a text of JSON, without spaces and in order
}

type knownRow struct {
	digest digest
	value  uint64 // of what a scan compares; copied for a row on tape
}

// copied is the value of rows that the destination will not change.
const copied = 0

type digest [2]uint64

var (
	pathSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	valueSeed = maphash.MakeSeed()
)

func digestOf(path string) digest {
	return digest{maphash.String(pathSeeds[0], path), maphash.String(pathSeeds[1], path)}
}

// valueOf is never copied.
func valueOf(r *catalog.Row) uint64 {
	return maphash.Comparable(valueSeed, catalog.Row{
		Type: r.Type, Size: r.Size, Permissions: r.Permissions, Owner: r.Owner, Group: r.Group,
		Created: r.Created, Modified: r.Modified, Metadata: r.Metadata,
	}) | 1
}

// reset forgets everything.
func (k *known) reset() { *k = known{meaning: make(map[string]string)} }

func (k *known) add(r *catalog.Row) {
	row := knownRow{digestOf(r.Path), copied}
	if !r.Copied {
		r.Metadata = k.canonical(r.Metadata)
		row.value = valueOf(r)
	}
	if r.Type == "file" {
		k.files++
	}
	k.rows = append(k.rows, row)
}

// canonical is a JSON text as this program writes it. A database may order it
// anew.
func (k *known) canonical(text string) string {
	if text == "" {
		return ""
	}
	if known, ok := k.meaning[text]; ok {
		return known
	}
	var m metadata
	same := text
	if json.Unmarshal([]byte(text), &m) == nil {
		same = m.text()
	}
	if len(k.meaning) < 1000 {
		k.meaning[text] = same
	}
	return same
}

func (k *known) sort() {
	slices.SortFunc(k.rows, func(a, b knownRow) int {
		switch {
		case a.digest[0] != b.digest[0]:
			if a.digest[0] < b.digest[0] {
				return -1
			}
			return 1
		case a.digest[1] < b.digest[1]:
			return -1
		case a.digest[1] > b.digest[1]:
			return 1
		}
		return 0
	})
	width := max(1, bits.Len(uint(len(k.rows)/4)))
	k.shift = 64 - width
	k.starts = make([]uint32, 1<<width+1)
	for _, r := range k.rows {
		k.starts[r.digest[0]>>k.shift+1]++
	}
	for i := 1; i < len(k.starts); i++ {
		k.starts[i] += k.starts[i-1]
	}
	k.met = make([]atomic.Uint64, len(k.rows)/64+1)
}

// find returns the index of a path's row, -1 if it has none.
func (k *known) find(path string) int {
	d := digestOf(path)
	bucket := d[0] >> k.shift
	for i := k.starts[bucket]; i < k.starts[bucket+1]; i++ {
		if k.rows[i].digest == d {
			return int(i)
		}
	}
	return -1
}

// meet marks a path's row, and returns whether it is there and what it has.
func (k *known) meet(path string) (value uint64, there bool) {
	i := k.find(path)
	if i < 0 {
		return 0, false
	}
	k.met[i/64].Or(1 << (i % 64))
	return k.rows[i].value, true
}

// unmet reports whether a path has a row that was not marked.
func (k *known) unmet(path string) bool {
	i := k.find(path)
	return i >= 0 && k.met[i/64].Load()&(1<<(i%64)) == 0
}

// has reports whether a path has a row.
func (k *known) has(path string) bool { return k.find(path) >= 0 }

func (k *known) count() int64 { return int64(len(k.rows)) }

// rest is how many rows were not marked.
func (k *known) rest() int64 {
	n := k.count()
	for i := range k.met {
		n -= int64(bits.OnesCount64(k.met[i].Load()))
	}
	return n
}
