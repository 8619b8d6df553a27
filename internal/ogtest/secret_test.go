package ogtest

import (
	"encoding/hex"
	"testing"
)

// The vectors of opengauss.md 3.4.
const vectorPassword = "Secret@123"

func vectorSecret(t *testing.T, method Method, iterations int) *secret {
	t.Helper()
	var salt [32]byte
	for i := range salt {
		salt[i] = byte(i)
	}
	key, err := newSecret("u", vectorPassword, method, salt, iterations)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var vectorToken = [4]byte{0xde, 0xad, 0xbe, 0xef}

func TestVectors(t *testing.T) {
	for _, c := range []struct {
		method                        Method
		iterations                    int
		serverKey, storedKey, sig, pf string
	}{
		{
			SHA256, 10000,
			"6789dff03ee9f3a0091b7759d0f04a4f9f88655a3f1fcc2a0ceb98ca12203a2e",
			"d1280bd80a4aebc14931e7d71f96e01c08fbb0a50f5e063b688d53ae9b2251f4",
			"105c76dd4e76af5c061fda1f64bae0e4bd82e8df52471589fdf3ec7821ec0a52",
			"1ddbce8405093ac408b26c283d552c1dfbeca4c7d5256aa404090b6de887939e",
		},
		{
			SHA256, 2048,
			"36a30e5361134199e327f3e76f1d7a16f84e8817ae81690c23840a5d3976bc94",
			"56d470c2f218331e3163111b0b74ca2b4b4896a5968c9be38b2c75b063d45bd8",
			"296927769f8d9d9e1dd9bbd84236b5d824fe8aa8cfc099c201bb8e81c004ab7e",
			"40b8c8a64a222d248c6b0409e5a69c50421251aa712940cb4784ec1fe23c5ecb",
		},
		{
			SM3, 10000, "", "",
			"0a741b55f35ec75f3309bad83b97ae2cd9a170976f762777df8f181cdc2f664b",
			"66b52d2c5de696e70af1b2e826269bff6eb4809ce2bbaa5ac3f50f03eb851535",
		},
	} {
		key := vectorSecret(t, c.method, c.iterations)
		if got := hex.EncodeToString(key.serverKey); c.serverKey != "" && got != c.serverKey {
			t.Errorf("%v: server key %s", c, got)
		}
		if got := hex.EncodeToString(key.storedKey); c.storedKey != "" && got != c.storedKey {
			t.Errorf("%v: stored key %s", c, got)
		}
		if got := hex.EncodeToString(key.signature(vectorToken)); got != c.sig {
			t.Errorf("%v: signature %s", c, got)
		}
		if !key.accepts(c.pf, vectorToken) {
			t.Errorf("%v: the proof is refused", c)
		}
		for _, wrong := range []string{"", c.pf[:62], c.pf[2:] + "00", "zz" + c.pf[2:], upper(c.pf)} {
			if key.accepts(wrong, vectorToken) {
				t.Errorf("%v: the proof %s is accepted", c, wrong)
			}
		}
	}
}

func upper(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] >= 'a' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

func TestMD5SHA256Vector(t *testing.T) {
	key := vectorSecret(t, SHA256, 10000)
	if got := key.md5SHA256([4]byte{1, 2, 3, 4}); got != "md5fb7d068c2a30c86d62a28c61afdba39d" {
		t.Error(got)
	}
	for n, want := range map[int]string{10000: "ecdfecefade", 2048: "mgdhdcefade"} {
		if got := iterationMark(n); got != want {
			t.Errorf("mark of %d is %s", n, got)
		}
	}
}

func TestSM3(t *testing.T) {
	for in, want := range map[string]string{
		"abc": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
		"abcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcd": "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732",
	} {
		if sum := sm3Sum([]byte(in)); hex.EncodeToString(sum[:]) != want {
			t.Errorf("SM3 of %s is %x", in, sum)
		}
	}
}
