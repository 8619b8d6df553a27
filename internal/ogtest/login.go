package ogtest

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
)

// Codes of authentication messages (opengauss.md 3.1).
const (
	authOK        = 0
	authMD5       = 5
	authSHA256    = 10
	authMD5SHA256 = 11
	authSM3       = 13
)

// maxFailures is failed_login_attempts (opengauss.md 1, number 13).
const maxFailures = 10

// account is a user and the state of the account.
type account struct {
	User
	secret *secret

	mu       sync.Mutex
	failures int // wrong passwords in a row
}

// challenge is what the server asks, and how it judges the answer.
type challenge struct {
	code  int
	body  []byte // behind the code
	right func(answer string) bool
}

func never(string) bool { return false }

// login runs the password exchange, and returns the account.
func (s *Server) login(conn io.ReadWriter, st *startup) (*account, error) {
	user := s.accounts[st.params["user"]]
	ask := s.challenge(user, st.minor)
	msg := binary.BigEndian.AppendUint32([]byte{'R'}, uint32(8+len(ask.body)))
	msg = append(binary.BigEndian.AppendUint32(msg, uint32(ask.code)), ask.body...)
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	answer, err := readPassword(conn)
	if err != nil {
		return nil, err
	}
	refusal := fatal("28P01", "Invalid username/password,login denied.")
	if user == nil {
		return nil, refusal
	}
	user.mu.Lock()
	defer user.mu.Unlock()
	// A locked account is locked for the right password as well. It stays
	// locked: a day is longer than a test (opengauss.md 1, number 13; 7).
	if user.failures >= maxFailures {
		return nil, fatal("28000", "The account has been locked.")
	}
	if !ask.right(answer) {
		user.failures++
		return nil, refusal
	}
	user.failures = 0
	return user, nil
}

// challenge is the table of opengauss.md 3.2.
func (s *Server) challenge(user *account, minor int) challenge {
	if user == nil {
		switch {
		case s.opts.HBA == SM3:
			return s.fakeSM3(minor)
		case s.opts.HBA == SHA256 && minor >= 50:
			c := signed(authSHA256, 2, s.fakeSecret, minor)
			c.right = never
			return c
		}
		return askMD5(&secret{})
	}
	stored := user.Stored
	switch {
	case stored == SM3 && s.opts.HBA == SM3:
		return signed(authSM3, 3, user.secret, minor)
	case stored == SM3 || s.opts.HBA == SM3:
		return s.fakeSM3(minor)
	case stored == MD5, stored == SHA256AndMD5 && (s.opts.HBA == MD5 || minor < 50):
		return askMD5(user.secret)
	case s.opts.HBA == MD5:
		return askMD5SHA256(user.secret)
	}
	return signed(authSHA256, 2, user.secret, minor)
}

// signed is code 10 or 13: salt and token, and by protocol the server's
// signature, nothing more, or the number of iterations (opengauss.md 3.2).
func signed(code int, method uint32, key *secret, minor int) challenge {
	token := random[[4]byte]()
	body := binary.BigEndian.AppendUint32(nil, method)
	body = append(body, hex.EncodeToString(key.salt[:])+hex.EncodeToString(token[:])...)
	switch {
	case minor < 50:
		body = append(body, hex.EncodeToString(key.signature(token))...)
	case minor > 50:
		body = binary.BigEndian.AppendUint32(body, uint32(key.iterations))
	}
	return challenge{code, body, func(answer string) bool { return key.accepts(answer, token) }}
}

// fakeSM3 is the challenge that nobody can meet.
func (s *Server) fakeSM3(minor int) challenge {
	c := signed(authSM3, 3, s.fakeSecret, minor)
	c.right = never
	return c
}

func askMD5SHA256(key *secret) challenge {
	salt := random[[4]byte]()
	body := append([]byte(hex.EncodeToString(key.salt[:])), salt[:]...)
	return challenge{authMD5SHA256, body, func(answer string) bool { return answer == key.md5SHA256(salt) }}
}

func askMD5(key *secret) challenge {
	salt := random[[4]byte]()
	return challenge{authMD5, salt[:], func(answer string) bool { return answer == key.md5Answer(salt) }}
}

// random returns an array of random bytes.
func random[T [4]byte | [32]byte]() T {
	var v T
	switch p := any(&v).(type) {
	case *[4]byte:
		rand.Read(p[:])
	case *[32]byte:
		rand.Read(p[:])
	}
	return v
}

// readPassword reads a 'p' message: a text that ends in a NUL.
func readPassword(r io.Reader) (string, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] != 'p' || size < 5 || size > 1004 {
		return "", fatal("08P01", "expected password response, got message type %d", head[0])
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", err
	}
	if body[len(body)-1] != 0 {
		return "", fatal("08P01", "invalid password packet size")
	}
	return string(body[:len(body)-1]), nil
}

// newAccounts prepares the users of the options.
func newAccounts(users []User, iterations int) (map[string]*account, error) {
	accounts := map[string]*account{}
	for _, u := range users {
		if accounts[u.Name] != nil {
			return nil, fmt.Errorf("two users %s", u.Name)
		}
		key, err := newSecret(u.Name, u.Password, u.Stored, random[[32]byte](), iterations)
		if err != nil {
			return nil, err
		}
		accounts[u.Name] = &account{User: u, secret: key}
	}
	return accounts, nil
}
