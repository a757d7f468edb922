package config

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute, "1.5s": 1500 * time.Millisecond, "2us": 2 * time.Microsecond,
		"30s": 30 * time.Second, "5m": 5 * time.Minute, "2h": 2 * time.Hour,
		"5d": 5 * day, "1w": 7 * day, "10y": 3650 * day, "-1d": -day, "292y": 292 * 365 * day,
		"0": 0, "1": time.Millisecond, "1500": 1500 * time.Millisecond, "-5": -5 * time.Millisecond,
	} {
		if got, err := ParseDuration(text); got != want || err != nil {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestParseDurationSaysWhatToWrite(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"5 minutes": "try 5m", "5 min": "try 5m", "5M": "try 5m", "10 secs": "try 10s", "2 Hours": "try 2h", "1.5 hours": "try 1.5h",
		"3 days": "try 3d", "1 week": "try 1w", "2 years": "try 2y", "20 millis": "try 20ms", "20 msec": "try 20ms", " 5s ": "try 5s",
		"3 months": "try 250ms, 5m or 1d", "1.5 days": "try 250ms, 5m or 1d", "1.5": "try 250ms, 5m or 1d", "": "try 250ms, 5m or 1d",
		"5 parsecs": "try 250ms, 5m or 1d", "1d12h": "try 250ms, 5m or 1d", "300y": "is too long", "9223372036854775808": "is too long",
	} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want %q", text, got, err, want)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"250ms", "5d", "10y", "1500", "5 minutes", "1.5 d", "", "-", "µs", "9223372036854775807w"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := ParseDuration(text)
		if err == nil {
			return
		}
		_, hint, found := strings.Cut(err.Error(), "(try ")
		if !found {
			return
		}
		hint, _, _ = strings.Cut(strings.TrimSuffix(hint, ")"), ",")
		if _, err := ParseDuration(hint); err != nil {
			t.Errorf("%q: the hint %q is no better: %v", text, hint, err)
		}
	})
}
