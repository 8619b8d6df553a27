package transcode

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// Signs and limits of the binary form of numeric.
const (
	numericNegative = 0x4000
	numericNaN      = 0xC000
	numericPosInf   = 0xD000 // PostgreSQL 14 and later
	numericNegInf   = 0xF000
	maxIntDigits    = 131072
	maxFracDigits   = 16383
)

// appendNumeric appends the binary form of the number in text: an optional
// sign, digits with an optional point, an optional exponent; or NaN, Infinity,
// inf with a sign. The scale is kept: 1.50 has two digits after the point.
//
//	int16  number of base 10000 digits that follow
//	int16  weight: the power of 10000 of the first of them
//	uint16 sign
//	uint16 decimal digits after the point, for display
//	int16  digit...
func appendNumeric(dst []byte, to Type, text []byte) ([]byte, error) {
	invalid := func() ([]byte, error) {
		return nil, errorf(badText, "%s is not a number for type %s", Shorten(text), to.Name)
	}
	tooLarge := func() ([]byte, error) {
		return nil, errorf(outOfRange, "%s is out of range for type %s", Shorten(text), to.Name)
	}
	s := bytes.TrimSpace(text)
	var sign uint16
	signed := len(s) > 0 && (s[0] == '-' || s[0] == '+')
	if signed {
		if s[0] == '-' {
			sign = numericNegative
		}
		s = s[1:]
	}
	switch string(bytes.ToLower(s[:min(len(s), 9)])) {
	case "nan":
		if signed {
			return invalid()
		}
		return appendNumericHead(dst, 0, 0, numericNaN, 0), nil
	case "inf", "infinity":
		if sign == numericNegative {
			return appendNumericHead(dst, 0, 0, numericNegInf, 0), nil
		}
		return appendNumericHead(dst, 0, 0, numericPosInf, 0), nil
	}

	var exp int
	if i := bytes.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(string(s[i+1:]))
		switch {
		case err != nil && len(s[i+1:]) < 18: // longer ones may be well-formed, and never fit
			return invalid()
		case err != nil || e > maxIntDigits || e < -maxIntDigits:
			return tooLarge()
		}
		s, exp = s[:i], e
	}
	whole, frac, _ := bytes.Cut(s, []byte("."))
	digits := append(append(make([]byte, 0, len(s)+8), whole...), frac...)
	if len(digits) == 0 || len(bytes.Trim(digits, "0123456789")) != 0 {
		return invalid()
	}
	point := len(whole) + exp // where the point stands in digits
	scale := max(0, len(frac)-exp)
	for len(digits) > 0 && digits[0] == '0' {
		digits, point = digits[1:], point-1
	}
	if len(digits) == 0 {
		point = 0
	}
	if point > maxIntDigits || scale > maxFracDigits || len(digits) > 0 && point > intDigits(to) {
		return tooLarge()
	}
	return appendNumericDigits(dst, digits, point, sign, scale), nil
}

// intDigits is how many digits before the point the type takes. (A value that
// exceeds it only by rounding is left to the server.)
func intDigits(to Type) int {
	if to.Mod < 4 {
		return maxIntDigits
	}
	m := to.Mod - 4
	precision, scale := m>>16&0xFFFF, m&0x7FF
	if scale >= 0x400 { // eleven bits with sign; negative in PostgreSQL 15 and later
		scale -= 0x800
	}
	return int(precision - scale)
}

// appendNumericDigits appends the number 0.DIGITS times 10 to the power of
// point. The first of the decimal digits is not 0.
func appendNumericDigits(dst, digits []byte, point int, sign uint16, scale int) []byte {
	if len(digits) == 0 {
		return appendNumericHead(dst, 0, 0, 0, scale)
	}
	lead := (4 - point%4) % 4 // zeros in front that let a group end at the point
	if point < 0 {
		lead = -point % 4
	}
	head := len(dst)
	dst = appendNumericHead(dst, 0, (point+lead)/4-1, sign, scale)
	n, last := 0, 0
	for i := -lead; i < len(digits); i += 4 {
		group := uint16(0)
		for j := i; j < i+4; j++ {
			group *= 10
			if j >= 0 && j < len(digits) {
				group += uint16(digits[j] - '0')
			}
		}
		dst = binary.BigEndian.AppendUint16(dst, group)
		if n++; group != 0 {
			last = n
		}
	}
	binary.BigEndian.PutUint16(dst[head:], uint16(last))
	return dst[:head+8+2*last]
}

func appendNumericHead(dst []byte, n, weight int, sign uint16, scale int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = binary.BigEndian.AppendUint16(dst, uint16(weight))
	dst = binary.BigEndian.AppendUint16(dst, sign)
	return binary.BigEndian.AppendUint16(dst, uint16(scale))
}
