package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// write writes the results as JSON, CSV and charts.
func write(name, place string, results []result) error {
	text, err := json.MarshalIndent(struct {
		Place   string   `json:"place"`
		Results []result `json:"results"`
	}{place, results}, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".json", append(text, '\n'), 0o644); err != nil {
		return err
	}
	if err := writeCSV(name+".csv", results); err != nil {
		return err
	}
	p, err := chart(place, results)
	if err != nil {
		return err
	}
	for _, end := range []string{".svg", ".png"} {
		if err := p.Save(20*vg.Centimeter, 11*vg.Centimeter, name+end); err != nil {
			return err
		}
	}
	return nil
}

func writeCSV(name string, results []result) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	lines := [][]string{{"way", "variant", "rows", "add_seconds", "drain_seconds", "rows_per_second"}}
	for _, r := range results {
		seconds := func(s float64) string { return strconv.FormatFloat(s, 'f', 6, 64) }
		lines = append(lines, []string{r.Way, r.Variant, strconv.Itoa(r.Rows), seconds(r.Add.Seconds()), seconds(r.Drain.Seconds()), seconds(r.rate())})
	}
	err = w.WriteAll(lines)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

var colors = []color.RGBA{{29, 95, 209, 255}, {26, 127, 72, 255}, {214, 137, 16, 255}}

// chart shows the rows per second of each way, with the largest number of rows
// that it was measured with: a bar for each variant.
func chart(place string, results []result) (*plot.Plot, error) {
	var ways []string
	best := map[[2]string]result{}
	for _, r := range results {
		if !slices.Contains(ways, r.Way) {
			ways = append(ways, r.Way)
		}
		if key := [2]string{r.Way, r.Variant}; best[key].Rows <= r.Rows {
			best[key] = r
		}
	}
	p := plot.New()
	p.Title.Text = place
	p.Y.Label.Text = "rows per second until durable"
	p.Y.Min = 0
	p.Legend.Top, p.Legend.Left = true, true
	width := vg.Points(18)
	for i, variant := range variants {
		bars := make(plotter.Values, len(ways))
		for k, way := range ways {
			if r := best[[2]string{way, variant}]; r.Rows > 0 {
				bars[k] = r.rate()
			}
		}
		chart, err := plotter.NewBarChart(bars, width)
		if err != nil {
			return nil, err
		}
		chart.LineStyle.Width, chart.Color, chart.Offset = 0, colors[i], width*vg.Length(i-1)
		p.Add(chart)
		p.Legend.Add(variant, chart)
	}
	labels := make([]string, len(ways))
	for k, way := range ways {
		labels[k] = fmt.Sprintf("%s\n%d rows", way, best[[2]string{way, variants[0]}].Rows)
	}
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.6, float64(len(ways))-0.4
	return p, nil
}
