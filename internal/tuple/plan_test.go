package tuple

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

type valuerOnly int

func (valuerOnly) Value() (driver.Value, error) { return nil, nil }

type nested struct {
	B bool `db:"b,nullable"`
}

type textOnly int

func (textOnly) MarshalText() ([]byte, error) { return nil, nil }

func TestUnusableTypes(t *testing.T) {
	type embedded struct {
		ID int `db:"id"`
	}
	for _, tc := range []struct {
		row  any
		want string
	}{
		{7, "row type int is not a struct"},
		{&embedded{}, "is not a struct"},
		{struct{ A int }{}, "has no columns"},
		{struct {
			A int `db:""`
		}{}, ".A: the db tag has no column name"},
		{struct {
			A int `db:",key"`
		}{}, ".A: the db tag has no column name"},
		{struct {
			A int "db:\"a\\x00\""
		}{}, `column name "a\x00" is not printable`},
		{struct {
			A int `db:"a,primary"`
		}{}, `.A: column "a": unknown option "primary"; there are key`},
		{struct {
			A int `db:"a"`
			B int `db:"A"`
		}{}, `.B: column "A" is taken by field A`},
		{struct {
			Sub struct{} `db:"-"`
			nested
		}{}, ".nested.B: column \"b\": unknown option"},
		{struct {
			embedded
			B int `db:"id"`
		}{}, `.B: column "id" is taken by field embedded.ID`},
		{struct {
			*embedded
		}{}, ".embedded: an embedded pointer cannot be flattened"},
		{struct {
			a int `db:"a"`
		}{}, ".a: has a db tag, but is not exported"},
		{struct {
			A int `db:"a,key,passive"`
		}{}, "a key column is never overwritten"},
		{struct {
			A any `db:"a,key,json"`
		}{}, "jsonb cannot be part of the key"},
		{struct {
			A struct{ X int } `db:"a"`
		}{}, `.A: column "a": struct { X int } is not a column type; add the json option, or give the type the methods of driver.Valuer`},
		{struct {
			A map[string]int `db:"a"`
		}{}, "map[string]int is not a column type"},
		{struct {
			A []struct{ X int } `db:"a"`
		}{}, "[]struct { X int } is not a column type"},
		{struct {
			A []chan int `db:"a"`
		}{}, "[]chan int is not a column type"},
		{struct {
			A int `db:"a,type=int; DROP TABLE x"`
		}{}, "that is no name of a type"},
		{struct {
			A chan int `db:"a"`
		}{}, "chan int is not a column type"},
		{struct {
			A driver.Valuer `db:"a"`
		}{}, "driver.Valuer is not a column type"},
		{struct {
			A complex128 `db:"a"`
		}{}, "complex128 is not a column type"},
		{struct {
			A [15]byte `db:"a"`
		}{}, "[15]uint8 is not a column type"},
		{struct {
			A **int `db:"a"`
		}{}, "**int is a pointer to a pointer"},
		{struct {
			A sql.Null[[]any] `db:"a"`
		}{}, "[]interface {} is not a column type"},
		{struct {
			A func() `db:"a,json"`
		}{}, "func() cannot be JSON"},
		{struct {
			A fmt.Stringer `db:"a,json"`
		}{}, "JSON cannot be decoded into the interface fmt.Stringer"},
		{struct {
			A valuerOnly `db:"a"`
		}{}, "*tuple.valuerOnly no Scan (sql.Scanner)"},
		{struct {
			A *textOnly `db:"a"`
		}{}, "*tuple.textOnly no UnmarshalText"},
	} {
		_, err := newPlan(reflect.TypeOf(tc.row))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%T: error %v\nwant %s", tc.row, err, tc.want)
		}
	}
}

func TestNewCodecReturnsTheFault(t *testing.T) {
	if c, err := NewCodec[nested](); c != nil || err == nil || !strings.HasPrefix(err.Error(), "field tuple.nested.B: ") {
		t.Errorf("%v, %v", c, err)
	}
}

func TestTooManyColumns(t *testing.T) {
	for n, ok := range map[int]bool{1600: true, 1601: false} {
		fields := make([]reflect.StructField, n)
		for i := range fields {
			fields[i] = reflect.StructField{
				Name: fmt.Sprintf("F%d", i), Type: reflect.TypeFor[bool](), Tag: reflect.StructTag(fmt.Sprintf(`db:"f%d"`, i)),
			}
		}
		if _, err := newPlan(reflect.StructOf(fields)); (err == nil) != ok {
			t.Errorf("%d columns: %v", n, err)
		}
	}
}
