package opengauss

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"
)

var (
	// ErrServerSignature is a login that ended before anything derived from
	// the password was sent, because the server's signature does not fit the
	// password. Mostly the password is wrong; it may also be that the server
	// is not the one that knows it, or that it made its keys with an unusual
	// iteration count (see Configure). Trying again is of no use.
	ErrServerSignature = errors.New("opengauss: the server's signature does not fit the password")

	// ErrChallenge is a login that ended because the server asked for the
	// password in a way that the client cannot answer: by an unknown method, in
	// a malformed message, or once more after an answer.
	ErrChallenge = errors.New("opengauss: the server asks for the password in a way that cannot be answered")
)

// challenge is what a server sends to have a password proved.
type challenge interface {
	// answer returns the text that proves the password. It tries counts of
	// iterations where that is possible, else it takes the first.
	answer(password string, iterations []int) (string, error)
}

// parseChallenge reads the body of an authentication message. Both results are
// nil for the codes that are the same in PostgreSQL.
func parseChallenge(code uint32, body []byte) (challenge, error) {
	switch code {
	case codeSHA256:
		return parseSigned(body, sha256Scheme)
	case codeSM3:
		return parseSigned(body, sm3Scheme)
	case codeMD5SHA256:
		return parseUnsigned(body)
	case codeSHA256RFC:
		return nil, fmt.Errorf("%w: by the method SHA256_RFC (code 12)", ErrChallenge)
	case codeIAM:
		return nil, fmt.Errorf("%w: by IAM (code 14)", ErrChallenge)
	}
	return nil, nil
}

// signed is the challenge of codes 10 and 13:
//
//	struct {
//		int32 code
//		int32 stored          // how the password is stored
//		char  salt[64]        // hex
//		char  token[8]        // hex
//		char  signature[64]   // hex
//	}
type signed struct {
	scheme    scheme
	salt      []byte
	token     []byte
	signature []byte
}

const signedLen = 4 + 4 + 64 + 8 + 64

func parseSigned(body []byte, s scheme) (challenge, error) {
	if len(body) != signedLen {
		// 80 and 84 bytes, without a signature, are for protocols 3.50 and 3.51.
		return nil, fmt.Errorf("%w: a %s challenge has %d bytes, this one %d", ErrChallenge, s.name, signedLen, len(body))
	}
	decoded := make([]byte, (signedLen-8)/2)
	if _, err := hex.Decode(decoded, body[8:]); err != nil {
		return nil, fmt.Errorf("%w: a %s challenge that is not hexadecimal", ErrChallenge, s.name)
	}
	return &signed{scheme: s, salt: decoded[:32], token: decoded[32:36], signature: decoded[36:]}, nil
}

func (c *signed) answer(password string, iterations []int) (string, error) {
	for _, n := range iterations {
		k, err := c.scheme.derive(password, c.salt, n)
		if err != nil {
			return "", err
		}
		if hmac.Equal(k.signature(c.token), c.signature) {
			return hex.EncodeToString(k.proof(c.token)), nil
		}
	}
	return "", fmt.Errorf("%w: wrong password, wrong server, or an auth_iteration_count other than %v; the password was not sent",
		ErrServerSignature, iterations)
}

// unsigned is the challenge of code 11:
//
//	struct {
//		int32 code
//		char  salt[64]        // hex
//		byte  md5salt[4]
//	}
type unsigned struct {
	saltHex string
	salt    []byte
	md5Salt []byte
}

const unsignedLen = 4 + 64 + 4

func parseUnsigned(body []byte) (challenge, error) {
	if len(body) != unsignedLen {
		return nil, fmt.Errorf("%w: an md5_sha256 challenge has %d bytes, this one %d", ErrChallenge, unsignedLen, len(body))
	}
	c := &unsigned{saltHex: string(body[4:68]), md5Salt: body[68:]}
	var err error
	if c.salt, err = hex.DecodeString(c.saltHex); err != nil {
		return nil, fmt.Errorf("%w: an md5_sha256 challenge whose salt is not hexadecimal", ErrChallenge)
	}
	return c, nil
}

func (c *unsigned) answer(password string, iterations []int) (string, error) {
	k, err := sha256Scheme.derive(password, c.salt, iterations[0])
	if err != nil {
		return "", err
	}
	return k.md5Proof(c.saltHex, iterations[0], c.md5Salt), nil
}
