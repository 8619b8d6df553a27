package opengauss

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"

	"github.com/memdbwriter/memdbwriter/opengauss/internal/sm3"
)

// scheme is how keys are made from a password. The MACs are HMAC-SHA-256 in
// every scheme.
type scheme struct {
	name        string
	serverLabel string
	hash        func([]byte) [32]byte // from the client's key to the stored one
}

var (
	// The spelling of the label is part of the protocol.
	sha256Scheme = scheme{name: "sha256", serverLabel: "Sever Key", hash: sha256.Sum256}
	sm3Scheme    = scheme{name: "sm3", serverLabel: "Server Key", hash: sm3.Sum}
)

// keys are what a password becomes. The server stores the last two; only the
// first, which the password is needed for, lets a client in.
type keys struct {
	client []byte
	server []byte
	stored []byte
}

func (s scheme) derive(password string, salt []byte, iterations int) (keys, error) {
	if iterations < 1 {
		return keys{}, fmt.Errorf("opengauss: an iteration count of %d was configured", iterations)
	}
	salted, err := pbkdf2.Key(sha1.New, password, salt, iterations, 32)
	if err != nil {
		return keys{}, fmt.Errorf("opengauss: deriving keys for the %s login: %w", s.name, err)
	}
	client := mac(salted, []byte("Client Key"))
	stored := s.hash(client)
	return keys{client: client, server: mac(salted, []byte(s.serverLabel)), stored: stored[:]}, nil
}

// signature shows that the server has what it stored.
func (k keys) signature(token []byte) []byte { return mac(k.server, token) }

// proof lets the server, which has the stored key, find the client's key and
// see that it hashes to the stored one.
func (k keys) proof(token []byte) []byte {
	p := mac(k.stored, token)
	subtle.XORBytes(p, p, k.client)
	return p
}

// md5Proof is the text that proves the password under code 11: an MD5 of all
// that the server stores, in the form in which it stores it.
func (k keys) md5Proof(saltHex string, iterations int, md5Salt []byte) string {
	text := saltHex + hex.EncodeToString(k.server) + hex.EncodeToString(k.stored) + iterationMark(iterations)
	sum := md5.Sum(append([]byte(text), md5Salt...))
	return "md5" + hex.EncodeToString(sum[:])
}

// iterationMark is the end of a stored password: the count in decimal, the
// lowest digit first, each digit added to a letter.
func iterationMark(n int) string {
	mark := []byte("ecdfdcefade")
	for i := range mark {
		mark[i] += byte(n % 10)
		n /= 10
	}
	return string(mark)
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}
