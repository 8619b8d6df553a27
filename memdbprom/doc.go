// Package memdbprom has the metrics of a writer for Prometheus.
//
//	metrics := memdbprom.New("catalogue")
//	prometheus.MustRegister(metrics)
//	cfg.Hooks = append(cfg.Hooks, metrics)
//	w, err := memdbwriter.New(ctx, table, dest, cfg)
//	memdbprom.Watch(metrics, w)
//
// What the writer counts is read when Prometheus scrapes, and costs nothing in
// between; the histograms of batches and waits are kept by hooks. Names begin with
// memdbwriter_ and are in seconds, bytes and rows. The labels have few values:
// writer is the name given to New, state, reason, way, phase and outcome have
// those of the library, and class is the first two characters of an SQLSTATE.
//
// alerts.yml and dashboard.json beside this file are rules for Prometheus and a
// dashboard for Grafana that use these names.
package memdbprom
