package memdbtest_test

import (
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
