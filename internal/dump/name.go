package dump

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	namePrefix   = "checkpoint_"
	nameSuffix   = ".sql"
	tempSuffix   = ".tmp" // after nameSuffix: not finished
	nameTime     = "20060102T150405Z"
	maxTableName = 40 // characters of the table in an identity
	hashDigits   = 16 // of the hash at its end
)

// Identity returns the part of a file name that tells the checkpoints of one
// writer from all others: something of the table's name, for people, and a
// hash of it and of whatever distinguishes the writer from others of that
// table.
func Identity(table, writer string) string {
	readable := []byte(table[:min(len(table), maxTableName)])
	for i, c := range readable {
		if !isNameByte(c) {
			readable[i] = '-'
		}
	}
	sum := sha256.Sum256([]byte(strconv.Quote(table) + strconv.Quote(writer)))
	return string(readable) + "-" + hex.EncodeToString(sum[:hashDigits/2])
}

// isNameByte tells what every file system takes in a name.
func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

func checkIdentity(identity string) error {
	if identity == "" || strings.ContainsFunc(identity, func(r rune) bool { return r > 0x7f || !isNameByte(byte(r)) }) {
		return fmt.Errorf("checkpoint identity %q: want one made by Identity", identity)
	}
	return nil
}

func fileName(identity string, at time.Time, number uint64) string {
	return fmt.Sprintf("%s%s_%s_%06d%s", namePrefix, identity, at.UTC().Format(nameTime), number, nameSuffix)
}

// parseName takes a name that fileName made for the identity apart. rest is
// what follows nameSuffix: nothing, if this is a checkpoint.
func parseName(identity, name string) (number uint64, rest string, ok bool) {
	stem, ok := strings.CutPrefix(name, namePrefix+identity+"_")
	if !ok {
		return 0, "", false
	}
	stem, rest, ok = strings.Cut(stem, nameSuffix)
	if !ok {
		return 0, "", false
	}
	stamp, digits, ok := strings.Cut(stem, "_")
	if !ok {
		return 0, "", false
	}
	at, err := time.Parse(nameTime, stamp)
	if err != nil {
		return 0, "", false
	}
	number, err = strconv.ParseUint(digits, 10, 64)
	return number, rest, err == nil && number <= tuple.MaxSeq && fileName(identity, at, number)+rest == name
}
