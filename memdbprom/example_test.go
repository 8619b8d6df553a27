package memdbprom_test

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/memdbprom"
	"github.com/memdbwriter/memdbwriter/memdbtest"
)

func Example() {
	ctx, cfg, dest := context.Background(), memdbwriter.Config{}, memdbtest.New().Destination()
	metrics, registry := memdbprom.New("catalogue"), prometheus.NewRegistry()
	registry.MustRegister(metrics)
	cfg.Hooks = append(cfg.Hooks, metrics)
	w, err := memdbwriter.New(ctx, memdbwriter.BackupFiles(7), dest, cfg)
	if err != nil {
		return
	}
	memdbprom.Watch(metrics, w)
	w.Add(ctx, memdbwriter.FileInfo{Path: "/data/a.txt"})
	w.Stop(ctx)
	families, err := registry.Gather()
	for _, f := range families {
		if f.GetName() == "memdbwriter_rows_synced_total" {
			fmt.Println(f.GetName(), f.Metric[0].GetCounter().GetValue(), err)
		}
	}
	// Output: memdbwriter_rows_synced_total 1 <nil>
}
