package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
)

// Config is how a writer behaves. The zero value of every field means its
// default, so that a literal needs to name only what differs. A Config is
// copied when a writer is made; changing it later has no effect.
type Config struct {
	// DisableMemoryDB makes Open return the compatibility writer, which
	// writes each batch in the caller's goroutine (USE_MEMORY_DB=false). New
	// ignores it.
	DisableMemoryDB bool

	// SyncBatchSize is the largest number of rows in one transaction; that
	// many waiting rows start a sync. Default 5,000, at most 1,000,000. Rows
	// of 4 MiB in total are a full batch however few they are.
	SyncBatchSize int

	// SyncInterval is the longest time that a row waits before a sync is
	// started for it. Default 30 s, from 1 ms to 24 h.
	SyncInterval time.Duration

	// MaxRows is the limit on rows in memory that are not in the destination
	// yet. Reaching it starts a sync, and Add waits while it stands. Rows that
	// the destination refused do not count. Default 100,000.
	MaxRows int

	// MaxBytes is the same limit in bytes of encoded rows; a single larger
	// row is taken when nothing else waits. 0 means no limit, the default.
	MaxBytes int64

	// MaxFailedRows is how many rows that the destination refused are kept.
	// Once there are that many no further batches are sent until
	// RetrySyncErrors or DiscardSyncErrors made room: so many bad rows are a
	// fault that somebody must look at. Default 100,000.
	MaxFailedRows int

	// SyncWorkers is how many batches are written at the same time, each over
	// a connection of its own: the pool must have that many. More than one
	// pays for a distant server. Rows of one key are never in two batches that
	// are under way. Default 1, at most 64.
	SyncWorkers int

	// SyncTimeout bounds one transaction, connecting included, so that a
	// connection that neither answers nor breaks is noticed. A batch that
	// takes longer is rolled back and tried again. Default 60 s, from 1 s.
	SyncTimeout time.Duration

	// RetryMaxDelay caps the pause between two attempts while the destination
	// cannot be reached. Pauses double from 100 ms with full jitter. There is
	// no limit on the number of attempts. Default 30 s, from 100 ms to 1 h.
	RetryMaxDelay time.Duration

	// FailedRetryDelay is the pause after which a row that failed is tried again
	// by itself, since what refused it may pass: a parent that comes later, a
	// partition that is made, a constraint that is dropped. It doubles each time,
	// up to 64 times the first one. Newer rows of the same key are never
	// overwritten. Negative: only RetrySyncErrors tries again. Default 1 m, from
	// 1 ms to 24 h. BatchDBWriter does not try again by itself.
	FailedRetryDelay time.Duration

	// CheckpointDir is where checkpoints and the journal are kept; it is made if
	// it is missing. Writers of different tables or destinations may share it.
	// Empty, the default: nothing is written to disk. It must belong to the user
	// who runs the program, or root. If others may write to it, the files are in
	// a directory of mode 0700 in it, memdbwriter-<user id>.
	CheckpointDir string

	// TrustCheckpointDir makes a writer use CheckpointDir and the files in it as
	// they are, whoever owns them and may write to them: whoever may can have
	// rows of his stored, and yours not.
	TrustCheckpointDir bool

	// Durability says what survives a crash, if CheckpointDir is set. Default
	// DurabilityJournal. DurabilityFsync needs a CheckpointDir, and so does
	// DurabilityJournal where it is asked for.
	Durability Durability

	// CheckpointInterval is the time from one checkpoint to the next: a copy, as
	// SQL, of what waits, for people and their backups. Negative: none but those
	// asked for and that of Stop. Default 5 m, from 1 s to 24 h.
	CheckpointInterval time.Duration

	// CheckpointRetention is how long checkpoints are kept once a newer one
	// has made them unnecessary. Default 24 h, from 1 s to 10 years.
	CheckpointRetention time.Duration

	// Logger receives what the writer reports. Nil means silence. A panic of
	// its handler is survived and counted in Stats.Panics. The
	// messages are listed in docs/operations.md.
	Logger *slog.Logger

	// OnSync is called after every sync run, from a goroutine of its own, one
	// call at a time, in order. No row waits for it: while it has not returned
	// further events wait, and those above 64 are merged. It may call every
	// method of the writer but Stop, which waits for it and answers with
	// ErrStopInHook if it gets ctx. The first call comes after New has returned
	// and a method of the writer was called, or a second after New. ctx ends
	// when Stop does not wait any longer. A panic in OnSync is logged,
	// and counted in Stats.Panics.
	OnSync func(ctx context.Context, ev SyncEvent)

	// Hooks are told what the writer does: batches, rejected rows, changes of the
	// state, waits for room, checkpoints. See Hook.
	Hooks []Hook

	// url is what DatabaseURL returns. It is a pointer because package fmt prints
	// the text of a string wherever it is, in an unexported field of somebody's
	// struct without asking any method.
	url *string

	// segmentBytes is the size of a file of the journal. Zero, but in tests: the
	// journal's own.
	segmentBytes int64

	// fs holds the checkpoints and the journal. Nil, but in tests: the
	// operating system's.
	fs fsys.FS
}

// Defaults of Config.
const (
	defaultBatchSize     = 5_000
	defaultInterval      = 30 * time.Second
	defaultMaxRows       = 100_000
	defaultMaxFailed     = 100_000
	defaultSyncTimeout   = 60 * time.Second
	defaultRetryMaxDelay = 30 * time.Second

	defaultFailedRetryDelay = time.Minute
	defaultCheckpoint       = 5 * time.Minute
	defaultRetention        = 24 * time.Hour
)

// HighPerformance is the tuning for a server with memory to spare: batches of
// 10,000 rows, every 60 s, up to 200,000 rows in memory.
func HighPerformance() Config {
	return Config{SyncBatchSize: 10_000, SyncInterval: 60 * time.Second, MaxRows: 200_000}
}

// Standard is the default tuning spelled out: batches of 5,000 rows, every
// 30 s, up to 100,000 rows in memory.
func Standard() Config {
	return Config{SyncBatchSize: defaultBatchSize, SyncInterval: defaultInterval, MaxRows: defaultMaxRows}
}

// LowMemory is the tuning for a small machine: batches of 2,000 rows, every
// 15 s, up to 50,000 rows in memory.
func LowMemory() Config {
	return Config{SyncBatchSize: 2_000, SyncInterval: 15 * time.Second, MaxRows: 50_000}
}

// setting is the rule for one field of Config, the same whether the value
// comes from a literal or from a variable.
type setting struct {
	name, variable string
	value          func(*Config) any // pointer to the field
	min, max, def  int64
}

// settings are all fields that have a range. The default stands for zero.
var settings = []setting{
	{"SyncBatchSize", "MEMORY_DB_SYNC_BATCH_SIZE", func(c *Config) any { return &c.SyncBatchSize }, 1, 1_000_000, defaultBatchSize},
	{"SyncInterval", "MEMORY_DB_SYNC_INTERVAL", func(c *Config) any { return &c.SyncInterval }, int64(time.Millisecond), int64(24 * time.Hour), int64(defaultInterval)},
	{"MaxRows", "MEMORY_DB_MAX_FILES", func(c *Config) any { return &c.MaxRows }, 1, math.MaxInt32, defaultMaxRows},
	{"MaxBytes", "MEMORY_DB_MAX_BYTES", func(c *Config) any { return &c.MaxBytes }, 0, math.MaxInt64, 0},
	{"MaxFailedRows", "MEMORY_DB_MAX_FAILED_ROWS", func(c *Config) any { return &c.MaxFailedRows }, 1, math.MaxInt32, defaultMaxFailed},
	{"SyncWorkers", "MEMORY_DB_SYNC_WORKERS", func(c *Config) any { return &c.SyncWorkers }, 1, 64, 1},
	{"SyncTimeout", "MEMORY_DB_SYNC_TIMEOUT", func(c *Config) any { return &c.SyncTimeout }, int64(time.Second), int64(24 * time.Hour), int64(defaultSyncTimeout)},
	{"CheckpointInterval", "MEMORY_DB_CHECKPOINT_INTERVAL", func(c *Config) any { return &c.CheckpointInterval }, int64(time.Second), int64(24 * time.Hour), int64(defaultCheckpoint)},
	{"CheckpointRetention", "MEMORY_DB_CHECKPOINT_RETENTION_HOURS", func(c *Config) any { return &c.CheckpointRetention }, int64(time.Second), int64(10 * 365 * 24 * time.Hour), int64(defaultRetention)},
	{"FailedRetryDelay", "MEMORY_DB_FAILED_RETRY_DELAY", func(c *Config) any { return &c.FailedRetryDelay }, int64(time.Millisecond), int64(24 * time.Hour), int64(defaultFailedRetryDelay)},
	{"RetryMaxDelay", "MEMORY_DB_RETRY_MAX_DELAY", func(c *Config) any { return &c.RetryMaxDelay }, int64(100 * time.Millisecond), int64(time.Hour), int64(defaultRetryMaxDelay)},
}

// withDefaults returns c with its zero fields set, or an error that names
// every field out of range.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	for _, s := range settings {
		switch p := s.value(&c).(type) {
		case *int:
			errs = append(errs, s.check(int64(*p), fmt.Sprint(*p)))
			*p = int(s.or(int64(*p)))
		case *int64:
			errs = append(errs, s.check(*p, fmt.Sprint(*p)))
			*p = s.or(*p)
		case *time.Duration:
			errs = append(errs, s.check(int64(*p), p.String()))
			*p = time.Duration(s.or(int64(*p)))
		}
	}
	errs = append(errs, c.checkDurability())
	if c.Durability == "" || c.Durability == durabilityCheckpoint {
		c.Durability = DurabilityJournal
	}
	if err := errors.Join(errs...); err != nil {
		return c, fmt.Errorf("%w:\n%w", ErrConfig, err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func (d Durability) check() error {
	switch d {
	case "", DurabilityNone, DurabilityJournal, DurabilityFsync, durabilityCheckpoint:
		return nil
	}
	return errors.New("it must be none, journal or fsync")
}

func (c *Config) checkDurability() error {
	if err := c.Durability.check(); err != nil {
		return fmt.Errorf("Durability (MEMORY_DB_DURABILITY) is %s: %w", shown(string(c.Durability)), err)
	}
	if c.CheckpointDir == "" && (c.Durability == DurabilityJournal || c.Durability == DurabilityFsync) {
		return fmt.Errorf("Durability (MEMORY_DB_DURABILITY) is %s: it needs a CheckpointDir (MEMORY_DB_CHECKPOINT_DIR)", c.Durability)
	}
	return nil
}

// withDir returns c, which must be valid, with the directory that is used for
// CheckpointDir: an absolute name, so that os.Chdir does not matter. It is made if
// create is set; otherwise it is empty if there is none.
func (c Config) withDir(create bool) (Config, error) {
	if _, err := c.withDefaults(); err != nil || c.CheckpointDir == "" {
		return c, err
	}
	if c.fs == nil {
		c.fs = fsys.OS
		if c.TrustCheckpointDir {
			c.fs = fsys.Trusting
		}
	}
	dir, err := c.CheckpointDir, error(nil)
	if strings.Contains(dir, "://") { // which may hold a password
		err = errors.New("it is a URL, not the name of a directory")
	} else {
		dir, err = fsys.PrivateDir(c.fs, dir, create, c.TrustCheckpointDir)
	}
	if err != nil {
		return c, fmt.Errorf("%w: CheckpointDir (MEMORY_DB_CHECKPOINT_DIR): %w", ErrConfig, err)
	}
	c.CheckpointDir = dir
	return c, nil
}

func (s *setting) or(v int64) int64 {
	if v == 0 {
		return s.def
	}
	return v
}

func (s *setting) check(v int64, text string) error {
	off := v < 0 && (s.name == "CheckpointInterval" || s.name == "FailedRetryDelay")
	if v == 0 || off || v >= s.min && v <= s.max {
		return nil
	}
	return fmt.Errorf("%s (%s) is %s: %s", s.name, s.variable, text, s.bounds())
}

// bounds says what is allowed, in the setting's own unit.
func (s *setting) bounds() string {
	lo, hi := fmt.Sprint(s.min), fmt.Sprint(s.max)
	if _, ok := s.value(new(Config)).(*time.Duration); ok {
		lo, hi = time.Duration(s.min).String(), time.Duration(s.max).String()
	}
	if s.max == math.MaxInt64 {
		return "it must be at least " + lo
	}
	return fmt.Sprintf("it must be from %s to %s", lo, hi)
}
