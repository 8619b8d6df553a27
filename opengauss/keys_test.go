package opengauss

import (
	"encoding/hex"
	"testing"
)

// The password and the challenge of all vectors.
const (
	vectorPassword = "Secret@123"
	vectorSalt     = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	vectorToken    = "deadbeef"
	vectorMD5Salt  = "\x01\x02\x03\x04"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeysAreThoseOfTheServer(t *testing.T) {
	for _, v := range []struct {
		name                                     string
		scheme                                   scheme
		iterations                               int
		client, server, stored, signature, proof string
	}{
		{
			name: "sha256, 10000 iterations", scheme: sha256Scheme, iterations: 10000,
			client:    "330e1175d52fb2b9898b436077ca7a5f9e75f0207bc512266331a997684d70cf",
			server:    "6789dff03ee9f3a0091b7759d0f04a4f9f88655a3f1fcc2a0ceb98ca12203a2e",
			stored:    "d1280bd80a4aebc14931e7d71f96e01c08fbb0a50f5e063b688d53ae9b2251f4",
			signature: "105c76dd4e76af5c061fda1f64bae0e4bd82e8df52471589fdf3ec7821ec0a52",
			proof:     "1ddbce8405093ac408b26c283d552c1dfbeca4c7d5256aa404090b6de887939e",
		},
		{
			name: "sha256, 2048 iterations", scheme: sha256Scheme, iterations: 2048,
			client:    "eed31b9a5a5b80e4d6689c1ce2cd02dc8937a4542f1291d9cf2928a253b7520c",
			server:    "36a30e5361134199e327f3e76f1d7a16f84e8817ae81690c23840a5d3976bc94",
			stored:    "56d470c2f218331e3163111b0b74ca2b4b4896a5968c9be38b2c75b063d45bd8",
			signature: "296927769f8d9d9e1dd9bbd84236b5d824fe8aa8cfc099c201bb8e81c004ab7e",
			proof:     "40b8c8a64a222d248c6b0409e5a69c50421251aa712940cb4784ec1fe23c5ecb",
		},
		{
			name: "sm3, 10000 iterations", scheme: sm3Scheme, iterations: 10000,
			signature: "0a741b55f35ec75f3309bad83b97ae2cd9a170976f762777df8f181cdc2f664b",
			proof:     "66b52d2c5de696e70af1b2e826269bff6eb4809ce2bbaa5ac3f50f03eb851535",
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			k, err := v.scheme.derive(vectorPassword, unhex(t, vectorSalt), v.iterations)
			if err != nil {
				t.Fatal(err)
			}
			token := unhex(t, vectorToken)
			for _, part := range []struct {
				name string
				got  []byte
				want string
			}{
				{"client key", k.client, v.client},
				{"server key", k.server, v.server},
				{"stored key", k.stored, v.stored},
				{"signature", k.signature(token), v.signature},
				{"proof", k.proof(token), v.proof},
			} {
				if part.want != "" && hex.EncodeToString(part.got) != part.want {
					t.Errorf("%s: got %x, want %s", part.name, part.got, part.want)
				}
			}
		})
	}
}

func TestMD5ProofIsThatOfTheServer(t *testing.T) {
	k, err := sha256Scheme.derive(vectorPassword, unhex(t, vectorSalt), 10000)
	if err != nil {
		t.Fatal(err)
	}
	const want = "md5fb7d068c2a30c86d62a28c61afdba39d"
	if got := k.md5Proof(vectorSalt, 10000, []byte(vectorMD5Salt)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestIterationMark(t *testing.T) {
	for n, want := range map[int]string{10000: "ecdfecefade", 2048: "mgdhdcefade"} {
		if got := iterationMark(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
