package ogtest

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
)

// secret is what the server keeps of a password: enough to check a proof, and
// not enough to make one (opengauss.md 3.3).
type secret struct {
	method     Method
	iterations int
	salt       [32]byte
	serverKey  []byte
	storedKey  []byte
	md5        string // of the password and the user, with the methods that keep it
}

func newSecret(user, password string, method Method, salt [32]byte, iterations int) (*secret, error) {
	k, err := pbkdf2.Key(sha1.New, password, salt[:], iterations, 32)
	if err != nil {
		return nil, fmt.Errorf("the keys of user %s: %w", user, err)
	}
	s := &secret{method: method, iterations: iterations, salt: salt}
	clientKey := hmacSHA256(k, []byte("Client Key"))
	s.serverKey = hmacSHA256(k, []byte(serverLabel(method)))
	s.storedKey = s.hash(clientKey)
	if method == MD5 || method == SHA256AndMD5 {
		s.md5 = hexMD5([]byte(password + user))
	}
	return s, nil
}

// serverLabel is misspelled with SHA-256, and not with SM3 (opengauss.md 3.3).
func serverLabel(method Method) string {
	if method == SM3 {
		return "Server Key"
	}
	return "Sever Key"
}

// hash makes a stored key of a client key.
func (s *secret) hash(clientKey []byte) []byte {
	sum := sha256.Sum256(clientKey)
	if s.method == SM3 {
		sum = sm3Sum(clientKey)
	}
	return sum[:]
}

// signature proves to the client that the server knows the account.
func (s *secret) signature(token [4]byte) []byte { return hmacSHA256(s.serverKey, token[:]) }

// accepts checks the proof of codes 10 and 13: undoing the XOR must give a
// client key whose hash is the stored key. Upper case is misread by openGauss
// and therefore refused here (opengauss.md 3.3, step 6).
func (s *secret) accepts(proof string, token [4]byte) bool {
	raw, err := hex.DecodeString(proof)
	if err != nil || len(raw) != 32 || hex.EncodeToString(raw) != proof {
		return false
	}
	clientKey := make([]byte, 32)
	subtle.XORBytes(clientKey, raw, hmacSHA256(s.storedKey, token[:]))
	return hmac.Equal(s.hash(clientKey), s.storedKey)
}

// md5SHA256 is the one right answer to code 11. What is hashed ends in the
// iteration mark, as the stored password does (opengauss.md 3.3).
func (s *secret) md5SHA256(salt [4]byte) string {
	stored := hex.EncodeToString(s.salt[:]) + hex.EncodeToString(s.serverKey) + hex.EncodeToString(s.storedKey) +
		iterationMark(s.iterations)
	return "md5" + hexMD5(append([]byte(stored), salt[:]...))
}

// md5Answer is the one right answer to code 5, as in PostgreSQL.
func (s *secret) md5Answer(salt [4]byte) string {
	return "md5" + hexMD5(append([]byte(s.md5), salt[:]...))
}

// iterationMark has the digits of n, lowest first, added to fixed letters.
func iterationMark(n int) string {
	mark := []byte("ecdfdcefade")
	for i := 0; n > 0 && i < len(mark); i, n = i+1, n/10 {
		mark[i] += byte(n % 10)
	}
	return string(mark)
}

func hmacSHA256(key, data []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil)
}

func hexMD5(data []byte) string {
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}
