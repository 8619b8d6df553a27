package ogtest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Settings that PostgreSQL has not, or has with another meaning, live there as
// custom settings of this prefix: SET LOCAL, ROLLBACK, RESET and SHOW treat
// them as they should.
const ownPrefix = "opengauss."

// settings are those that the stand-in acts on, as they were last read.
type settings struct {
	session, idleInTx, statement time.Duration
	compat                       string // behavior_compat_options
	touched                      bool   // the client changed one: read them again
	dirty                        bool   // they may have changed since
}

// ownSettings are the settings under ownPrefix, with what they are at first.
func (o *Options) ownSettings() map[string]string {
	m := map[string]string{
		"session_timeout":         "10min", // opengauss.md 6.1
		"statement_timeout":       "0",
		"behavior_compat_options": "",
		"sql_compatibility":       o.Mode,  // opengauss.md 2.5
		"server_version":          "9.2.4", // opengauss.md 2.5
		"server_version_num":      "90204",
		"lockwait_timeout":        "20min", // opengauss.md 6.1
		"update_lockwait_timeout": "2min",
	}
	if o.NoSessionTimeout {
		m["session_timeout"] = "0"
	}
	if o.since("3.0.0") {
		m["idle_in_transaction_session_timeout"] = "0" // opengauss.md 6.1
	}
	return m
}

// unitOf are the units of bare numbers. That of
// idle_in_transaction_session_timeout is the second (opengauss.md 6.1).
var unitOf = map[string]time.Duration{
	sessionTimeout:      time.Second,
	idleInTx:            time.Second,
	"statement_timeout": time.Millisecond,
}

// commonSettings are settings that both servers have.
var commonSettings = strings.Fields(`application_name bytea_output client_encoding client_min_messages datestyle
	default_transaction_deferrable default_transaction_isolation default_transaction_read_only enable_hashjoin
	enable_indexscan enable_mergejoin enable_nestloop enable_seqscan enable_sort extra_float_digits intervalstyle
	maintenance_work_mem search_path standard_conforming_strings synchronous_commit temp_buffers timezone
	transaction_isolation transaction_read_only work_mem max_connections server_encoding lc_collate lc_ctype`)

// absentSettings are known to be unknown to openGauss (opengauss.md 6.1, 1).
var absentSettings = []string{"lock_timeout", "idle_session_timeout", "row_security", "jit", "server_version_number"}

// setting finds a setting by its name: the name that PostgreSQL has for it.
func (o *Options) setting(name string) (string, error) {
	name = strings.ToLower(name)
	if _, own := o.ownSettings()[name]; own {
		return ownPrefix + name, nil
	}
	if slices.Contains(commonSettings, name) {
		return name, nil
	}
	if slices.Contains(absentSettings, name) || name == idleInTx {
		return "", newFault("42704", "unrecognized configuration parameter %q", name)
	}
	return "", unknown("the setting %s", name)
}

// ownName takes the prefix away again.
func ownName(name string) string { return strings.TrimPrefix(name, ownPrefix) }

// changeable tells why a setting cannot be set by a session, if so.
func (s *session) changeable(name string) error {
	switch name {
	case "sql_compatibility", "server_version", "server_version_num":
		return newFault("55P02", "parameter %q cannot be changed", name)
	case "lockwait_timeout", "update_lockwait_timeout": // opengauss.md 6.1
		return newFault("42501", "permission denied to set parameter %q", name)
	}
	return nil
}

// ownValue checks a value of a setting of our own, and returns it as SHOW does.
func ownValue(name, value string) (string, error) {
	unit, ok := unitOf[name]
	if !ok {
		return value, nil
	}
	d, ok := parseDuration(value, unit)
	if !ok || d < 0 {
		return "", newFault("22023", "invalid value for parameter %q: %q", name, value)
	}
	return showDuration(d, unit), nil
}

var units = []struct {
	name string
	d    time.Duration
}{{"ms", time.Millisecond}, {"min", time.Minute}, {"s", time.Second}, {"h", time.Hour}, {"d", 24 * time.Hour}}

// parseDuration reads a number with a unit, or without one for the default.
func parseDuration(value string, unit time.Duration) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(value, u.name); ok {
			value, unit = strings.TrimSpace(rest), u.d
			break
		}
	}
	n, err := strconv.ParseInt(value, 10, 32)
	return time.Duration(n) * unit, err == nil
}

// showDuration writes a duration in the largest unit that has no remainder.
func showDuration(d, unit time.Duration) string {
	if d == 0 {
		return "0"
	}
	byLength := slices.SortedFunc(slices.Values([]int{0, 1, 2, 3, 4}), func(a, b int) int {
		return cmp.Compare(units[b].d, units[a].d)
	})
	for _, i := range byLength {
		if u := units[i]; d%u.d == 0 && u.d >= unit {
			return fmt.Sprintf("%d%s", d/u.d, u.name)
		}
	}
	return strconv.FormatInt(int64(d/unit), 10)
}

// tracked are the settings that readSettings reads, in this order.
var tracked = []string{sessionTimeout, "statement_timeout", "behavior_compat_options", idleInTx}

// readSettings takes over what the session's settings are now. SHOW takes no
// snapshot, so that SET TRANSACTION stays possible after it.
func (s *session) readSettings() error {
	var sql []string
	for _, name := range tracked {
		if _, ok := s.opts.ownSettings()[name]; ok {
			sql = append(sql, "SHOW "+ownPrefix+name)
		}
	}
	values, err := s.rows(strings.Join(sql, ";"))
	if err != nil {
		return err
	}
	d := func(i int) time.Duration {
		if i >= len(values) {
			return 0
		}
		d, _ := parseDuration(values[i], unitOf[tracked[i]]) // was checked when it was set
		return d
	}
	s.settings.session, s.settings.statement, s.settings.idleInTx = d(0), d(1), d(3)
	s.settings.compat = values[2]
	s.settings.dirty = false
	return nil
}

// refreshSettings reads the settings if they may have changed. In a failed
// transaction they cannot be read, and are as they were.
func (s *session) refreshSettings() error {
	if !s.settings.touched || !s.settings.dirty || s.status == 'E' {
		return nil
	}
	before := s.settings.compat
	if err := s.readSettings(); err != nil {
		return err
	}
	if s.settings.compat != before {
		s.client.Send(&pgproto3.ParameterStatus{Name: "behavior_compat_options", Value: s.settings.compat})
	}
	return nil
}

// emptyIsNull tells whether an empty string becomes NULL where mode A makes it that, and
// behavior_compat_options does not say otherwise (opengauss.md 5.2).
func (s *session) emptyIsNull() bool {
	if s.opts.Mode != "A" {
		return false
	}
	for option := range strings.SplitSeq(s.settings.compat, ",") {
		if strings.TrimSpace(option) == "accept_empty_str" && s.opts.since("3.0.0") {
			return false
		}
	}
	return true
}

// runtimeParams are the settings of a session at its start: those of the
// server, and those that the client sent with its startup packet.
func (s *Server) runtimeParams(st *startup) (map[string]string, error) {
	params := map[string]string{"lock_timeout": strconv.FormatInt(s.opts.LockWait.Milliseconds(), 10)}
	for name, value := range s.opts.ownSettings() {
		params[ownPrefix+name] = value
	}
	for _, name := range st.order {
		if name == "user" || name == "database" {
			continue
		}
		if name == "options" || name == "replication" {
			return nil, fatal(UnknownStatement, "the openGauss stand-in does not know the startup parameter %s", name)
		}
		key, err := s.opts.setting(name)
		value := st.params[name]
		if err == nil && key != name {
			value, err = ownValue(name, value)
		}
		if err != nil {
			f := *err.(*fault)
			f.severity = "FATAL"
			return nil, &f
		}
		params[key] = noSerializable(value)
	}
	return params, nil
}

// noSerializable: SERIALIZABLE silently is REPEATABLE READ (opengauss.md 6.2).
func noSerializable(isolation string) string {
	if strings.EqualFold(isolation, "serializable") {
		return "repeatable read"
	}
	return isolation
}

// reportedByBoth are the parameters that PostgreSQL and openGauss report.
var reportedByBoth = map[string]bool{
	"application_name": true, "client_encoding": true, "DateStyle": true, "integer_datetimes": true, "IntervalStyle": true,
	"server_encoding": true, "session_authorization": true, "standard_conforming_strings": true, "TimeZone": true,
}

// reportedAtLogin are the parameters that openGauss reports (opengauss.md 2.5).
func (s *session) reportedAtLogin(backend map[string]string) map[string]string {
	status := map[string]string{
		"server_version":          "9.2.4",
		"behavior_compat_options": s.settings.compat,
		"is_sysadmin":             "off",
	}
	if s.user.Admin {
		status["is_sysadmin"] = "on"
	}
	for name, value := range backend {
		if reportedByBoth[name] {
			status[name] = value
		}
	}
	status["session_authorization"] = s.user.Name
	return status
}
