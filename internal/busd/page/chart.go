package page

import (
	"fmt"
	"strings"
)

// chart is a small picture of the last minutes, with a text that says the same.
type chart struct {
	Title string // what it shows, and of what
	Text  string // the figures, for people who cannot see the picture
	Path  string // of SVG, in a box of 90 by 24: a column for each step, the newest at the right
}

const chartHeight = 24

// newChart draws a bar for each column that has a value.
func newChart(title, text string, past []column, value func(*column) float64) chart {
	most := 0.0
	for i := range past {
		most = max(most, value(&past[i]))
	}
	var path strings.Builder
	for i := range past {
		if v := value(&past[i]); v > 0 {
			height := max(1, v/most*chartHeight)
			fmt.Fprintf(&path, "M%d %dv-%.1fh1v%.1fz", columns-len(past)+i, chartHeight, height, height)
		}
	}
	return chart{Title: title, Text: text, Path: path.String()}
}

// charts are those of a module.
func charts(module string, past []column) []chart {
	var all column
	for i := range past {
		all.Answers += past[i].Answers
		all.Failures += past[i].Failures
		all.Seconds += past[i].Seconds
		all.Slowest = max(all.Slowest, past[i].Slowest)
		all.Slower = all.Slower || past[i].Slower
	}
	latency := "no answers"
	if all.Answers > 0 {
		mean := all.Seconds / float64(all.Answers)
		within := "99 of 100 within"
		if all.Slower {
			within = "some took more than"
		}
		latency = fmt.Sprintf("%s, %s on average, %s %s", several(all.Answers, "answer"), milliseconds(mean), within, milliseconds(all.Slowest))
	}
	return []chart{
		newChart("Latency of "+module, latency, past, func(c *column) float64 { return c.Slowest }),
		newChart("Failures of "+module, several(all.Failures, "failure"), past, func(c *column) float64 { return float64(c.Failures) }),
	}
}

func milliseconds(seconds float64) string {
	if ms := seconds * 1000; ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", seconds*1000)
}
