package dump

import (
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// appendTime appends a time of the checkpoint itself, which is between the
// years 1 and 9999.
func appendTime(dst []byte, t time.Time) ([]byte, error) {
	var b [16]byte
	field, err := tuple.AppendValue(b[:0], tuple.Timestamptz, t)
	if err != nil {
		return dst, err
	}
	return tuple.AppendTimeText(dst, tuple.Timestamptz, field[4:])
}

// parseTime is the inverse of appendTime.
func parseTime(s string) (time.Time, bool) { return tuple.ParseTimeText(tuple.Timestamptz, s) }
