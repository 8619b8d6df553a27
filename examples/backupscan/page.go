package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/memdbui"
)

// servePage serves the page of the write buffer at -http until the returned
// function is called. Without the flag the page is nil.
func (s *scan) servePage(ctx context.Context, cfg *memdbwriter.Config) (page *memdbui.Page, stop func() error, err error) {
	if s.http == "" {
		return nil, func() error { return nil }, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.http)
	if err != nil {
		return nil, nil, fmt.Errorf("-http: %w", err)
	}
	addr := listener.Addr().(*net.TCPAddr)
	opts := memdbui.Options{Title: fmt.Sprintf("backupscan, set %d", s.set), Actions: s.httpActions}
	if addr.IP.IsLoopback() { // no name of somebody else's leads here
		for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
			opts.Hosts = append(opts.Hosts, fmt.Sprintf("%s:%d", host, addr.Port))
		}
	}
	page = memdbui.New(opts)
	cfg.Hooks = append(cfg.Hooks, page)
	server := &http.Server{Handler: page, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	s.log.Log(ctx, notice, "the page of the write buffer is served", "url", "http://"+addr.String()+"/")
	return page, func() error {
		page.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil { // a request that takes long
			err = server.Close()
		}
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}, nil
}
