package sm3_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/opengauss/internal/sm3"
)

// The first two are the examples of the standard. The others were made with
// OpenSSL; their lengths are those around the end of a block and its padding.
var vectors = []struct{ name, message, hash string }{
	{"abc", "abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"},
	{"abcd 16 times", strings.Repeat("abcd", 16), "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"},
	{"empty", "", "1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b"},
	{"55 bytes", strings.Repeat("a", 55), "288337eef51eec62e7544d7270424c8dbe656254c99852870a73b2453a6a7fb1"},
	{"56 bytes", strings.Repeat("a", 56), "ba00ebedaab54065a5fd4f9f56326016203166bcee3eed44ea868d59d67aa3c8"},
	{"57 bytes", strings.Repeat("a", 57), "698e3fcc7a0b1515656a61db7e88805672285e83a4c24742dbade0c4010f32c0"},
	{"63 bytes", strings.Repeat("a", 63), "587308543551881ebd70d27ad358ff5dcdf24ac54822e2f7b7c3edce0985d21b"},
	{"65 bytes", strings.Repeat("a", 65), "3d1d94afa238ec3e2bbc20ad504702b24c16f2889c94973f2f8da3526c44e4bc"},
	{"119 bytes", strings.Repeat("a", 119), "53282a90724e9eb79b18d06b5b8f7f02d046e18b29247dcdb064a136d5c4459a"},
	{"120 bytes", strings.Repeat("a", 120), "4c9f0fe9f36ffe0191af73560c4afb1b671be02ba2d0e0c161b1e03488c2a45c"},
	{"128 bytes", strings.Repeat("a", 128), "5fd947effbe82a5925faaee9123d43cea200cc257b28ed797505694b4bb020f6"},
	{"a million bytes", strings.Repeat("a", 1000000), "c8aaf89429554029e231941a2acc0ad61ff2a5acd8fadd25847a3a732b3b02c3"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			sum := sm3.Sum([]byte(v.message))
			if got := hex.EncodeToString(sum[:]); got != v.hash {
				t.Errorf("got %s, want %s", got, v.hash)
			}
		})
	}
}

// However a message is cut into writes, and whether sums are taken on the
// way, its hash is the same.
func FuzzStreaming(f *testing.F) {
	f.Add([]byte("abc"), uint16(1), uint16(2))
	f.Add(bytes.Repeat([]byte("abcd"), 40), uint16(64), uint16(119))
	f.Fuzz(func(t *testing.T, message []byte, i, j uint16) {
		a, b := min(int(i), len(message)), min(int(j), len(message))
		a, b = min(a, b), max(a, b)
		h := sm3.New()
		h.Write([]byte("a message before the reset"))
		h.Reset()
		for _, part := range [][]byte{message[:a], message[a:b], message[b:]} {
			h.Write(part)
			h.Sum(nil)
		}
		whole := sm3.Sum(message)
		if got := h.Sum([]byte("kept")); !bytes.Equal(got, append([]byte("kept"), whole[:]...)) {
			t.Errorf("%d bytes cut at %d and %d: %x, in one write %x", len(message), a, b, got[4:], whole)
		}
		if h.Size() != sm3.Size || h.BlockSize() != sm3.BlockSize {
			t.Errorf("size %d and block size %d", h.Size(), h.BlockSize())
		}
	})
}
