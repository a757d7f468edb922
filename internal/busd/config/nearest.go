package config

import "strings"

// DidYouMean returns a suggestion of the nearest candidate, or otherwise if none is near.
func DidYouMean(name string, candidates []string, otherwise string) string {
	if near := nearest(name, candidates); near != "" {
		return "did you mean " + near + "?"
	}
	return otherwise
}

// nearest returns the candidate that a typing mistake turns into name; empty if there is none.
func nearest(name string, candidates []string) (near string) {
	best := 1 + max(1, len(name)/3)
	for _, c := range candidates {
		if abs(len(c)-len(name)) >= best {
			continue
		}
		if d := distance(strings.ToLower(name), c); d < best {
			near, best = c, d
		}
	}
	return near
}

// distance counts the bytes to insert, remove, replace or swap with their neighbour to get from a to b.
func distance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+differs(a[i], b[j]))
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

func differs(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}

func abs(n int) int { return max(n, -n) }
