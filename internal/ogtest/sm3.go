package ogtest

import (
	"encoding/binary"
	"math/bits"
)

// sm3Sum is the SM3 hash (GB/T 32905-2016) of a message.
func sm3Sum(msg []byte) [32]byte {
	h := [8]uint32{
		0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600,
		0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e,
	}
	padded := append(append([]byte(nil), msg...), 0x80)
	for len(padded)%64 != 56 {
		padded = append(padded, 0)
	}
	padded = binary.BigEndian.AppendUint64(padded, uint64(len(msg))*8)
	for ; len(padded) > 0; padded = padded[64:] {
		sm3Block(&h, padded[:64])
	}
	var sum [32]byte
	for i, v := range h {
		binary.BigEndian.PutUint32(sum[4*i:], v)
	}
	return sum
}

func sm3Block(h *[8]uint32, block []byte) {
	var w [68]uint32
	for i := range 16 {
		w[i] = binary.BigEndian.Uint32(block[4*i:])
	}
	for i := 16; i < 68; i++ {
		x := w[i-16] ^ w[i-9] ^ bits.RotateLeft32(w[i-3], 15)
		w[i] = x ^ bits.RotateLeft32(x, 15) ^ bits.RotateLeft32(x, 23) ^ bits.RotateLeft32(w[i-13], 7) ^ w[i-6]
	}
	a, b, c, d, e, f, g, k := h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
	for i := range 64 {
		round := uint32(0x79cc4519)
		ff, gg := a^b^c, e^f^g
		if i >= 16 {
			round = 0x7a879d8a
			ff, gg = a&b|a&c|b&c, e&f|^e&g
		}
		a12 := bits.RotateLeft32(a, 12)
		ss1 := bits.RotateLeft32(a12+e+bits.RotateLeft32(round, i%32), 7)
		tt1 := ff + d + (ss1 ^ a12) + (w[i] ^ w[i+4])
		tt2 := gg + k + ss1 + w[i]
		d, c, b, a = c, bits.RotateLeft32(b, 9), a, tt1
		k, g, f, e = g, bits.RotateLeft32(f, 19), e, tt2^bits.RotateLeft32(tt2, 9)^bits.RotateLeft32(tt2, 17)
	}
	for i, v := range [8]uint32{a, b, c, d, e, f, g, k} {
		h[i] ^= v
	}
}
