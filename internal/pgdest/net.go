package pgdest

import (
	"net"
	"time"
)

// A connection whose other end vanished without a word (a pulled cable, a
// firewall that forgot it) is noticed after silence: by keep-alive probes
// while we wait for an answer, by limitUnacked while we send.
const (
	keepAliveIdle     = 10 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
	silence           = keepAliveIdle + keepAliveCount*keepAliveInterval
)

func newDialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout: timeout,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
		},
		Control: limitUnacked,
	}
}
