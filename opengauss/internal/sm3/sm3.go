// Package sm3 implements the SM3 hash of GB/T 32905-2016 (ISO/IEC 10118-3),
// which openGauss offers in place of SHA-256 for stored passwords.
package sm3

import (
	"encoding/binary"
	"hash"
	"math/bits"
)

const (
	Size      = 32 // bytes of a hash
	BlockSize = 64
)

// digest is a hash under way.
type digest struct {
	v    [8]uint32
	buf  [BlockSize]byte // the first n bytes wait for a full block
	n    int
	size uint64 // bytes written so far
}

var start = [8]uint32{
	0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600,
	0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e,
}

// New returns a hash.Hash. Like those of the standard library it never fails
// to write and is not safe for concurrent use.
func New() hash.Hash { return &digest{v: start} }

// Sum returns the hash of data.
func Sum(data []byte) [Size]byte {
	d := digest{v: start}
	_, _ = d.Write(data) // never fails
	return d.sum()
}

func (d *digest) Reset()         { *d = digest{v: start} }
func (d *digest) Size() int      { return Size }
func (d *digest) BlockSize() int { return BlockSize }

func (d *digest) Write(p []byte) (int, error) {
	written := len(p)
	d.size += uint64(written)
	for len(p) > 0 {
		n := copy(d.buf[d.n:], p)
		d.n += n
		p = p[n:]
		if d.n == BlockSize {
			d.compress()
			d.n = 0
		}
	}
	return written, nil
}

func (d *digest) Sum(b []byte) []byte {
	sum := d.sum()
	return append(b, sum[:]...)
}

// sum pads a copy, so that the hash can go on.
func (d *digest) sum() (sum [Size]byte) {
	c := *d
	pad := [BlockSize]byte{0x80}
	zeros := (BlockSize + 55 - c.n) % BlockSize // up to 8 bytes before a block's end
	_, _ = c.Write(pad[:1+zeros])
	binary.BigEndian.PutUint64(pad[:8], d.size*8)
	_, _ = c.Write(pad[:8])
	for i, v := range c.v {
		binary.BigEndian.PutUint32(sum[4*i:], v)
	}
	return sum
}

// compress takes the full block into the state: section 5.3 of the standard,
// with its names.
func (d *digest) compress() {
	var w [68]uint32
	for j := range 16 {
		w[j] = binary.BigEndian.Uint32(d.buf[4*j:])
	}
	for j := 16; j < 68; j++ {
		w[j] = p1(w[j-16]^w[j-9]^bits.RotateLeft32(w[j-3], 15)) ^ bits.RotateLeft32(w[j-13], 7) ^ w[j-6]
	}
	a, b, c, dd, e, f, g, h := d.v[0], d.v[1], d.v[2], d.v[3], d.v[4], d.v[5], d.v[6], d.v[7]
	for j := range 64 {
		t, ff, gg := uint32(0x79cc4519), a^b^c, e^f^g
		if j >= 16 {
			t, ff, gg = 0x7a879d8a, a&b|a&c|b&c, e&f|^e&g
		}
		a12 := bits.RotateLeft32(a, 12)
		ss1 := bits.RotateLeft32(a12+e+bits.RotateLeft32(t, j), 7)
		ss2 := ss1 ^ a12
		tt1 := ff + dd + ss2 + (w[j] ^ w[j+4])
		tt2 := gg + h + ss1 + w[j]
		a, b, c, dd = tt1, a, bits.RotateLeft32(b, 9), c
		e, f, g, h = p0(tt2), e, bits.RotateLeft32(f, 19), g
	}
	for i, x := range [8]uint32{a, b, c, dd, e, f, g, h} {
		d.v[i] ^= x
	}
}

func p0(x uint32) uint32 { return x ^ bits.RotateLeft32(x, 9) ^ bits.RotateLeft32(x, 17) }
func p1(x uint32) uint32 { return x ^ bits.RotateLeft32(x, 15) ^ bits.RotateLeft32(x, 23) }
