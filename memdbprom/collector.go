package memdbprom

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/memdbwriter/memdbwriter"
)

// Collector has the metrics of one writer. It is a prometheus.Collector, and a
// hook for memdbwriter.Config.Hooks. It is safe for concurrent use.
type Collector struct {
	stats atomic.Pointer[func() memdbwriter.Stats] // nil: no writer yet
	descs descs

	batchSeconds *prometheus.HistogramVec
	batchRows    prometheus.Histogram
	waitSeconds  prometheus.Histogram
	checkpoint   prometheus.Histogram
}

var (
	_ prometheus.Collector          = (*Collector)(nil)
	_ memdbwriter.HookBatchEnd      = (*Collector)(nil)
	_ memdbwriter.HookAddWaited     = (*Collector)(nil)
	_ memdbwriter.HookCheckpointEnd = (*Collector)(nil)
)

// New makes the metrics of a writer, which has the label writer with this name.
// Give each writer that is registered with one registry a name of its own.
func New(writer string) *Collector {
	labels := prometheus.Labels{"writer": writer}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "memdbwriter", Name: name, Help: help, ConstLabels: labels, Buckets: buckets}
	}
	return &Collector{
		descs:        newDescs(labels),
		batchSeconds: prometheus.NewHistogramVec(histogram("batch_seconds", "Time of an attempt to write a batch.", prometheus.ExponentialBuckets(0.001, 2.5, 13)), []string{"outcome"}),
		batchRows:    prometheus.NewHistogram(histogram("batch_rows", "Rows of a batch.", prometheus.ExponentialBuckets(1, 4, 9))),
		waitSeconds:  prometheus.NewHistogram(histogram("add_wait_seconds", "Time that a call of Add waited for room in the buffer.", prometheus.ExponentialBuckets(0.001, 4, 10))),
		checkpoint:   prometheus.NewHistogram(histogram("checkpoint_seconds", "Time that making a checkpoint took.", prometheus.ExponentialBuckets(0.01, 4, 8))),
	}
}

// Watch makes the collector read a writer's counts at each scrape, in place of
// those of the writer before. Until then only the histograms are there.
func Watch[T any](c *Collector, w memdbwriter.Writer[T]) {
	stats := w.Stats
	c.stats.Store(&stats)
}

// OnBatchEnd implements memdbwriter.HookBatchEnd.
func (c *Collector) OnBatchEnd(_ context.Context, b memdbwriter.BatchEnd) {
	outcome := "stored"
	if b.Err != nil {
		outcome = "error"
	}
	c.batchSeconds.WithLabelValues(outcome).Observe(b.Duration.Seconds())
	c.batchRows.Observe(float64(b.Rows))
}

// OnAddWaited implements memdbwriter.HookAddWaited.
func (c *Collector) OnAddWaited(_ context.Context, w memdbwriter.AddWait) {
	calls := w.Merged + 1
	for range calls {
		c.waitSeconds.Observe((w.Waited / time.Duration(calls)).Seconds())
	}
}

// OnCheckpointEnd implements memdbwriter.HookCheckpointEnd.
func (c *Collector) OnCheckpointEnd(_ context.Context, e memdbwriter.CheckpointEnd) {
	if e.Err == nil {
		c.checkpoint.Observe(e.Duration.Seconds())
	}
}

func (c *Collector) histograms() []prometheus.Collector {
	return []prometheus.Collector{c.batchSeconds, c.batchRows, c.waitSeconds, c.checkpoint}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range c.descs {
		to <- m.desc
	}
	for _, h := range c.histograms() {
		h.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	for _, h := range c.histograms() {
		h.Collect(to)
	}
	stats := c.stats.Load()
	if stats == nil {
		return
	}
	s := (*stats)()
	for _, m := range c.descs {
		m.read(s, func(value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
		})
	}
}
